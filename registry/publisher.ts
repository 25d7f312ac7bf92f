import { backoff, pause } from '../process/backoff.ts'
import { explain, Failure, isFailure } from '../process/failure.ts'
import { inParallel } from '../process/in-parallel.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import { applyTo, type Desired, diff } from './diff.ts'
import { follow } from './follow.ts'
import { Repairs } from './repairs.ts'
import type { Session } from './session.ts'
import { Standing } from './standing.ts'
import { type Change, chunks, type Entry, type Event, type Lease, limits, type Store } from './store.ts'

/** What happens, for metrics. All are called synchronously and must not throw. */
export interface PublisherHooks {
  /** A transaction was committed. */
  written?(changes: readonly Change[]): void
  /** A pass failed for want of the store or the lease, and is tried again: at these keys or prefixes. */
  retried?(keys: readonly string[]): void
  /** Another hand had changed these keys of ours, and they were put right. */
  conflicted?(keys: readonly string[]): void
  /** A pass over all that is wanted took so many ms, also one that failed. */
  passed?(ms: number): void
  /** These entries stand at keys that are wanted, and are yielded to another (`yields`); called when there are any, or no more. */
  yielded?(entries: readonly Entry[]): void
  /** Changes were written, and everything wanted is in the registry, so many ms after it came to be wanted. */
  settled?(ms: number): void
}

export interface PublisherOptions {
  readonly store: Store
  readonly session: Session
  /** Where the owner's keys are, and hardly others: read whole at every resync, and followed. */
  readonly prefixes: readonly string[]
  /**
   * Where the owner's keys are among those of many: read key by key at a resync. All keys there are searched only at the
   * start and once in `sweepEvery` ms (one hour, with jitter), for what an earlier run or another hand has left.
   */
  readonly shared?: readonly string[]
  /** Prefixes in `shared` that are followed all the same: where others may take or drop keys that the owner wants. */
  readonly follows?: readonly string[]
  readonly sweepEvery?: number
  /** Whether an earlier run may have left anything in `shared`; it may, unless told otherwise. */
  readonly inherited?: boolean
  owns(key: string): boolean
  /** See Owner.yields in diff.ts: whether an entry at a key of ours is another's all the same, and stays. */
  yields?(entry: Entry, value: string | undefined, lease: Lease): boolean
  /** What must be written in one transaction: keys of the same group, at most 100. */
  groupOf?(key: string): string
  /** Whether an entry of ours shows that another has taken our place: publishing then ends, see `taken`. */
  isTaken?(entry: Entry): boolean
  readonly hooks?: PublisherHooks
  readonly log?: Pick<Log, 'info' | 'warn'>
}

/** How much has to be read before the next write, from little to all. */
const depths = ['nothing', 'suspects', 'resync', 'sweep'] as const
export type Depth = (typeof depths)[number]

/**
 * Keeps the registry equal to what its owner last published. Only the newest desired state counts: what was published
 * in between while the store was slow or away is never written. It reads the owner's entries once, then knows them by
 * its own writes. It reads again: what a conflict or the watch cast doubt on; all of it at a resync, with a new lease
 * and after an open outcome. Every write is guarded and bound to the session's lease. One pass at a time.
 */
export class Publisher {
  readonly #options: PublisherOptions
  readonly #wake = new Wake()
  readonly #standing: Standing
  readonly #repairs: Repairs
  readonly #taken = new AbortController()
  readonly #followable = Promise.withResolvers<void>()
  #desired: Desired | undefined
  #spares: (key: string) => boolean = () => false
  #version = 0
  #settledVersion = 0
  /** When the first thing came to be wanted that is not settled yet, and the first one since the present pass began. */
  #since: number | undefined
  #sincePass: number | undefined
  /** Whether anything was written since then. */
  #wrote = false
  #due: Depth
  #sweepAt = 0
  /** Events of the watch that wait for the end of a write, as only then it is known which are our own. */
  #heard: Event[] = []
  #writing = false
  #trouble: string | undefined
  #waiting: { version: number; resolve: () => void; reject: (error: Failure) => void }[] = []
  #running: Promise<void> | undefined
  #ended = false
  /** Whether the last pass left anything to another. */
  #yielded = false
  #stop: AbortController | undefined

