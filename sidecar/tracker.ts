import { isDeepStrictEqual } from 'node:util'
import { backoff } from '../process/backoff.ts'
import { type Failure, isFailure } from '../process/failure.ts'

/**
 * ms that an object rests whose look has found something new, before it is looked at once more: what was found is then
 * on its way, and does not wait while the next answer is made and read. Of a start it takes a fifth of the time.
 */
const rest = 10

/**
 * Keeps a map of objects up to date by looking at them again whenever they may have changed: one look at a time for
 * each object, at most `atOnce` in all. An object marked while it is looked at is looked at once more, soon. A look that
 * fails is repeated, unless it failed with `not-found`: then the object is gone. An object that looks as before stays
 * the same one.
 */
export class ObjectTracker<T> {
  readonly objects = new Map<string, T>()
  #look: (id: string) => Promise<T>
  #changed: (differs: boolean, since: number) => void
  #failed: (id: string, error: Failure) => void
  #signal: AbortSignal
  #atOnce: number
  /** With the time of the mark (performance.now). */
  #dirty = new Map<string, number>()
  #busy = new Set<string>()
  /** Of those that are looked at: the look began before something newer was known. */
  #overtaken = new Set<string>()
  #failures = new Map<string, number>()
  #retries = new Map<string, NodeJS.Timeout>()
  /** Looked at just now. */
  #resting = new Set<string>()
  #owed = new Set<string>()

  constructor(options: {
    look: (id: string) => Promise<T>
    /** Called after every look, and when an object was changed without one. `since`: when it was marked for that. */
    changed: (differs: boolean, since: number) => void
    failed: (id: string, error: Failure) => void
    signal: AbortSignal
    atOnce?: number
  }) {
    this.#look = options.look
    this.#changed = options.changed
    this.#failed = options.failed
    this.#signal = options.signal
    this.#atOnce = options.atOnce ?? 8
    options.signal.addEventListener('abort', () => this.#retries.forEach(clearTimeout), { once: true })
  }

  mark(id: string): void {
    clearTimeout(this.#retries.get(id))
    this.#retries.delete(id)
    if (!this.#dirty.has(id)) this.#dirty.set(id, performance.now())
    this.#pump()
  }

  /**
   * Puts what else is known of an object in its place, as long as `change` gives something. A look that is under way
   * may be older than that: it does not count, and is repeated.
   */
  amend(id: string, change: (object: T) => T | undefined): void {
    const object = this.objects.get(id)
    const amended = object && change(object)
    if (amended === undefined) return
    this.objects.set(id, amended)
    if (this.#busy.has(id)) this.#overtaken.add(id)
    this.#changed(true, performance.now())
  }

  /** Objects that wait to be looked at, for the first time or again. */
  get pending(): number {
    return this.#dirty.size + this.#busy.size + this.#retries.size
  }

  /** Makes `owed` the objects that wait now. */
  owe(): void {
    this.#owed = new Set([...this.#dirty.keys(), ...this.#busy, ...this.#retries.keys()])
  }

  /** How many of those that waited at `owe` have not been looked at since: unlike `pending`, it ends also where much happens. */
  get owed(): number {
    return this.#owed.size
  }

  #pump(): void {
    for (const [id, since] of this.#dirty) {
      if (this.#signal.aborted || this.#busy.size >= this.#atOnce) return
      if (this.#busy.has(id) || this.#resting.has(id)) continue
      this.#dirty.delete(id)
      this.#busy.add(id)
      void this.#visit(id, since)
    }
  }

  async #visit(id: string, since: number): Promise<void> {
    const before = this.objects.get(id)
    try {
      const object = await this.#look(id)
      if (this.#overtaken.has(id)) this.mark(id)
      else if (!isDeepStrictEqual(object, before)) this.objects.set(id, object)
      this.#failures.delete(id)
      this.#owed.delete(id)
    } catch (error) {
      if (!isFailure(error)) throw error
      if (error.kind === 'not-found') {
        this.objects.delete(id)
        this.#failures.delete(id)
        this.#owed.delete(id)
      } else this.#retry(id, error)
    }
    this.#busy.delete(id)
    this.#overtaken.delete(id)
    if (this.#signal.aborted) return
    const differs = this.objects.get(id) !== before
    if (differs && this.#dirty.has(id)) this.#rest(id)
    this.#changed(differs, since)
    this.#pump()
  }

  #rest(id: string): void {
    this.#resting.add(id)
    setTimeout(() => {
      this.#resting.delete(id)
      this.#pump()
    }, rest)
  }

  #retry(id: string, error: Failure): void {
    const attempt = this.#failures.get(id) ?? 0
    this.#failures.set(id, attempt + 1)
    if (attempt === 0) this.#failed(id, error)
    if (!this.#signal.aborted && !this.#dirty.has(id))
      this.#retries.set(
        id,
        setTimeout(() => this.mark(id), backoff(attempt)),
      )
  }
}
