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

/** Equal for the same event seen twice (a replay, two streams). */
export const eventKey = (event: EngineEvent): string =>
  `${event.timeNano} ${event.type} ${event.action} ${event.id}`

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
 * The actions that change what is registered. The daemon leaves out all others: a health check alone makes three
 * exec events. With health_status among them, it compares all of these as prefixes.
 */
export const actions = [
  ...['create', 'start', 'restart', 'stop', 'kill', 'die', 'oom', 'pause', 'unpause', 'rename', 'update'],
  ...['destroy', 'prune', 'health_status', 'commit', 'pull', 'tag', 'untag', 'delete', 'import', 'load'],
  ...['connect', 'disconnect', 'remove', 'mount', 'unmount', 'enable', 'disable', 'reload'],
] as const

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
  // the published types take `since` as a number, which cannot hold nanoseconds
  const ask = (options: object): Promise<NodeJS.ReadableStream> =>
    Reflect.apply(docker.getEvents, docker, [options])
  const stream = await callDocker('open the event stream', 5000, (limit) =>
    ask({ since, filters: { event: actions }, abortSignal: AbortSignal.any([limit, stop.signal]) }),
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
