import { backoff, pause } from '../process/backoff.ts'
import { explain, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import type { Backend, OnExit, Wanted } from './backend.ts'
import type { Desired } from './diff.ts'

/** One entry as a place has it. */
export interface PlaceEntry {
  /** As `Place.shown` gives it. */
  readonly value: string
  /** Of this session; one that is not is another's, or of an earlier run of ours where `Place.owns` says so. */
  readonly ours: boolean
  /** Of an earlier session of this very run, where the place can tell. */
  readonly earlier?: boolean
}

export type PlaceChange =
  | { readonly kind: 'put'; readonly key: string; readonly value: string }
  | { readonly kind: 'delete'; readonly key: string }

/** What a place keeps of one run of ours. Calls end in bounded time and reject with a Failure. */
export interface PlaceSession {
  /** Fires when the place has dropped the session, or what stands there is no longer known. A new one is opened then. */
  readonly lost: AbortSignal
  /** What stands: all of ours, and others' at the keys that are wanted. */
  read(wanted: ReadonlySet<string>): Promise<ReadonlyMap<string, PlaceEntry>>
  /** Does all, in order of the list where a place has one; after an error some may be done. Each can be repeated. */
  apply(changes: readonly PlaceChange[]): Promise<void>
  /** Ends the session: all of ours goes at once (`withdraw`), or stays as long as the place keeps it (`keep`). */
  end(onExit: OnExit): Promise<void>
}

/** A place without transactions, watches and revisions, such as Consul's agent: what a new kind of backend has to be. */
export interface Place {
  readonly description: string
  /** Whether a key is by its form one of this host's. */
  owns(key: string): boolean
  /** `apply` itself leaves alone what another has put there since the last read; else it is read anew for keys that were not asked for. */
  readonly guards?: boolean
  /** What `read` would show of a value; the value itself, unless told otherwise. */
  shown?(value: string): string
  /** Opens a session. Rejects with a Failure: `unavailable` (tried again), `denied` (too, as rights may come) … */
  open(): Promise<PlaceSession>
}

interface MirrorOptions {
  readonly place: Place
  readonly log?: Pick<Log, 'info' | 'warn'>
  /** Told of what was written. */
  readonly written?: (changes: readonly PlaceChange[]) => void
}

/** At so many changes what is new is looked at again. */
const batch = 100

/**
 * A backend over a place: reads once, then knows what stands by its own writes, and reads again at a resync, after an error and
 * with a new session. One pass at a time, puts before deletes.
 */
export class Mirror implements Backend {
  readonly #options: MirrorOptions
  readonly #wake = new Wake()
  #desired: Desired | undefined
  #partial = false
  /** What this run has written and not deleted since. */
  readonly #own = new Set<string>()
  #standing: Map<string, PlaceEntry> | undefined
  /** Whether what stands just as we want it may be our own earlier run's, or that of the session before. */
  #adopts = true
  #since: number | undefined
  #version = 0
  /** What was wanted at the last read: of other keys it tells nothing. */
  #asked: ReadonlySet<string> = new Set()
  #trouble: string | undefined = 'not connected yet'
  #held: readonly string[] = []
  #waits = false

  constructor(options: MirrorOptions) {
    this.#options = options
  }

  get description(): string {
    return this.#options.place.description
  }

  get trouble(): string | undefined {
    return this.#trouble
  }

  get held(): readonly string[] {
    return this.#held
  }

  get waits(): boolean {
    return this.#waits
  }

  publish(desired: Desired, { since = performance.now(), partial = false }: Wanted = {}): void {
    this.#desired = desired
    this.#partial = partial
    this.#version += 1
    this.#since = Math.min(this.#since ?? since, since)
    this.#wake.wake()
  }

  resync(): void {
    this.#standing = undefined
    this.#wake.wake()
  }

  lag(): number {
    return this.#since === undefined ? 0 : performance.now() - this.#since
  }

  async run(signal: AbortSignal, onExit: OnExit): Promise<void> {
    const { place, log } = this.#options
    let failures = 0
    let ended = false
    while (!signal.aborted) {
      let session: PlaceSession | undefined
      try {
        session = await place.open()
        this.#trouble = undefined
        this.#standing = undefined
        this.#adopts = true
        const until = AbortSignal.any([signal, session.lost])
        await this.#serve(session, until, () => {
          failures = 0
        })
        if (!signal.aborted) log?.warn({ place: place.description }, 'session lost: opening another')
      } catch (error) {
        if (!isFailure(error)) throw error
        if (failures++ === 0)
          log?.warn({ reason: explain(error) }, `cannot reach ${place.description}: trying on`)
        this.#trouble = explain(error)
      }
      if (signal.aborted) {
        await this.#end(session, onExit)
        ended = session !== undefined
      } else {
        this.#since ??= performance.now()
        await pause(backoff(failures, 100, 1000), signal)
      }
    }
    if (!ended && onExit === 'withdraw' && this.#own.size > 0) await this.#withdrawLate()
  }

  /** The stop came between two sessions: what the place keeps without one is still there. */
  async #withdrawLate(): Promise<void> {
    const { place, log } = this.#options
    try {
      const session = await place.open()
      await session.read(new Set(this.#own.keys()))
      await session.end('withdraw')
    } catch (error) {
      if (!isFailure(error)) throw error
      log?.warn({ reason: explain(error) }, `what we wrote to ${place.description} stays there`)
    }
  }

  /** Until the session is lost. A pass that fails is repeated, and reads first. */
  async #serve(session: PlaceSession, until: AbortSignal, done: () => void): Promise<void> {
    let failures = 0
    this.#wake.wake()
    while (!until.aborted) {
      if (failures === 0) await this.#wake.next(2 ** 31 - 1, until)
      else await pause(backoff(failures - 1, 100, 1000), until)
      if (until.aborted || !this.#desired) continue
      try {
        await this.#pass(session, this.#desired, until)
        if (failures > 0) this.#options.log?.info({ failures }, `writing to ${this.description} again`)
        failures = 0
        this.#trouble = undefined
        done()
      } catch (error) {
        if (!isFailure(error)) throw error
        this.#standing = undefined
        this.#trouble = explain(error)
        if (failures++ === 0)
          this.#options.log?.warn(
            { reason: explain(error) },
            `cannot write to ${this.description}: trying on`,
          )
      }
    }
  }

  async #pass(session: PlaceSession, desired: Desired, until: AbortSignal): Promise<void> {
    const version = this.#version
    const standing = await this.#read(session, desired)
    const { changes, held, left } = plan(desired, standing, {
      owns: (key) => this.#options.place.owns(key),
      shown: (value) => this.#shown(value),
      spares: (key) => this.#partial && !this.#own.has(key),
      adopts: this.#adopts,
    })
    this.#waits = left > 0
    this.#tellHeld(held)
    for (let at = 0; at < changes.length; at += batch) {
      // what was read meanwhile, or is newer, counts: a wake is due then
      if (until.aborted || this.#version !== version || this.#standing !== standing) return
      const part = changes.slice(at, at + batch)
      await session.apply(part)
      for (const change of part) this.#enter(standing, change)
      this.#options.written?.(part)
    }
    if (this.#version !== version || this.#standing !== standing) return
    this.#since = undefined
    if (!this.#partial) this.#adopts = false
    for (const key of this.#own) if (!standing.has(key) && !desired.has(key)) this.#own.delete(key)
  }

  async #read(session: PlaceSession, desired: Desired): Promise<Map<string, PlaceEntry>> {
    const { place } = this.#options
    const known = this.#standing
    const isUnasked = (key: string) => !known?.has(key) && !this.#asked.has(key) && !place.owns(key)
    if (known && (place.guards || ![...desired.keys()].some(isUnasked))) return known
    const asked = new Set(desired.keys())
    const standing = new Map(await session.read(asked))
    this.#asked = asked
    this.#standing = standing
    return standing
  }

  #enter(standing: Map<string, PlaceEntry>, change: PlaceChange): void {
    if (change.kind === 'delete') {
      this.#own.delete(change.key)
      standing.delete(change.key)
    } else {
      this.#own.add(change.key)
      standing.set(change.key, { value: this.#shown(change.value), ours: true })
    }
  }

  #shown(value: string): string {
    const { place } = this.#options
    return place.shown ? place.shown(value) : value
  }

  #tellHeld(held: readonly string[]): void {
    const fresh = held.filter((key) => !this.#held.includes(key))
    this.#held = held
    if (fresh.length > 0)
      this.#options.log?.warn(
        { keys: fresh.slice(0, 3), count: fresh.length },
        'held by another, and left to it',
      )
  }

  async #end(session: PlaceSession | undefined, onExit: OnExit): Promise<void> {
    try {
      await session?.end(onExit)
    } catch (error) {
      if (!isFailure(error)) throw error
      this.#options.log?.warn({ reason: explain(error) }, `what we wrote to ${this.description} stays there`)
    }
  }
}