  constructor(options: PublisherOptions) {
    this.#options = options
    this.#due = options.inherited === false ? 'resync' : 'sweep'
    if (this.#due === 'resync') this.#sweepLater()
    this.#standing = new Standing(options)
    this.#repairs = new Repairs((depth) => this.#want(depth), options)
  }

  /** Fires when another has taken the owner's place (`isTaken`). Nothing is written from then on. */
  get taken(): AbortSignal {
    return this.#taken.signal
  }

  /** Why the last pass failed; undefined when it did not. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  /** Begins to converge and returns at once. Ends with the signal, after the transactions that are under way. */
  start(signal: AbortSignal): void {
    if (this.#running !== undefined) throw new Failure('invalid', 'a publisher starts once')
    this.#stop = new AbortController()
    this.#running = this.#run(AbortSignal.any([signal, this.#stop.signal, this.taken]))
  }

  async stop(): Promise<void> {
    this.#stop?.abort()
    await this.#running
  }

  /**
   * Sets what is wanted from now on. Nothing is written before the first call. `since`: when it came to be wanted
   * (performance.now). `spares`: keys that stay as they are where nothing is desired, as it is not known yet what is.
   */
  publish(
    desired: Desired,
    { since = performance.now(), spares }: { since?: number; spares?: (key: string) => boolean } = {},
  ): void {
    this.#desired = desired
    this.#spares = spares ?? (() => false)
    this.#version += 1
    this.#since = Math.min(this.#since ?? since, since)
    this.#sincePass = Math.min(this.#sincePass ?? since, since)
    this.#wake.wake()
  }

  /** Reads the registry again and puts right what another hand has changed there. */
  resync(): void {
    this.#want(performance.now() < this.#sweepAt ? 'resync' : 'sweep')
  }

  /** Resolves when what was published by now, or something newer, is in the registry. Rejects when it stops first. */
  settled(): Promise<void> {
    if (this.#settledVersion >= this.#version) return Promise.resolve()
    if (this.#ended) return Promise.reject(stopped())
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.push({ version: this.#version, resolve, reject })
    return promise
  }

  /** For how many ms the registry has been behind what was published; 0 when it is not. */
  lag(): number {
    return this.#since === undefined ? 0 : performance.now() - this.#since
  }

  #want(depth: Depth): void {
    if (depths.indexOf(depth) > depths.indexOf(this.#due)) this.#due = depth
    this.#wake.wake()
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { session, prefixes, follows = [], log } = this.#options
    const unsubscribe = session.onChange(() => {
      this.#standing.forget()
      this.#repairs.forget()
      this.#want('sweep')
    })
    const following = [...prefixes, ...follows].map((prefix) => this.#follow(prefix, signal))
    let failures = 0
    while (!signal.aborted) {
      if (failures === 0) await this.#wake.next(longest, signal)
      else await pause(backoff(failures - 1, 50, 1000), signal)
      if (signal.aborted) break
      try {
        await this.#converge(signal)
        if (this.#trouble !== undefined) log?.info({ failures }, 'publishing again')
        this.#trouble = undefined
        failures = 0
      } catch (error) {
        this.#failed(error)
        failures += 1
      }
    }
    unsubscribe()
    this.#followable.resolve()
    await Promise.all(following)
    this.#repairs.stop() // nothing is heard any more that could begin one
    this.#ended = true
    for (const { reject } of this.#waiting.splice(0)) reject(stopped())
  }

  /** One pass. Ends early when something newer is wanted or the registry is to be read again: a wake is due then. */
  async #converge(signal: AbortSignal): Promise<void> {
    const held = this.#options.session.current()
    const desired = this.#desired
    if (!held || !desired) return
    const began = performance.now()
    try {
      await this.#pass(held.lease, desired, signal)
    } finally {
      this.#options.hooks?.passed?.(performance.now() - began)
    }
  }

  async #pass(lease: Lease, desired: Desired, signal: AbortSignal): Promise<void> {
    const { owns, yields, isTaken } = this.#options
    const version = this.#version
    this.#sincePass = undefined
    const read = await this.#read(desired)
    if (isTaken && read.some(isTaken)) {
      this.#taken.abort()
      return
    }
    const { entries, moved } = this.#standing
    const yielded: Entry[] = []
    const changes = diff(desired, entries, {
      owns,
      lease,
      spares: this.#spares,
      yielded: (entry) => yielded.push(entry),
      ...(yields && { yields: (entry, value) => yields(entry, value, lease) }),
    })
    if (yielded.length > 0 || this.#yielded) this.#options.hooks?.yielded?.(yielded)
    this.#yielded = yielded.length > 0
    if (moved.size > 0) this.#repairs.found(changes.map(({ key }) => key).filter((key) => moved.has(key)))
    moved.clear()
    const outdated = () => signal.aborted || this.#due !== 'nothing' || this.#version !== version
    if ((await this.#write(changes, outdated)) && this.#due === 'nothing') this.#settle(version)
  }

  /** Reads what is due; what it returns stands otherwise than was known, or was read for the first time. */
  async #read(desired: Desired): Promise<readonly Entry[]> {
    const due = this.#due
    if (due === 'nothing') return []
    this.#due = 'nothing'
    const suspects = this.#repairs.take()
    try {
      if (due === 'suspects') return await this.#standing.readKeys(suspects, desired)
      if (due === 'sweep') this.#sweepLater()
      return await this.#standing.read(desired, due)
    } catch (error) {
      this.#want(due === 'sweep' ? 'sweep' : 'resync')
      this.#options.hooks?.retried?.(due === 'suspects' ? suspects : this.#options.prefixes)
      throw error
    }
  }

  #sweepLater(): void {
    const { sweepEvery = 3_600_000 } = this.#options
    this.#sweepAt = performance.now() + sweepEvery * (0.8 + 0.4 * Math.random())
  }

  /** Puts come before deletes, also over several transactions. Returns false when the rest was left out as outdated. */
  async #write(changes: readonly Change[], outdated: () => boolean): Promise<boolean> {
    const puts = changes.filter(({ kind }) => kind === 'put')
    const deletes = changes.filter(({ kind }) => kind === 'delete')
    // a group is whole with its deletes
    const phases = changes.length <= limits.changes || this.#options.groupOf ? [changes] : [puts, deletes]
    let begun = false
    let complete = true
    this.#writing = true
    try {
      for (const phase of phases)
        await inParallel(batches(phase, this.#options.groupOf), limits.transactions, async (batch) => {
          if (begun && outdated()) complete = false
          else {
            begun = true
            await this.#apply(batch)
          }
        })
    } finally {
      this.#writing = false
      this.#consider()
    }
    return complete
  }

  async #apply(batch: readonly Change[]): Promise<void> {
    const { store, hooks } = this.#options
    const keys = batch.map(({ key }) => key)
    try {
      const revision = await store.apply(batch)
      for (const change of batch) applyTo(this.#standing.entries, change, revision)
      this.#standing.revision = revision
      this.#wrote = true
      hooks?.written?.(batch)
    } catch (error) {
      if (isFailure(error, 'conflict')) this.#repairs.doubt(keys)
      else {
        // Whatever it was, what stands there is no longer known.
        this.#standing.doubt(keys)
        this.#want('resync')
        hooks?.retried?.(keys)
      }
      throw error
    }
  }

  #settle(version: number): void {
    const since = this.#since
    this.#settledVersion = version
    this.#since = this.#sincePass
    if (since !== undefined && this.#wrote) this.#options.hooks?.settled?.(performance.now() - since)
    this.#wrote = false
    this.#repairs.done()
    this.#followable.resolve()
    const done = this.#waiting.filter((waiting) => waiting.version <= version)
    this.#waiting = this.#waiting.filter((waiting) => waiting.version > version)
    for (const { resolve } of done) resolve()
  }

  #failed(error: unknown): void {
    const { session, log } = this.#options
    if (isFailure(error, 'conflict')) {
      // no trouble: it is looked at and put right, and told by then
      this.#want('suspects')
      return
    }
    if (isFailure(error, 'not-found')) {
      this.#repairs.forget()
      session.check()
      return
    }
    // what is no failure is a bug, and is told with the place where it is
    const why = isFailure(error) ? { reason: explain(error) } : { error }
    if (this.#trouble === undefined) log?.warn(why, 'cannot publish: trying on')
    this.#trouble = explain(error)
  }

  /** From the first settled state on: until then nearly all that is to be heard are our own writes. */
  async #follow(prefix: string, signal: AbortSignal): Promise<void> {
    const { store, log } = this.#options
    await this.#followable.promise
    await follow(store, prefix, {
      from: () => this.#standing.revision,
      heard: (events) => {
        this.#heard.push(...events)
        if (!this.#writing) this.#consider()
      },
      lost: () => this.resync(),
      signal,
      ...(log && { log }),
    })
  }

  /** Which of the events are not what we know, and so perhaps of another hand? */
  #consider(): void {
    const { owns } = this.#options
    const news = this.#heard.filter((event) => !this.#standing.expects(event))
    this.#heard = []
    const keys = news.map((event) => (event.kind === 'put' ? event.entry.key : event.key)).filter(owns)
    if (keys.length > 0) this.#repairs.suspect(keys)
  }
}

const stopped = () => new Failure('unavailable', 'the publisher has stopped before all was written')

/** Transactions that no group is cut by, unless it is larger than a transaction may be. */
const batches = (
  changes: readonly Change[],
  groupOf: ((key: string) => string) | undefined,
): (readonly Change[])[] => {
  if (!groupOf) return [...chunks(changes, limits.changes)]
  const groups = Map.groupBy(changes, ({ key }) => groupOf(key))
  const made: Change[][] = [[]]
  for (const group of groups.values())
    for (const [at, part] of [...chunks(group, limits.changes)].entries()) {
      const last = made.at(-1) ?? []
      if (at > 0 || last.length + part.length > limits.changes) made.push([...part])
      else last.push(...part)
    }
  return made.filter((batch) => batch.length > 0)
}

/** setTimeout takes no more. */
const longest = 2 ** 31 - 1
