import { backoff, pause, until } from '../process/backoff.ts'
import { explain, isFailure } from '../process/failure.ts'
import { Wake } from '../process/wake.ts'
import type { Docker } from './client.ts'
import { type EngineEvent, type EventStream, eventKey, openEvents, parseNano, sinceText } from './events.ts'
import { engineInfo, pingEngine } from './queries.ts'
import { type Gap, gapBefore, type Ring, reachesBack, readRing } from './ring.ts'

export type WatchState =
  | { readonly kind: 'connecting'; readonly reason: string }
  | { readonly kind: 'watching'; readonly since: number }

/** What a watch reports. All are called synchronously and must return at once. */
export interface WatchHandlers {
  /** An event not seen before; the order between objects is not defined. */
  event(event: EngineEvent): void
  /** Events may have been missed: everything is to be listed anew. */
  resync(reason: string): void
  state(state: WatchState): void
  /** What the daemon still remembered when the first stream stood: also what happened before. Called once. */
  remembered?(ring: Ring): void
  /** Events may have been missed; those that follow may come after some that are lost. Also why that is not settled. */
  doubt?(reason: string): void
  /** The doubt is settled: nothing is lost, or what is for good. What was missed and could be had follows, or came before. */
  certain?(gap: Gap | undefined): void
}

/** Times in ms. */
export interface WatchTimes {
  /** Between pings; each may take `pingLimit`, and two misses in a row end the stream. */
  readonly pingEvery: number
  readonly pingLimit: number
  /** A stream's age when a new one takes its place: half-open sockets happen. */
  readonly renewAfter: () => number
  /** How long a new stream has to prove that nothing was missed. */
  readonly proof: number
  /** From when on this process counts as having stood still. */
  readonly stall: number
}

export const watchTimes: WatchTimes = {
  pingEvery: 5000,
  pingLimit: 2000,
  renewAfter: () => 300_000 + Math.random() * 300_000,
  proof: 500,
  stall: 3000,
}

/** A stream is asked for events from this long before the last one: inversions are a few ms, replays are cheap. */
const overlap = 2_000_000_000n
const firstOverlap = 5_000_000_000n

/** ms until the daemon is asked again what it remembers. */
const retrySettle = 1000

/**
 * Follows an engine's events until the signal fires, whatever happens to the engine. Every stream starts with a
 * replay from before the last event; if that event comes again, the daemon's ring reaches back to it and nothing was
 * missed. Otherwise a `resync` is asked for, once the stream must be subscribed. At the very start, without a last
 * event, there are two: one at once, and one then. Whether anything is lost for good is then settled by all that the
 * daemon remembers.
 */
export const watchEngine = async (
  docker: Docker,
  handlers: WatchHandlers,
  signal: AbortSignal,
  times: WatchTimes = watchTimes,
): Promise<void> => {
  const watch = new Watch(docker, handlers, times)
  const stalls = reportStalls(
    times.stall,
    () => watch.mark(),
    (seconds) => watch.stalled(`this process stood still for ${seconds} s`),
  )
  try {
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const reason = await watch.follow(signal, () => {
          attempt = 0
        })
        if (!signal.aborted) handlers.state({ kind: 'connecting', reason })
      } catch (error) {
        if (!isFailure(error)) throw error
        handlers.state({ kind: 'connecting', reason: explain(error) })
      }
      await pause(backoff(attempt, 100, 2000), signal)
    }
  } finally {
    clearInterval(stalls)
  }
}

/** From an instant on events may have been missed. */
interface Doubt {
  /** The last event before; the daemon remembering it proves that none is missed. */
  readonly anchor: EngineEvent | undefined
  /** The last instant at which nothing was missed, in nanoseconds of the daemon's clock. */
  readonly since: bigint
  /** Whether another daemon may have taken the place of the one that was followed. */
  readonly broken: boolean
  readonly reason: string
}

class Watch {
  #docker: Docker
  #handlers: WatchHandlers
  #times: WatchTimes
  #seen = new Recent(2048)
  #last: EngineEvent | undefined
  #doubt: Doubt | undefined
  #stall = new Wake()
  /** Whether `remembered` is still owed. */
  #owed: boolean
  /** The daemon's clock at a time of ours: the two need not agree, and ours may be set. */
  #clock: { nano: bigint; at: number } | undefined
  /** When the daemon was last heard, by its clock. */
  #heard = 0n
  #marked: Pick<Doubt, 'anchor' | 'since'> = { anchor: undefined, since: 0n }

