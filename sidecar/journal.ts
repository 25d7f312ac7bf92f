import { type EngineEvent, parseNano } from '../docker/events.ts'
import { type Gap, gapBefore, type Ring, reachesBack } from '../docker/ring.ts'
import { backoff, pause } from '../process/backoff.ts'
import { explain, isFailure } from '../process/failure.ts'
import { aborted } from '../process/lifecycle.ts'
import type { Log } from '../process/log.ts'
import { type Batch, BucketWriter } from '../registry/buckets.ts'
import { decode, encode, keys, part } from '../registry/keys.ts'
import { Newest } from '../registry/newest.ts'
import type { JournalEntry } from '../registry/records.ts'
import { limits, type Store, type Entry as Stored } from '../registry/store.ts'
import { Backlog } from './backlog.ts'
import { type Entry, eventEntry, gapEntry, nanoOf } from './journal-entries.ts'
import type { LabelFilter } from './labels.ts'

export interface JournalOptions {
  /** Seconds that an entry is kept. */
  readonly keep: number
  /** Entries that are kept at most, from 1 on. */
  readonly most: number
  readonly labels: LabelFilter
  readonly log: Pick<Log, 'info' | 'warn'>
  readonly hooks?: JournalHooks
  /** Entries that wait for the store at most. */
  readonly queue?: number
  /** For tests: as of BucketWriter. */
  readonly span?: number
  readonly linger?: number
  readonly now?: () => number
}

export interface JournalHooks {
  /** An event will not be written. */
  dropped(): void
  /** An entry about a gap will be. */
  gap(): void
}

/** Seconds of entries that expire at once. */
const defaultSpan = 600

/** ms that an event waits for others: an event's record is to be in the store before its entry is on its way there. */
const defaultLinger = 200

/** As far as stamps of events can be out of order, in nanoseconds. */
const overlap = 2_000_000_000n

/**
 * The journal of what an engine announced (events/<host>/). Takes what a watch reports: that never waits, whatever the
 * store does. Keys tell when and what, so an event that is reported again (a replay, another run of the sidecar) is the
 * same entry, and is not written again. At the start the journal goes on from its newest entry with what the engine still
 * remembers, and says where that does not reach back to it.
 */
export class Journal {
  readonly #options: JournalOptions
  readonly #span: number
  readonly #now: () => number
  readonly #waiting: Backlog<Entry>
  /** What came since a doubt: if something is lost, the gap is written first, as a later start goes by the newest entry. */
  #doubtful: Backlog<Entry> | undefined
  readonly #ring = Promise.withResolvers<Ring>()
  #newest: Newest
  #began = false
  #writer: BucketWriter | undefined
  #serving: Promise<void> | undefined

  constructor(options: JournalOptions) {
    this.#options = options
    this.#span = options.span ?? defaultSpan
    this.#now = options.now ?? (() => performance.now())
    this.#waiting = this.#backlog()
    this.#newest = new Newest(options.most)
  }

  /** Entries that are not written yet. */
  get waiting(): number {
    return this.#waiting.length + (this.#doubtful?.length ?? 0)
  }

