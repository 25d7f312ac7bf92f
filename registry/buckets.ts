import { backoff, pause, until } from '../process/backoff.ts'
import { explain, Failure, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import { type Lease, limits, type Store } from './store.ts'

export interface BucketOptions {
  /** Seconds that an entry is kept at least. */
  readonly keep: number
  /** Seconds of entries that share one lease, and so go at once; an entry is kept for up to keep + span. */
  readonly span?: number
  /** Entries that wait at most while the store is slow or away. */
  readonly queue?: number
  readonly log?: Pick<Log, 'warn'>
  /** For tests: a clock in ms that never goes back. */
  readonly now?: () => number
}

/**
 * A journal whose entries expire: appended once, never changed. A lease each would cost etcd thirty times as much as
 * one a bucket of ten minutes. Appending never waits, fails or throws: what does not fit in the queue is dropped and
 * counted, so that a store that is away costs entries and not the caller. The newest are dropped: the first ones tell
 * how the trouble began.
 */
export class Buckets {
  readonly #store: Store
  readonly #keep: number
  readonly #span: number
  readonly #most: number
  readonly #log: Pick<Log, 'warn'> | undefined
  readonly #now: () => number
  readonly #wake = new Wake()
  readonly #queue: { key: string; value: string }[] = []
  #bucket: { lease: Lease; ends: number } | undefined
  #dropped = 0
  #size: number = limits.changes
  #stop: AbortController | undefined
  #running: Promise<void> | undefined

  constructor(store: Store, options: BucketOptions) {
    this.#store = store
    this.#keep = options.keep
    this.#span = options.span ?? 600
    this.#most = options.queue ?? 10_000
    this.#log = options.log
    this.#now = options.now ?? (() => performance.now())
  }

  /** Entries that were given up since the start. */
  get dropped(): number {
    return this.#dropped
  }

  /** Entries that are not written yet. */
  get waiting(): number {
    return this.#queue.length
  }

  /** The key must be new: it is written without a guard, so that a repeated write does no harm. */
  append(key: string, value: string): void {
    if (this.#queue.length >= this.#most) this.#dropped += 1
    else this.#queue.push({ key, value })
    this.#wake.wake()
  }

  /** Begins to write and returns at once. Ends with the signal. */
  start(signal: AbortSignal): void {
    if (this.#running !== undefined) throw new Failure('invalid', 'buckets start once')
    this.#stop = new AbortController()
    this.#running = this.#run(AbortSignal.any([signal, this.#stop.signal]))
  }

  /** Ends, after at most `ms` more for what still waits; what is left then counts as dropped. */
  async stop(ms = 2000): Promise<void> {
    const empty = () => this.#queue.length === 0 || undefined
    await Promise.race([this.#running, until(empty, { ms, every: 10 })])
    this.#stop?.abort()
    await this.#running
    this.#dropped += this.#queue.splice(0).length
  }

  async #run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      if (this.#queue.length === 0) await this.#wake.next(60_000, signal)
      if (this.#queue.length === 0) continue
      try {
        await this.#write(this.#queue.slice(0, this.#size))
        failures = 0
      } catch (error) {
        if (failures++ === 0)
          this.#log?.warn({ reason: explain(error) }, 'cannot write the journal: trying on')
        this.#failed(error)
        await pause(backoff(failures - 1, 50, 2000), signal)
      }
    }
  }

  async #write(batch: readonly { key: string; value: string }[]): Promise<void> {
    const lease = await this.#lease()
    await this.#store.apply(batch.map((entry) => ({ kind: 'put', ...entry, guard: 'any', lease })))
    this.#queue.splice(0, batch.length)
    this.#size = limits.changes
  }

  async #lease(): Promise<Lease> {
    const now = this.#now()
    if (!this.#bucket || now >= this.#bucket.ends) {
      const lease = await this.#store.grant(this.#keep + this.#span)
      this.#bucket = { lease, ends: now + this.#span * 1000 }
    }
    return this.#bucket.lease
  }

  #failed(error: unknown): void {
    if (isFailure(error, 'not-found')) this.#bucket = undefined
    if (!isFailure(error, 'invalid')) return
    // One entry that the store never takes (too large, say) must not hold up the others: halve until it is alone.
    const tried = Math.min(this.#size, this.#queue.length)
    if (tried > 1) this.#size = Math.ceil(tried / 2)
    else this.#dropped += this.#queue.splice(0, 1).length
  }
}
