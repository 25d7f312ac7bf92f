import { backoff, pause } from '../process/backoff.ts'
import { explain, Failure, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import { applyTo, type Desired, diff } from './diff.ts'
import type { Session } from './session.ts'
import { type Change, type Entry, limits, type Store } from './store.ts'

/** What happens, for metrics. All are called synchronously and must not throw. */
export interface PublisherHooks {
  /** A transaction of so many changes was committed, after so many ms. */
  written?(changes: number, ms: number): void
  /** A pass failed for want of the store or the lease, and is tried again. */
  retried?(): void
  /** Another hand had changed a key of ours. */
  conflicted?(): void
  /** Everything wanted is in the registry, so many ms after the first change of it was published. */
  settled?(ms: number): void
}

export interface PublisherOptions {
  readonly store: Store
  readonly session: Session
  /** Where this owner's keys are; everything below is read, `owns` then tells whose it is. */
  readonly prefixes: readonly string[]
  owns(key: string): boolean
  readonly hooks?: PublisherHooks
  readonly log?: Pick<Log, 'info' | 'warn'>
}

/**
 * Keeps the registry equal to what its owner last published. Only the newest desired state counts: what was published
 * in between while the store was slow or away is never written. It reads the owner's entries once, then knows them by
 * its own writes; a conflict, a new lease or an open outcome makes it read again. Every write is guarded and bound to
 * the session's lease. One pass at a time, transactions of at most `limits.changes`.
 */
export class Publisher {
  readonly #options: PublisherOptions
  readonly #wake = new Wake()
  #desired: Desired | undefined
  #version = 0
  #settledVersion = 0
  /** The time of the first publish that is not settled yet, and of the first one since the present pass began. */
  #since: number | undefined
  #sincePass: number | undefined
  #actual = new Map<string, Entry>()
  #stale = true
  #waiting: { version: number; resolve: () => void; reject: (error: Failure) => void }[] = []
  #running: Promise<void> | undefined
  #stop: AbortController | undefined

  constructor(options: PublisherOptions) {
    this.#options = options
  }

  /** Begins to converge and returns at once. Ends with the signal, after the transaction that is under way. */
  start(signal: AbortSignal): void {
    if (this.#running !== undefined) throw new Failure('invalid', 'a publisher starts once')
    this.#stop = new AbortController()
    this.#running = this.#run(AbortSignal.any([signal, this.#stop.signal]))
  }

  async stop(): Promise<void> {
    this.#stop?.abort()
    await this.#running
  }

  /** Sets what is wanted from now on. Nothing is written before the first call. */
  publish(desired: Desired): void {
    this.#desired = desired
    this.#version += 1
    this.#since ??= performance.now()
    this.#sincePass ??= performance.now()
    this.#wake.wake()
  }

  /** Reads the registry again and puts right what another hand has changed there. */
  resync(): void {
    this.#stale = true
    this.#wake.wake()
  }

  /** Resolves when what was published by now, or something newer, is in the registry. Rejects when it stops first. */
  settled(): Promise<void> {
    if (this.#settledVersion >= this.#version) return Promise.resolve()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.push({ version: this.#version, resolve, reject })
    return promise
  }

  /** For how many ms the registry has been behind what was published; 0 when it is not. */
  lag(): number {
    return this.#since === undefined ? 0 : performance.now() - this.#since
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { session } = this.#options
    const unsubscribe = session.onChange(() => this.resync())
    let failures = 0
    while (!signal.aborted) {
      if (failures === 0) await this.#wake.next(longest, signal)
      else await pause(backoff(failures - 1, 50, 1000), signal)
      if (signal.aborted) break
      try {
        await this.#converge(signal)
        if (failures > 0) this.#options.log?.info({ failures }, 'publishing again')
        failures = 0
      } catch (error) {
        this.#failed(error, failures)
        failures += 1
      }
    }
    unsubscribe()
    for (const { reject } of this.#waiting.splice(0))
      reject(new Failure('unavailable', 'the publisher has stopped before all was written'))
  }

  /** One pass. Ends early when something newer is wanted or the registry is to be read again: a wake is due then. */
  async #converge(signal: AbortSignal): Promise<void> {
    const { store, session, owns, hooks } = this.#options
    const held = session.current()
    const desired = this.#desired
    if (!held || !desired) return
    const version = this.#version
    this.#sincePass = undefined
    if (this.#stale) {
      this.#stale = false
      this.#actual = await this.#read()
    }
    const changes = diff(desired, this.#actual, { owns, lease: held.lease })
    for (const batch of batches(changes)) {
      const began = performance.now()
      const revision = await store.apply(batch)
      for (const change of batch) applyTo(this.#actual, change, revision)
      hooks?.written?.(batch.length, performance.now() - began)
      if (batch.length < changes.length && (signal.aborted || this.#stale || this.#version !== version))
        return
    }
    if (!this.#stale) this.#settle(version)
  }

  async #read(): Promise<Map<string, Entry>> {
    const { store, prefixes, owns } = this.#options
    const snapshots = await Promise.all(prefixes.map((prefix) => store.read(prefix)))
    const entries = snapshots.flatMap((snapshot) => snapshot.entries.filter(({ key }) => owns(key)))
    return new Map(entries.map((entry) => [entry.key, entry]))
  }

  #settle(version: number): void {
    const since = this.#since
    this.#settledVersion = version
    this.#since = this.#sincePass
    if (since !== undefined) this.#options.hooks?.settled?.(performance.now() - since)
    const done = this.#waiting.filter((waiting) => waiting.version <= version)
    this.#waiting = this.#waiting.filter((waiting) => waiting.version > version)
    for (const { resolve } of done) resolve()
  }

  #failed(error: unknown, failures: number): void {
    const { session, hooks, log } = this.#options
    // Whatever it was, what stands there is no longer known.
    this.#stale = true
    if (isFailure(error, 'conflict')) hooks?.conflicted?.()
    else hooks?.retried?.()
    if (isFailure(error, 'not-found')) session.check()
    if (failures === 0) log?.warn({ reason: explain(error) }, 'cannot publish: trying on')
  }
}

/** setTimeout takes no more. */
const longest = 2 ** 31 - 1

function* batches(changes: readonly Change[]): Generator<readonly Change[]> {
  for (let at = 0; at < changes.length; at += limits.changes) yield changes.slice(at, at + limits.changes)
}
