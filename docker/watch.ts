import { backoff, pause } from '../process/backoff.ts'
import { explain } from '../process/failure.ts'
import { aborted } from '../process/lifecycle.ts'
import type { Docker } from './client.ts'
import { type EngineEvent, type EventStream, eventKey, openEvents, parseNano, sinceText } from './events.ts'
import { engineInfo, pingEngine } from './queries.ts'

export type WatchState =
  | { readonly kind: 'connecting'; readonly reason: string }
  | { readonly kind: 'watching'; readonly since: number }

/** What a watch reports. All three are called synchronously and must return at once. */
export interface WatchHandlers {
  /** An event not seen before; the order between objects is not defined. */
  event(event: EngineEvent): void
  /** Events may have been missed: everything is to be listed anew. */
  resync(reason: string): void
  state(state: WatchState): void
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
}

export const watchTimes: WatchTimes = {
  pingEvery: 5000,
  pingLimit: 2000,
  renewAfter: () => 300_000 + Math.random() * 300_000,
  proof: 500,
}

/** A stream is asked for events from this long before the last one: inversions are a few ms, replays are cheap. */
const overlap = 2_000_000_000n
const firstOverlap = 5_000_000_000n

/**
 * Follows an engine's events until the signal fires, whatever happens to the engine. Every stream starts with a
 * replay from before the last event; if that event comes again, the daemon's ring reaches back to it and nothing was
 * missed. Otherwise a `resync` is asked for, once the stream must be subscribed. At the very start, without a last
 * event, there are two: one at once, and one then.
 */
export const watchEngine = async (
  docker: Docker,
  handlers: WatchHandlers,
  signal: AbortSignal,
  times: WatchTimes = watchTimes,
): Promise<void> => {
  const watch = new Watch(docker, handlers, times)
  const stalls = reportStalls((seconds) => handlers.resync(`this process stood still for ${seconds} s`))
  try {
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const reason = await watch.follow(signal, () => {
          attempt = 0
        })
        if (!signal.aborted) handlers.state({ kind: 'connecting', reason })
      } catch (error) {
        handlers.state({ kind: 'connecting', reason: explain(error) })
      }
      await pause(backoff(attempt, 100, 2000), signal)
    }
  } finally {
    clearInterval(stalls)
  }
}

class Watch {
  #docker: Docker
  #handlers: WatchHandlers
  #times: WatchTimes
  #seen = new Recent(2048)
  #last: EngineEvent | undefined

  constructor(docker: Docker, handlers: WatchHandlers, times: WatchTimes) {
    this.#docker = docker
    this.#handlers = handlers
    this.#times = times
  }

  /** One connection, renewed as long as it works. Returns why it ended. */
  async follow(signal: AbortSignal, onOpen: () => void): Promise<string> {
    let stream = await this.#open()
    onOpen()
    this.#handlers.state({ kind: 'watching', since: Date.now() })
    const stop = new AbortController()
    const until = AbortSignal.any([signal, stop.signal])
    const silence = this.#silence(until)
    try {
      if (!stream.expected) this.#handlers.resync('first look')
      // by the time that a stream had for its proof, it is subscribed: from here on nothing is missed
      if (!(await stream.proven) && !signal.aborted)
        this.#handlers.resync(stream.expected ? 'events may have been missed' : 'second look')
      for (;;) {
        const end = await Promise.race([
          stream.ended,
          silence,
          pause(this.#times.renewAfter(), until).then(() => undefined),
        ])
        if (end !== undefined || signal.aborted) return end ?? 'stopped'
        stream = await this.#renew(stream)
      }
    } finally {
      stop.abort()
      stream.close()
    }
  }

  /** The new stream is open, and shown to be subscribed, before the old one closes. */
  async #renew(old: ProvenStream): Promise<ProvenStream> {
    const next = await this.#open()
    if (!(await next.proven)) this.#handlers.resync('the renewed event stream does not reach back')
    old.close()
    return next
  }

  async #open(): Promise<ProvenStream> {
    const expected = this.#last && eventKey(this.#last)
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const stream = await openEvents(this.#docker, await this.#since(), (event) => {
      if (eventKey(event) === expected) resolve(true)
      this.#take(event)
    })
    const timer = setTimeout(() => resolve(false), this.#times.proof)
    const proven = promise.finally(() => clearTimeout(timer))
    return { ...stream, expected: expected !== undefined, proven }
  }

  async #since(): Promise<string> {
    if (this.#last) return sinceText(BigInt(this.#last.timeNano) - overlap)
    const { time } = await engineInfo(this.#docker, 5000)
    return sinceText((parseNano(time) ?? BigInt(Date.now()) * 1_000_000n) - firstOverlap)
  }

  #take(event: EngineEvent): void {
    if (!this.#seen.add(eventKey(event))) return
    this.#last = event
    this.#handlers.event(event)
  }

  /** Resolves when the engine has missed two pings in a row: a stopped daemon or a half-open socket says nothing. */
  async #silence(signal: AbortSignal): Promise<string> {
    for (let misses = 0; !signal.aborted; ) {
      await pause(this.#times.pingEvery, signal)
      if (signal.aborted) break
      misses = await pingEngine(this.#docker, this.#times.pingLimit).then(
        () => 0,
        () => misses + 1,
      )
      if (misses >= 2) return 'the Docker Engine does not answer'
    }
    await aborted(signal)
    return 'stopped'
  }
}

interface ProvenStream extends EventStream {
  /** Whether there was a last event to look for. */
  readonly expected: boolean
  /** Resolves with true as soon as the last event was seen again, else with false. */
  readonly proven: Promise<boolean>
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
const reportStalls = (report: (seconds: number) => void): NodeJS.Timeout => {
  let last = performance.now()
  return setInterval(() => {
    const now = performance.now()
    if (now - last > 3000) report(Math.round((now - last) / 1000))
    last = now
  }, 1000).unref()
}
