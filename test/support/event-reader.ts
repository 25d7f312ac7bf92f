import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { createParser } from 'eventsource-parser'
import { until } from '../../process/backoff.ts'
import type { Teardown } from './etcd.ts'

interface Message {
  readonly event: string
  readonly data: { readonly key?: string; readonly record?: unknown; readonly [name: string]: unknown }
  /** As the server sent it with this very event. */
  readonly id: string | undefined
}

/**
 * A reader of server-sent events, as EventSource is one: it keeps the last id, and can begin anew from there. Beside
 * the events it keeps the registry as they tell it. It ends with the test.
 */
export class EventReader {
  readonly messages: Message[] = []
  readonly comments: string[] = []
  /** Key -> record, by what was said so far. */
  readonly registry = new Map<string, unknown>()
  lastId = ''
  /** How the last connection ended: `whole` as a response should, `cut`, or undefined while it is open. */
  ended: 'whole' | 'cut' | undefined
  #response: IncomingMessage | undefined
  readonly #url: string

  private constructor(url: string) {
    this.#url = url
  }

  /** Rejects with the answer's text when it is no stream. */
  static async open(t: Teardown, url: string): Promise<EventReader> {
    const reader = new EventReader(url)
    t.teardown(() => reader.close())
    await reader.connect()
    return reader
  }

  /** Also anew, after the end: from the last id. */
  async connect(): Promise<void> {
    const headers = this.lastId === '' ? {} : { 'Last-Event-ID': this.lastId }
    const request = http.get(this.#url, { headers, agent: false })
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    response.setEncoding('utf8')
    if (response.headers['content-type'] !== 'text/event-stream')
      throw new Error(`status ${response.statusCode}: ${(await response.toArray()).join('')}`)
    this.#response = response
    this.ended = undefined
    const parser = createParser({
      onComment: (text) => this.comments.push(text),
      onId: (id) => {
        this.lastId = id
      },
      onEvent: ({ event = 'message', data, id }) => this.#hear({ event, data: JSON.parse(data), id }),
    })
    response.on('data', (text: string) => parser.feed(text))
    response.on('error', () => {}) // a cut, which `close` tells of
    response.on('close', () => {
      if (this.#response === response) this.ended = response.complete ? 'whole' : 'cut'
    })
  }

  /** Takes nothing more from the connection, so that the server must wait. */
  pause(): void {
    this.#response?.pause()
  }

  resume(): void {
    this.#response?.resume()
  }

  close(): void {
    this.#response?.destroy()
  }

  /** Waits until `found` is true. */
  async wait(found: (reader: EventReader) => boolean, ms = 10_000): Promise<boolean> {
    return (await until(() => found(this) || undefined, { ms, every: 5 })) ?? false
  }

  count(event: string): number {
    return this.messages.filter((message) => message.event === event).length
  }

  #hear(message: Message): void {
    this.messages.push(message)
    const { event, data } = message
    if (event === 'reset') this.registry.clear()
    if (event === 'put' && data.key !== undefined) this.registry.set(data.key, data.record)
    if (event === 'delete' && data.key !== undefined) this.registry.delete(data.key)
  }
}
