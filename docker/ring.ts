import { once } from 'node:events'
import { Failure } from '../process/failure.ts'
import { callDocker, type Docker } from './client.ts'
import {
  askEvents,
  type EngineEvent,
  eventKey,
  isFollowed,
  Lines,
  parseEvent,
  parseNano,
  sinceText,
} from './events.ts'
import { engineInfo } from './queries.ts'

/** What the daemon remembers: its last 256 events of all types, in the order in which it announced them. */
export interface Ring {
  /** Those that we follow. */
  readonly events: readonly EngineEvent[]
  /** Nanoseconds of the oldest event of all, followed or not; undefined when it remembers none. */
  readonly oldest: bigint | undefined
  /** Whether these are all since the daemon's start. */
  readonly complete: boolean
  /** The daemon's clock when it was asked, in nanoseconds. */
  readonly now: bigint
}

/** Events that a daemon remembers at most. */
const most = 256

/** ms for each of the two questions. */
const limit = 5000

/** Reads all that the daemon remembers; what comes meanwhile is not in it. Rejects with a Failure. */
export const readRing = async (docker: Docker): Promise<Ring> => {
  const { time } = await engineInfo(docker, limit)
  const now = parseNano(time) ?? BigInt(Date.now()) * 1_000_000n
  const all = await callDocker(
    'read the events that the Docker Engine remembers',
    limit,
    async (abortSignal) => {
      // `until` in the past: the answer ends by itself
      const stream = await askEvents(docker, { since: sinceText(1n), until: sinceText(now), abortSignal })
      return readAll(stream, abortSignal)
    },
  )
  const [oldest] = all
  return {
    events: all.filter(isFollowed),
    oldest: oldest && BigInt(oldest.timeNano),
    complete: all.length < most,
    now,
  }
}

const readAll = async (stream: NodeJS.ReadableStream, signal: AbortSignal): Promise<EngineEvent[]> => {
  const lines = new Lines()
  const events: EngineEvent[] = []
  let whole = false
  stream.on('data', (chunk: Buffer) => {
    for (const line of lines.push(chunk)) {
      const event = parseEvent(line)
      if (event) events.push(event)
    }
  })
  stream.on('end', () => {
    whole = true
  })
  await once(stream, 'close', { signal }) // rejects at an error of the stream
  if (whole) return events
  throw new Failure('unavailable', "the Docker Engine's answer broke off")
}

/** Stamps of events that were announced one after the other can be a few ms out of order. */
const margin = 2_000_000_000n

/**
 * Whether the daemon remembers all that happened since an event, or since an instant: it announced the event and remembers
 * it still, or it remembers something of before the instant.
 */
export const reachesBack = (ring: Ring, key: string | undefined, since: bigint): boolean =>
  (key !== undefined && ring.events.some((event) => eventKey(event) === key)) ||
  (ring.oldest !== undefined && ring.oldest + margin <= since)

/** Events of a time that may be lost for good; nanoseconds of the daemon's clock, both included. */
export interface Gap {
  readonly from: bigint
  readonly to: bigint
  readonly reason: string
}

/** What is not known after `from`, where the ring does not reach back to it: it begins again with the oldest event. */
export const gapBefore = (ring: Ring, from: bigint, reason: string): Gap => {
  const to = ring.oldest === undefined ? ring.now : ring.oldest - 1n
  return { from, to: to > from ? to : from, reason }
}