/** What turns `standing` into `desired`, puts first; what another holds, and how many are left to another in all. Pure. */
export const plan = (
  desired: Desired,
  standing: ReadonlyMap<string, PlaceEntry>,
  {
    owns,
    shown = (value) => value,
    spares = () => false,
    adopts = false,
  }: {
    owns(key: string): boolean
    shown?(value: string): string
    /** Keys that stay where they are not wanted. */
    spares?(key: string): boolean
    /** Whether what another holds with the same value is taken over. */
    adopts?: boolean
  },
): { readonly changes: readonly PlaceChange[]; readonly held: readonly string[]; readonly left: number } => {
  const changes: PlaceChange[] = []
  const held: string[] = []
  let left = 0
  for (const [key, value] of desired) {
    const entry = standing.get(key)
    const same = entry?.value === shown(value)
    if (entry?.ours && same) continue
    if (entry && !entry.ours && !entry.earlier && !owns(key) && !(same && adopts)) {
      left += 1
      if (!same) held.push(key)
    } else changes.push({ kind: 'put', key, value })
  }
  for (const [key, { ours, earlier }] of standing)
    if (!desired.has(key) && (ours || earlier || owns(key)) && !spares(key))
      changes.push({ kind: 'delete', key })
  return { changes, held, left }
}
