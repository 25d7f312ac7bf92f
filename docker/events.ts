import { hash } from 'node:crypto'
import { StringDecoder } from 'node:string_decoder'
import { z } from 'zod'
import { callDocker, type Docker } from './client.ts'

/** One event of the engine, by its own words. API 1.52 dropped the older fields status, id and from: not used. */
export interface EngineEvent {
  /** container, image, network, plugin, volume, daemon, builder, service, node, secret or config. */
  readonly type: string
  /** start, die, "health_status: healthy" … */
  readonly action: string
  /** An id; for images also a reference, for volumes a name, after a prune "". */
  readonly id: string
  /** Nanoseconds since 1970, in decimal: beyond 2^53, so never a number. */
  readonly timeNano: string
  readonly attributes: Readonly<Record<string, string>>
}

const Line = z.object({
  Type: z.string(),
  Action: z.string(),
  Actor: z.object({ ID: z.string().default(''), Attributes: z.record(z.string(), z.string()).nullish() }),
})

/** Matches the field alone: inside a label's text its quotes would be escaped, as a label's value it would be quoted. */
const stamp = /"timeNano":\s*(\d+)/

/** Reads a line of /events; undefined where it holds no event. */
export const parseEvent = (line: string): EngineEvent | undefined => {
  let json: unknown
  try {
    json = JSON.parse(line)
  } catch {
    return undefined
  }
  const parsed = Line.safeParse(json)
  if (!parsed.success) return undefined
  const { Type, Action, Actor } = parsed.data
  return {
    type: Type,
    action: Action,
    id: Actor.ID,
    timeNano: stamp.exec(line)?.[1] ?? '0',
    attributes: Actor.Attributes ?? {},
  }
}

/**
 * "<nanoseconds, 19 digits>-<8 hex digits>": equal for the same event seen twice (a replay, two streams, another run of
 * this program), different for others, and in the order of time. All that the engine says of the event goes into the
 * digits, for events of one instant differ in their attributes alone at times (a container on two networks).
 */
export const eventKey = ({ timeNano, type, action, id, attributes }: EngineEvent): string => {
  const said = [type, action, id, ...Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1))]
  return instantKey(timeNano, said)
}

/** For what stands among events without being one. */
export const instantKey = (nano: string | bigint, said: unknown): string =>
  `${String(nano).padStart(19, '0')}-${hash('sha256', JSON.stringify(said)).slice(0, 8)}`

/** Cuts a stream of bytes into lines, wherever the chunks end: inside a line or inside a character. */
export class Lines {
  #decoder = new StringDecoder('utf8')
  #rest = ''

  push(chunk: Buffer): string[] {
    const lines = (this.#rest + this.#decoder.write(chunk)).split('\n')
    this.#rest = lines.pop() ?? ''
    return lines.filter((line) => line.trim() !== '')
  }
}

/** Nanoseconds as the daemon wants them in `since`: "1700000000.000000123". It includes that very instant. */
export const sinceText = (nano: bigint): string => {
  const at = nano > 0n ? nano : 0n
  return `${at / 1_000_000_000n}.${String(at % 1_000_000_000n).padStart(9, '0')}`
}

/** A time of the daemon's clock (RFC 3339, up to nanoseconds) as nanoseconds; undefined where it is none. */
export const parseNano = (time: string): bigint | undefined => {
  const fraction = /\.(\d{1,9})/.exec(time)?.[1] ?? ''
  const ms = Date.parse(time.replace(/\.\d+/, ''))
  return Number.isNaN(ms) ? undefined : BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, '0'))
}

/**
 * The actions that are followed: all but those that change nothing and come in crowds. A health check alone makes three
 * exec events; top and resize are somebody looking. The daemon leaves those out. With health_status among them, it
 * compares all of these as prefixes: none of them begins one that is to be left out.
 */
export const actions = [
  // container
  ...['create', 'start', 'restart', 'stop', 'kill', 'die', 'oom', 'pause', 'unpause', 'rename', 'update'],
  ...['attach', 'detach', 'commit', 'copy', 'archive-path', 'extract-to-dir', 'export', 'checkpoint'],
  ...['destroy', 'prune', 'health_status'],
  // image, and prune of a builder
  ...['pull', 'push', 'tag', 'untag', 'delete', 'import', 'load', 'save'],
  // volume, network, plugin, daemon; objects of a swarm: create, update, remove
  ...['mount', 'unmount', 'connect', 'disconnect', 'remove', 'enable', 'disable', 'reload'],
] as const

const followed: ReadonlySet<string> = new Set(actions)

/** Whether the daemon would send it to us: "health_status: healthy" is one, "exec_start: sh" is not. */
export const isFollowed = ({ action }: EngineEvent): boolean => followed.has(action.split(':', 1)[0] ?? '')

/** Asks for /events. The published types take `since` as a number, which cannot hold nanoseconds. */
export const askEvents = (docker: Docker, options: object): Promise<NodeJS.ReadableStream> =>
  Reflect.apply(docker.getEvents, docker, [options])

export interface EventStream {
  /** Resolves with the reason when the stream has ended, by whichever side. */
  readonly ended: Promise<string>
  close(): void
}

/**
 * Opens /events and hands every event to `onEvent` at once; nothing between the socket and `onEvent` waits, since an
 * engine drops events silently for a reader that is slow. Resolves at the response's headers, which come *before* the
 * daemon has subscribed us: `since` (sinceText) must lie in the past. Rejects with a Failure.
 */
export const openEvents = async (
  docker: Docker,
  since: string,
  onEvent: (event: EngineEvent) => void,
): Promise<EventStream> => {
  const stop = new AbortController()
  const stream = await callDocker('open the event stream', 5000, (limit) =>
    askEvents(docker, {
      since,
      filters: { event: actions },
      abortSignal: AbortSignal.any([limit, stop.signal]),
    }),
  )
  const lines = new Lines()
  const ended = new Promise<string>((resolve) => {
    let reason = 'the engine closed the event stream'
    stream.on('error', (error: Error) => {
      reason = `the event stream broke: ${error.message}`
    })
    // the end of a daemon shows as aborted and close, never as end
    stream.on('close', () => resolve(reason))
  })
  stream.on('data', (chunk: Buffer) => {
    for (const line of lines.push(chunk)) {
      const event = parseEvent(line)
      if (event) onEvent(event)
    }
  })
  return { ended, close: () => stop.abort() }
}