  constructor(docker: Docker, handlers: WatchHandlers, times: WatchTimes) {
    this.#docker = docker
    this.#handlers = handlers
    this.#times = times
    this.#owed = handlers.remembered !== undefined
  }

  /** To be called every now and then: what stands here is of before the next stall. */
  mark(): void {
    this.#marked = { anchor: this.#last, since: this.#now() }
  }

  /** This process did not read for a while: the daemon may have dropped events of the open stream. */
  stalled(reason: string): void {
    this.#handlers.resync(reason)
    if (this.#clock === undefined) return
    this.#raise({ ...this.#marked, broken: false, reason })
    this.#stall.wake()
  }

  /** One connection, renewed as long as it works. Returns why it ended. */
  async follow(signal: AbortSignal, onOpen: () => void): Promise<string> {
    const doubt = this.#doubt
    let stream = await this.#open()
    onOpen()
    this.#handlers.state({ kind: 'watching', since: Date.now() })
    const stop = new AbortController()
    const silent = new AbortController()
    const ending = AbortSignal.any([signal, stop.signal, silent.signal])
    void this.#ping(ending, () => silent.abort())
    let reason = 'the event stream broke'
    try {
      if (!stream.expected) this.#handlers.resync('first look')
      // by the time that a stream had for its proof, it is subscribed: from here on nothing is missed
      if (await stream.proven) this.#trust(doubt)
      else if (!signal.aborted)
        this.#handlers.resync(stream.expected ? 'events may have been missed' : 'second look')
      for (let renewAt = this.#renewAt(); ; ) {
        const settled = await this.#settle()
        const end = await Promise.race([
          stream.ended,
          this.#stall.next(settled ? renewAt - performance.now() : retrySettle, ending).then(() => undefined),
        ])
        if (end !== undefined || ending.aborted) {
          reason = silent.signal.aborted ? 'the Docker Engine does not answer' : (end ?? 'stopped')
          return reason
        }
        if (performance.now() < renewAt) continue
        stream = await this.#renew(stream)
        renewAt = this.#renewAt()
      }
    } finally {
      if (!signal.aborted) this.#raise({ anchor: this.#last, since: this.#heard, broken: true, reason })
      stop.abort()
      stream.close()
    }
  }

  #renewAt(): number {
    return performance.now() + this.#times.renewAfter()
  }

  /** The new stream is open, and shown to be subscribed, before the old one closes. */
  async #renew(old: ProvenStream): Promise<ProvenStream> {
    const anchor = this.#last
    const next = await this.#open()
    if (!(await next.proven)) {
      this.#handlers.resync('the renewed event stream does not reach back')
      // an old stream that still brings what the new one brings has missed nothing
      const alike = () => next.latest() === undefined || next.latest() === old.latest() || undefined
      if (!(await until(alike, { ms: this.#times.proof, every: 10 })))
        this.#raise({
          anchor,
          since: anchor ? BigInt(anchor.timeNano) : this.#heard,
          broken: true,
          reason: 'the event stream had fallen silent',
        })
    }
    old.close()
    return next
  }

  /** A doubt that stands already reaches further back. */
  #raise(doubt: Doubt): void {
    const { anchor, since, broken, reason } = this.#doubt ?? doubt
    // another object in any case: a proof that is under way says nothing of what is doubtful only now
    this.#doubt = { anchor, since, broken: broken || doubt.broken, reason }
    this.#handlers.doubt?.(doubt.reason)
  }

  /** A stream that was opened in this doubt has brought the last event again. */
  #trust(doubt: Doubt | undefined): void {
    if (doubt === undefined || this.#doubt !== doubt) return
    this.#doubt = undefined
    this.#handlers.certain?.(undefined)
  }

