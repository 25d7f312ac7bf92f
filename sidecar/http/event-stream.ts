import { once } from 'node:events'
import type { ServerResponse } from 'node:http'

/** ms between comments, which keep proxies from closing a quiet stream, and find readers that are gone. */
const heartbeat = 15_000

/** ms that a reader may take nothing at all before it is dropped. */
const patience = 30_000

export interface Frame {
  readonly event: string
  /** Where a reader may resume; '' makes it forget. */
  readonly id?: string | undefined
  readonly data: unknown
}

/** One server-sent event as it goes over the wire. JSON has no line breaks, so `data` is one line. */
export const frame = ({ event, id, data }: Frame): string =>
  `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`

/**
 * An HTTP response as a stream of server-sent events. Whoever sends waits for the reader, so nothing gathers here but
 * what is being sent; a reader that takes nothing for half a minute is dropped.
 */
export class EventStream implements AsyncDisposable {
  /** Fires when the reader is gone, or nothing more is to be sent. */
  readonly signal: AbortSignal
  readonly #response: ServerResponse
  readonly #patience: number
  readonly #timer: NodeJS.Timeout

  constructor(response: ServerResponse, stop: AbortSignal, { every = heartbeat, wait = patience } = {}) {
    const closed = new AbortController()
    response.on('close', () => closed.abort())
    // that a reader is gone is no error here: `close` follows
    response.on('error', () => {})
    this.signal = AbortSignal.any([stop, closed.signal])
    this.#response = response
    this.#patience = wait
    response.writeHead(200, {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-store',
      // nginx and its like would gather events
      'X-Accel-Buffering': 'no',
    })
    response.write('retry: 1000\n\n')
    this.#timer = setInterval(() => {
      if (!response.writableNeedDrain) response.write(':\n\n')
    }, every)
  }

  /** Resolves when the reader has taken it, or is gone. */
  async send(text: string): Promise<void> {
    if (text === '' || this.signal.aborted || this.#response.write(text)) return
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), this.#patience)
    try {
      await once(this.#response, 'drain', { signal: AbortSignal.any([this.signal, late.signal]) })
    } catch (error) {
      if (late.signal.aborted) this.#response.destroy()
      if (!late.signal.aborted && !this.signal.aborted) throw error
    } finally {
      clearTimeout(timer)
    }
  }

  /** Said to people who look; readers ignore it. */
  comment(text: string): Promise<void> {
    return this.send(`: ${text.replaceAll(/\s+/g, ' ')}\n\n`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    this.#response.end()
  }
}
