import { backoff, pause } from '../process/backoff.ts'
import { explain, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import { type Change, type Lease, limits, type Store } from './store.ts'

export interface WriterOptions {
  /** Seconds that an entry is kept at least. */
  readonly keep: number
  /** Seconds of entries that share one lease, and so go at once; an entry is kept for up to keep + span. */
  readonly span?: number
  /** ms that an entry waits for others to come with it; 0 by default. */
  readonly linger?: number
  readonly log?: Pick<Log, 'warn'>
  /** For tests: a clock in ms that never goes back. */
  readonly now?: () => number
}

/** What is to be written next. */
export interface Batch {
  /** Entries in it. A batch of one that the store never takes is given up. */
  readonly size: number
  /** All of it, in one transaction; every put is bound to the lease. */
  changes(lease: Lease): readonly Change[]
  /** It was; `ends` is the time of the writer's clock when the lease ends at the latest. */
  written(ends: number): void
  /** It never will be: a batch of one. */
  refused(): void
}

/** Where a writer takes its batches from. */
export interface Source {
  /** A batch of about `size` entries at most; undefined when nothing waits. */
  next(size: number): Batch | undefined
  /** A guard of this batch did not hold: reads what stands there, so that the next batch goes by that. */
  conflict?(batch: Batch): Promise<void>
}

/**
 * Writes what expires, on shared leases: one each would cost etcd thirty times as much as one a bucket of ten minutes.
 * What fails is tried again until it succeeds, or is alone in being refused.
 */
export class BucketWriter {
  readonly #store: Store
  readonly #source: Source
  readonly #keep: number
  readonly #span: number
  readonly #linger: number
  readonly #log: Pick<Log, 'warn'> | undefined
  readonly #now: () => number
  readonly #wake = new Wake()
  #bucket: { lease: Lease; begun: number } | undefined
  #size: number = limits.changes
  #refuted: Batch | undefined

  constructor(store: Store, source: Source, options: WriterOptions) {
    this.#store = store
    this.#source = source
    this.#keep = options.keep
    this.#span = options.span ?? 600
    this.#linger = options.linger ?? 0
    this.#log = options.log
    this.#now = options.now ?? (() => performance.now())
  }

  /** There is something to write. */
  wake(): void {
    this.#wake.wake()
  }

  /** Writes until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#work(signal)
      const woken = await this.#wake.next(60_000, signal)
      if (woken && this.#linger > 0) await pause(this.#linger, signal)
    }
  }

  /** Writes what waits, for at most `ms`; a call that is under way then is not waited for. `before` has to end first. */
  async drain(ms: number, before: Promise<void> = Promise.resolve()): Promise<void> {
    const stop = new AbortController()
    const done = before.then(() => this.#work(stop.signal)).finally(() => stop.abort())
    await Promise.race([done, pause(ms, stop.signal)])
    stop.abort()
  }

  /** Until nothing waits, or the signal fires. */
  async #work(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.#settle()
        const batch = this.#source.next(this.#size)
        if (!batch) return
        await this.#write(batch)
        failures = 0
      } catch (error) {
        if (!isFailure(error)) throw error
        if (error.kind !== 'conflict' && failures++ === 0)
          this.#log?.warn({ reason: explain(error) }, 'cannot write the journal: trying on')
        await pause(backoff(failures - 1, 50, 2000), signal)
      }
    }
  }

  async #settle(): Promise<void> {
    if (this.#refuted) await this.#source.conflict?.(this.#refuted)
    this.#refuted = undefined
  }

  async #write(batch: Batch): Promise<void> {
    const { lease, begun } = await this.#lease()
    try {
      await this.#store.apply(batch.changes(lease))
    } catch (error) {
      this.#failed(batch, error)
      throw error
    }
    batch.written(begun + (this.#keep + this.#span) * 1000)
    this.#size = limits.changes
  }

  async #lease(): Promise<{ lease: Lease; begun: number }> {
    if (!this.#bucket || this.#now() >= this.#bucket.begun + this.#span * 1000) {
      const lease = await this.#store.grant(this.#keep + this.#span)
      this.#bucket = { lease, begun: this.#now() }
    }
    return this.#bucket
  }

  #failed(batch: Batch, error: unknown): void {
    if (isFailure(error, 'not-found')) this.#bucket = undefined
    if (isFailure(error, 'conflict')) this.#refuted = batch
    if (!isFailure(error, 'invalid')) return
    // One entry that the store never takes (too large, say) must not hold up the others: halve until it is alone.
    if (batch.size > 1) this.#size = Math.ceil(batch.size / 2)
    else batch.refused()
  }
}