  /** Entries that the store has, as far as is known: those that should have expired are not counted. */
  get kept(): number {
    const expired = BigInt(Date.now()) * 1_000_000n - BigInt(this.#options.keep + this.#span) * 1_000_000_000n
    return this.#newest.size - this.#newest.before(String(expired).padStart(19, '0'))
  }

  event(event: EngineEvent): void {
    this.#push(this.#doubtful ?? this.#waiting, eventEntry(event, this.#options.labels))
  }

  remembered(ring: Ring): void {
    this.#ring.resolve(ring)
  }

  doubt(): void {
    this.#doubtful ??= this.#backlog()
  }

  certain(gap: Gap | undefined): void {
    const held = this.#doubtful?.clear() ?? []
    this.#doubtful = undefined
    if (gap) this.#push(this.#waiting, this.#gap(gap))
    for (const entry of held) this.#push(this.#waiting, entry)
  }

  /**
   * Writes until the signal fires: to be called whenever this process alone may write for this host, always with the same
   * store. What it does not get rid of waits for the next call.
   */
  serve(store: Store, host: string, signal: AbortSignal): Promise<void> {
    this.#serving = this.#serve(store, host, signal)
    return this.#serving
  }

  /** Writes what still waits, for at most `ms`. After `serve`, where this process still is the one that may write. */
  async flush(ms: number): Promise<void> {
    if (!this.#began) return
    await this.#writer?.drain(ms, this.#serving)
    if (this.waiting > 0)
      this.#options.log.warn({ entries: this.waiting }, 'entries of the journal are not written')
  }

  async #serve(store: Store, host: string, signal: AbortSignal): Promise<void> {
    const stored = await this.#read(store, host, signal)
    if (!stored) return
    const lost = this.#lost(stored)
    if (lost) this.#waiting.unshift([this.#gap(lost)])
    this.#newest = new Newest(this.#options.most)
    const ends = this.#now() + (this.#options.keep + this.#span) * 1000
    this.#newest.done({ enter: stored.map(({ key }) => lastPart(key)), leave: [] }, ends)
    const ring = await Promise.race([this.#ring.promise, aborted(signal)])
    if (!ring) return
    if (!this.#began) this.#begin(ring, stored.at(-1))
    this.#began = true
    this.#writer ??= new BucketWriter(
      store,
      {
        next: (size) => this.#next(host, size),
        conflict: () => this.#look(store, host),
      },
      { linger: defaultLinger, ...this.#options, span: this.#span, now: this.#now },
    )
    await this.#writer.run(signal)
  }

  /** What the store has of this journal; undefined when the signal fires. */
  async #read(store: Store, host: string, signal: AbortSignal): Promise<readonly Stored[] | undefined> {
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const { entries } = await store.read(`events/${part(host)}/`)
        return entries.filter(({ key }) => ours.test(lastPart(key)))
      } catch (error) {
        if (!isFailure(error)) throw error
        if (attempt === 0)
          this.#options.log.warn({ reason: explain(error) }, 'cannot read the journal: trying on')
        await pause(backoff(attempt), signal)
      }
    }
    return undefined
  }

  /** What this run has written and the store no longer has, though its time is not over: it was wiped, perhaps. */
  #lost(stored: readonly Stored[]): Gap | undefined {
    if (stored.length >= this.#options.most) return undefined // another run has made room
    this.#newest.expire(this.#now())
    const oldest = String(BigInt(Date.now() - this.#options.keep * 1000) * 1_000_000n).padStart(19, '0')
    const there = new Set(stored.map(({ key }) => lastPart(key)))
    const lost = this.#newest.keys.filter((key) => key >= oldest && !there.has(key))
    const [first, last] = [lost[0], lost.at(-1)]
    if (first === undefined || last === undefined) return undefined
    return { from: nanoOf(first), to: nanoOf(last), reason: 'the store has lost entries that it had' }
  }

  /** Goes on from the newest entry of an earlier run with what happened since. An empty journal begins without a gap. */
  #begin(ring: Ring, newest: Stored | undefined): void {
    const expired = ring.now - BigInt(this.#options.keep) * 1_000_000_000n
    const at = newest && nanoOf(lastPart(newest.key))
    // the daemon's clock may have been set back since
    const from = at === undefined || at > ring.now || at - overlap < expired ? expired : at - overlap
    const missing = ring.events.filter((event) => BigInt(event.timeNano) >= from)
    const gap = newest && this.#gapSince(ring, newest)
    this.#waiting.unshift([
      ...(gap ? [gap] : []),
      ...missing.map((event) => eventEntry(event, this.#options.labels)),
    ])
  }

  #gapSince(ring: Ring, newest: Stored): Entry | undefined {
    const key = lastPart(newest.key)
    const at = nanoOf(key)
    if (reachesBack(ring, key, at > ring.now ? 0n : at)) return undefined
    const reason = 'no sidecar ran, and the Docker Engine does not remember all of that time'
    const before = gapOf(newest)
    // a gap that nothing is known to have come after goes on: restarts make it longer, not many
    if (before) return this.#gap(gapBefore(ring, before.from, reason), key)
    return this.#gap(gapBefore(ring, at, reason))
  }

  #gap(gap: Gap, instead?: string): Entry {
    const entry = gapEntry(gap, instead)
    this.#options.log.warn(entry.record, 'the journal has a gap')
    this.#options.hooks?.gap()
    return entry
  }

  #backlog(): Backlog<Entry> {
    return new Backlog(this.#options.queue ?? 10_000, ({ count, from, to }) =>
      this.#gap({
        from: nanoOf(from),
        to: nanoOf(to),
        reason: `the store took no entries for too long: ${count} were dropped`,
      }),
    )
  }

  #push(backlog: Backlog<Entry>, entry: Entry): void {
    if (backlog.push(entry) > 0) this.#options.hooks?.dropped()
    this.#writer?.wake()
  }

  /** Skips what is there already. Where the journal is full, every entry takes the place of the oldest one. */
  #next(host: string, size: number): Batch | undefined {
    this.#newest.expire(this.#now())
    const excess = this.#newest.excess.slice(0, limits.changes)
    if (excess.length > 0) return this.#batch(host, [], { enter: [], leave: excess })
    const full = this.#newest.size + limits.changes > this.#options.most
    for (;;) {
      const entries = this.#waiting.peek(full ? Math.min(size, limits.changes / 2 - 1) : size - 1 || 1)
      if (entries.length === 0) return undefined
      const turn = this.#newest.admit(entries.map(({ key }) => key))
      if (turn.enter.length > 0) return this.#batch(host, entries, turn)
      this.#waiting.drop(entries.length)
    }
  }

  #batch(host: string, entries: readonly Entry[], turn: ReturnType<Newest['admit']>): Batch {
    const enter = new Set(turn.enter)
    const chosen = new Map(entries.filter(({ key }) => enter.has(key)).map((entry) => [entry.key, entry]))
    const replaced = [...chosen.values()].flatMap(({ instead }) => (instead === undefined ? [] : [instead]))
    const leave = [...new Set([...turn.leave, ...replaced])]
    return {
      size: Math.max(chosen.size, 1),
      changes: (lease) => [
        ...[...chosen].map(([key, { record }]) => ({
          kind: 'put' as const,
          key: keyOf(host, key),
          value: encode('events', { ...record, host } as JournalEntry),
          guard: 'absent' as const,
          lease,
        })),
        ...leave.map((key) => ({ kind: 'delete' as const, key: keyOf(host, key), guard: 'any' as const })),
      ],
      written: (ends) => {
        this.#newest.done({ enter: turn.enter, leave }, ends)
        this.#waiting.drop(entries.length)
      },
      refused: () => this.#refused(entries),
    }
  }

  /** Entries that are not written for themselves: the place where they would stand says so. */
  #refused(entries: readonly Entry[]): void {
    this.#waiting.drop(entries.length)
    for (const { key, record } of entries) {
      this.#options.hooks?.dropped()
      const gap = { from: nanoOf(key), to: nanoOf(key), reason: 'an entry does not fit into the store' }
      if (record.kind === 'event') this.#waiting.unshift([this.#gap(gap)])
    }
  }

  /** Another run, or a write of our own whose answer was lost, has written some of what comes next. */
  async #look(store: Store, host: string): Promise<void> {
    const next = this.#waiting.peek(limits.changes).map(({ key }) => keyOf(host, key))
    const { entries } = await store.readKeys(next)
    const ends = this.#now() + (this.#options.keep + this.#span) * 1000
    this.#newest.done({ enter: entries.map(({ key }) => lastPart(key)), leave: [] }, ends)
  }
}

const ours = /^\d{19}-[0-9a-f]{8}$/
const lastPart = (key: string): string => key.slice(key.lastIndexOf('/') + 1)
const keyOf = (host: string, key: string): string => keys.event(host, key.slice(0, 19), key.slice(20))

/** The gap that an entry tells of. What cannot be read is taken for an event. */
const gapOf = ({ key, value }: Stored): { from: bigint } | undefined => {
  let record: JournalEntry
  try {
    record = decode('events', key, value)
  } catch (error) {
    if (isFailure(error, 'invalid')) return undefined
    throw error
  }
  if (record.kind !== 'gap') return undefined
  const from = parseNano(record.from ?? record.to)
  return from === undefined ? undefined : { from }
}
