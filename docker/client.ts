import './without-ssh.ts'
import http from 'node:http'
import https from 'node:https'
import { inspect } from 'node:util'
import Docker from 'dockerode'
import { Failure, type FailureKind } from '../process/failure.ts'
import type { Endpoint } from './endpoint.ts'

export type { Docker }

/**
 * docker-modem formats its options with util.inspect at every request and so walks all sockets of the agent (200
 * inspects: 15.6 s); an agent that prints as a word makes that 65 ms.
 */
const quiet = <A extends http.Agent>(agent: A): A => Object.assign(agent, { [inspect.custom]: () => 'Agent' })

/** How to reach an engine by node:http, on the very connections that its dockerode has. */
export interface Connection {
  readonly endpoint: Endpoint
  readonly get: typeof http.get
  readonly options: https.RequestOptions & { readonly agent: http.Agent }
}
const connections = new WeakMap<Docker, Connection>()

/** Of an engine of connectDocker's. */
export const connectionOf = (docker: Docker): Connection => {
  const connection = connections.get(docker)
  if (!connection) throw new Failure('invalid', 'this Docker was not connected by connectDocker')
  return connection
}

/** As many calls are under way at once; the others wait. */
const maxSockets = 16

/** dockerode on an endpoint that we parsed ourselves, with a bounded number of connections. Opens none yet. */
export const connectDocker = (endpoint: Endpoint): Docker =>
  connect(endpoint, { keepAlive: true, maxSockets })

/**
 * The same for who changes something, with `headers` in each call, over a new connection for each. An Engine that ends takes no
 * new ones from the very beginning, but serves on those that it has: a container of ours that it has just stopped would be
 * started again.
 */
export const connectDockerAnew = (endpoint: Endpoint, headers: Record<string, string> = {}): Docker =>
  connect(endpoint, { keepAlive: false, maxSockets }, headers)

/** The same engine over a new connection for each call. */
export const unpooled = (docker: Docker): Docker =>
  connect(connectionOf(docker).endpoint, { keepAlive: false })

const connect = (
  endpoint: Endpoint,
  sockets: http.AgentOptions,
  headers: Record<string, string> = {},
): Docker => {
  const tls = endpoint.kind === 'tcp' ? endpoint.tls : undefined
  const agent = quiet(tls ? new https.Agent({ ...sockets, ...tls }) : new http.Agent(sockets))
  const at =
    endpoint.kind === 'unix'
      ? { socketPath: endpoint.socket }
      : { host: endpoint.host, port: endpoint.port, ...tls }
  // without an explicit host, DOCKER_HOST=tcp://... of the environment would beat the socket; docker-modem takes an agent, but
  // the published types do not know it
  const options = { host: undefined, protocol: tls ? 'https' : 'http', agent, headers, ...at }
  const docker = new Docker(options as Docker.DockerOptions)
  connections.set(docker, { endpoint, get: tls ? https.get : http.get, options: { agent, ...at } })
  return docker
}

const kinds: Record<number, FailureKind> = {
  400: 'invalid',
  403: 'denied',
  404: 'not-found',
  409: 'conflict',
}

/** HTTP status of the Engine's answer, where there was one; 304 means that nothing had to be done. */
export const statusOf = (error: unknown): number | undefined => {
  for (let e: unknown = error; e !== undefined && e !== null; e = e instanceof Error ? e.cause : undefined) {
    const status = (e as { statusCode?: unknown }).statusCode
    if (typeof status === 'number') return status
  }
  return undefined
}

/** Docker's answer as a Failure: 404 is `not-found`, 409 `conflict`, no answer or 5xx `unavailable`. */
export const dockerFailure = (doing: string, error: unknown): Failure => {
  if (error instanceof Failure) return error
  const status = statusOf(error)
  const message = (error as { json?: { message?: unknown } } | undefined)?.json?.message
  const cause =
    typeof message === 'string' ? Object.assign(new Error(message), { statusCode: status }) : error
  return new Failure((status !== undefined && kinds[status]) || 'unavailable', doing, cause)
}

/**
 * One bounded call: dockerode has no time limits of its own, and where an answer breaks off in its middle it never
 * ends the call at all, hence the race. `ask` passes the signal on as `abortSignal`. Rejects with a Failure (see
 * dockerFailure).
 */
export const callDocker = async <T>(
  doing: string,
  ms: number,
  ask: (abortSignal: AbortSignal) => Promise<T>,
): Promise<T> => {
  const limit = new AbortController()
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    reject(new Failure('unavailable', `${doing}: the Docker Engine did not answer within ${ms / 1000} s`))
    limit.abort()
  }, ms)
  try {
    return await Promise.race([ask(limit.signal), late])
  } catch (error) {
    throw dockerFailure(doing, error)
  } finally {
    clearTimeout(timer)
  }
}

/** Calls that the published types give no options, though dockerode takes them (ping, info). */
export const bounded = (
  call: () => Promise<unknown>,
  docker: Docker,
  abortSignal: AbortSignal,
): Promise<unknown> => Reflect.apply(call, docker, [{ abortSignal }])