  /** Asks the daemon what it remembers where that is needed; false when it did not say, and is to be asked again. */
  async #settle(): Promise<boolean> {
    if (this.#doubt === undefined && !this.#owed) return true
    let ring: Ring
    try {
      ring = await readRing(this.#docker)
    } catch (error) {
      if (!isFailure(error)) throw error
      // only what is in doubt is ever certain again: at the first start nothing is
      if (this.#doubt) this.#handlers.doubt?.(explain(error))
      return false
    }
    this.#tell(ring.now)
    if (this.#owed) this.#handlers.remembered?.(ring)
    this.#owed = false
    const doubt = this.#doubt
    this.#doubt = undefined
    if (doubt === undefined) return true
    const from = doubt.anchor ? BigInt(doubt.anchor.timeNano) : doubt.since
    this.#handlers.certain?.(lostIn(doubt, from, ring))
    for (const event of ring.events) if (BigInt(event.timeNano) >= from - overlap) this.#take(event)
    return true
  }

  async #open(): Promise<ProvenStream> {
    const anchor = this.#doubt ? this.#doubt.anchor : this.#last
    const expected = anchor && eventKey(anchor)
    const { promise, resolve } = Promise.withResolvers<boolean>()
    let latest: string | undefined
    const stream = await openEvents(this.#docker, await this.#since(anchor), (event) => {
      latest = eventKey(event)
      if (latest === expected) resolve(true)
      this.#take(event, latest)
    })
    const timer = setTimeout(() => resolve(false), this.#times.proof)
    const proven = promise.finally(() => clearTimeout(timer))
    return { ...stream, expected: expected !== undefined, proven, latest: () => latest }
  }

  async #since(anchor: EngineEvent | undefined): Promise<string> {
    if (anchor) return sinceText(BigInt(anchor.timeNano) - overlap)
    if (this.#doubt) return sinceText(this.#doubt.since - overlap)
    const { time } = await engineInfo(this.#docker, 5000)
    const now = parseNano(time) ?? BigInt(Date.now()) * 1_000_000n
    this.#tell(now)
    return sinceText(now - firstOverlap)
  }

  #take(event: EngineEvent, key = eventKey(event)): void {
    if (!this.#seen.add(key)) return
    this.#last = event
    this.#heard = this.#now()
    this.#handlers.event(event)
  }

  /** The daemon has just told its time. */
  #tell(nano: bigint): void {
    this.#clock = { nano, at: performance.now() }
    this.#heard = nano
  }

  /** About what the daemon's clock shows. */
  #now(): bigint {
    if (!this.#clock) return 0n
    return this.#clock.nano + BigInt(Math.round((performance.now() - this.#clock.at) * 1e6))
  }

  /** Calls `silent` when the engine has missed two pings in a row: a stopped daemon or a half-open socket says nothing. */
  async #ping(signal: AbortSignal, silent: () => void): Promise<void> {
    for (let misses = 0; misses < 2; ) {
      await pause(this.#times.pingEvery, signal)
      if (signal.aborted) return
      misses = await pingEngine(this.#docker, this.#times.pingLimit).then(
        () => {
          this.#heard = this.#now()
          return 0
        },
        () => misses + 1,
      )
    }
    silent()
  }
}

/** What is lost for good since the last event, which came at `from`. */
const lostIn = (doubt: Doubt, from: bigint, ring: Ring): Gap | undefined => {
  if (reachesBack(ring, doubt.anchor && eventKey(doubt.anchor), doubt.since)) return undefined
  if (!doubt.broken && ring.complete) return undefined
  // what the daemon announced just before it was last heard may not have arrived
  const least = doubt.since - overlap
  const reason = `${doubt.reason}, and the Docker Engine does not remember all of that time`
  return gapBefore(ring, from > least ? from : least, reason)
}

interface ProvenStream extends EventStream {
  /** Whether there was a last event to look for. */
  readonly expected: boolean
  /** Resolves with true as soon as the last event was seen again, else with false. */
  readonly proven: Promise<boolean>
  /** The key of the event that it brought last, new or not. */
  latest(): string | undefined
}

/** A set that forgets its oldest members. */
class Recent {
  #size: number
  #members = new Set<string>()

  constructor(size: number) {
    this.#size = size
  }

  /** Returns false if it is there already. */
  add(member: string): boolean {
    if (this.#members.has(member)) return false
    this.#members.add(member)
    if (this.#members.size > this.#size)
      for (const oldest of this.#members.values().take(1)) this.#members.delete(oldest)
    return true
  }
}

/** An engine drops events for a reader that stands still (SIGSTOP, a suspended machine), and says nothing. */
const reportStalls = (ms: number, mark: () => void, report: (seconds: number) => void): NodeJS.Timeout => {
  let last = performance.now()
  return setInterval(() => {
    const now = performance.now()
    if (now - last > ms) report(Math.round((now - last) / 1000))
    mark()
    last = now
  }, ms / 3).unref()
}
