import http from 'node:http'
import https from 'node:https'
import { Failure, type FailureKind } from '../../../process/failure.ts'
import { parseJson } from '../../../process/json.ts'
import { type ConsulEndpoint, type ConsulSettings, describeEndpoint } from './settings.ts'

/** ms after which a call is given up. */
export const callLimit = 4000
/** Connections at most; an agent takes 200 of one client by default. */
const connections = 16

interface Call {
  readonly body?: unknown
  readonly ms?: number
  readonly signal?: AbortSignal
}

/** Consul's HTTP API over connections that are kept. Calls end in bounded time. */
export class ConsulClient {
  readonly description: string
  readonly #at: ConsulEndpoint
  readonly #headers: Record<string, string>
  readonly #agent: http.Agent
  readonly #request: typeof http.request

  constructor({ at, token, login }: ConsulSettings) {
    this.#at = at
    this.description = describeEndpoint(at)
    this.#headers = {
      ...(token !== undefined && { 'X-Consul-Token': token }),
      ...(login !== undefined && { Authorization: `Basic ${Buffer.from(login).toString('base64')}` }),
    }
    const secure = at.kind === 'tcp' && at.tls !== undefined
    const options = { keepAlive: true, maxSockets: connections }
    this.#agent = secure ? new https.Agent(options) : new http.Agent(options)
    this.#request = secure ? https.request : http.request
  }

  /** Ends connections that are idle, and all others when they come to be. */
  close(): void {
    this.#agent.destroy()
  }

  /**
   * What it answers, as JSON; undefined for what is none. `path` as it goes over the wire, with its parts encoded. Errors: by the
   * status: `denied`, `not-found`, `conflict`, `invalid`; `unavailable` for 5xx, 429 and for no answer within `ms`.
   */
  async call(
    method: 'GET' | 'PUT',
    path: string,
    { body, ms = callLimit, signal }: Call = {},
  ): Promise<unknown> {
    const limit = AbortSignal.timeout(ms)
    const until = signal ? AbortSignal.any([limit, signal]) : limit
    const doing = `Consul at ${this.description}: ${method} ${path.replace(/\?.*$/s, '')}`
    let status: number
    let text: string
    try {
      ;({ status, text } = await this.#send(method, path, body, until))
    } catch (error) {
      throw limit.aborted
        ? new Failure('unavailable', `${doing}: no answer within ${ms} ms`)
        : new Failure('unavailable', doing, error)
    }
    if (status >= 300) throw new Failure(kindOf(status), `${doing}: ${status} ${reasonIn(text)}`.trimEnd())
    return parseJson(text)
  }

  #send(
    method: string,
    path: string,
    body: unknown,
    signal: AbortSignal,
  ): Promise<{ status: number; text: string }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
    const sent = body === undefined ? undefined : JSON.stringify(body)
    const headers = {
      ...this.#headers,
      ...(method === 'PUT' && { 'Content-Length': String(Buffer.byteLength(sent ?? '')) }),
    }
    const options = { method, path, headers, signal, agent: this.#agent, ...whereOf(this.#at) }
    const request = this.#request(options, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject)
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
      )
      response.on('close', () => reject(new Error('the connection ended within the answer')))
    })
    request.on('error', reject)
    request.end(sent)
    return promise
  }
}

const whereOf = (at: ConsulEndpoint): https.RequestOptions => {
  if (at.kind === 'unix') return { socketPath: at.socket }
  const { host, port, tls } = at
  if (!tls) return { host, port }
  const { ca, cert, key, serverName, verify } = tls
  return {
    host,
    port,
    rejectUnauthorized: verify,
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && key !== undefined && { cert, key }),
    ...(serverName !== undefined && { servername: serverName }),
  }
}

const kindOf = (status: number): FailureKind => {
  if (status === 401 || status === 403) return 'denied'
  if (status === 404) return 'not-found'
  if (status === 409) return 'conflict'
  return status === 429 || status >= 500 ? 'unavailable' : 'invalid'
}

/** Consul's answers to errors are a line of text. */
const reasonIn = (text: string): string => text.replaceAll(/\s+/g, ' ').trim().slice(0, 300)

/** One part of a path, such as a service's ID: "h:a/b" -> "h%3Aa%2Fb". */
export const pathPart = (text: string): string => encodeURIComponent(text)
