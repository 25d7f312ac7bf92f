import { backoff, pause } from '../process/backoff.ts'
import { explain, Failure, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import type { Lease, Store } from './store.ts'

/** A lease that holds, and the signal that says it no longer does: all its keys are gone by then. */
export interface Held {
  readonly lease: Lease
  readonly lost: AbortSignal
}

/** Times (performance.now) of a lease. */
export interface LeaseTimes {
  readonly granted: number
  readonly renewed: number
}

const retryMs = 250

/**
 * One lease of a store, kept for as long as the process wants it: renewed every third of its TTL, and replaced by a
 * new one when the store says that it is gone. An unavailable store is not a lost lease: it may still honour it, so
 * renewing goes on. `ttl` in seconds; below 10 an election of the store can outlast it.
 */
export class Session {
  readonly #store: Store
  readonly #ttl: number
  readonly #renew: number | undefined
  readonly #log: Pick<Log, 'info' | 'warn'> | undefined
  readonly #listeners = new Set<() => void>()
  readonly #wake = new Wake()
  #held: { lease: Lease; lost: AbortController; granted: number; renewed: number } | undefined
  #trouble: string | undefined
  #stop: AbortController | undefined
  #running: Promise<void> | undefined

  /** `renew`: seconds between two renewals, instead of a third of the TTL. */
  constructor(
    store: Store,
    { ttl, renew, log }: { ttl: number; renew?: number; log?: Pick<Log, 'info' | 'warn'> },
  ) {
    this.#store = store
    this.#ttl = ttl
    this.#renew = renew
    this.#log = log
  }

  /** Begins to acquire, and returns at once: the store may be away. Ends with the signal, leaving the lease as it is. */
  start(signal: AbortSignal): void {
    if (this.#running !== undefined) throw new Failure('invalid', 'a session starts once')
    this.#stop = new AbortController()
    this.#running = this.#run(AbortSignal.any([signal, this.#stop.signal]))
  }

  /** The lease, or undefined while there is none. */
  current(): Held | undefined {
    return this.#held && { lease: this.#held.lease, lost: this.#held.lost.signal }
  }

  /** When the present lease was granted and last renewed; undefined while there is none. */
  get times(): LeaseTimes | undefined {
    return this.#held
  }

  /** Why the store grants no lease, or does not renew it; undefined when all is well. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  /** Calls `listener` whenever `current()` has changed. Returns how to stop that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Asks the store about the lease now: a write was refused because of it. */
  check(): void {
    this.#wake.wake()
  }

  /** Ends renewing and leaves the lease to its TTL: whoever starts within that time finds the keys in place. */
  async release(): Promise<void> {
    this.#stop?.abort()
    await this.#running
  }

  /**
   * Ends renewing like `release`, with the whole TTL ahead. Errors: those of the store; what was left of the TTL then
   * remains.
   */
  async leave(): Promise<void> {
    await this.release()
    await this.#held?.lease.keepAlive()
  }

  /** Ends renewing and drops the lease with all its keys, at once. Errors: those of the store; the TTL then does it. */
  async revoke(): Promise<void> {
    await this.release()
    const held = this.#held
    this.#set(undefined)
    await held?.lease.revoke()
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const lease = await this.#grant(signal)
      if (!lease) return
      this.#set(lease)
      this.#log?.info({ lease: lease.id, ttl: lease.ttl }, 'lease acquired')
      if (!(await this.#keep(lease, signal))) return
      this.#log?.warn({ lease: lease.id }, 'lease lost: the store had dropped it')
      this.#set(undefined)
    }
  }

  async #grant(signal: AbortSignal): Promise<Lease | undefined> {
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const lease = await this.#store.grant(this.#ttl)
        this.#trouble = undefined
        return lease
      } catch (error) {
        this.#trouble = explain(error)
        if (attempt === 0) this.#log?.warn({ error }, 'no lease yet: trying again until the store grants one')
        await pause(backoff(attempt, retryMs, 2000), signal)
      }
    }
    return undefined
  }

  /** Returns true when the store says that the lease is gone, false when the signal has fired. */
  async #keep(lease: Lease, signal: AbortSignal): Promise<boolean> {
    let late = false
    while (!signal.aborted) {
      await this.#wake.next(late ? retryMs : (this.#renew ?? lease.ttl / 3) * 1000, signal)
      if (signal.aborted) break
      try {
        await lease.keepAlive()
        if (this.#held) this.#held.renewed = performance.now()
        this.#trouble = undefined
        if (late) this.#log?.info({ lease: lease.id }, 'lease renewed again')
        late = false
      } catch (error) {
        if (isFailure(error, 'not-found')) return true
        if (!late) this.#log?.warn({ error, lease: lease.id }, 'lease not renewed: trying on')
        late = true
        this.#trouble = explain(error)
      }
    }
    return false
  }

  #set(lease: Lease | undefined): void {
    const before = this.#held
    const now = performance.now()
    this.#held = lease && { lease, lost: new AbortController(), granted: now, renewed: now }
    before?.lost.abort()
    for (const listener of this.#listeners) listener()
  }
}
