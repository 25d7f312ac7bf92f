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

const sockets = { keepAlive: true, maxSockets: 16 }

/** dockerode on an endpoint that we parsed ourselves, with a bounded number of connections. Opens none yet. */
export const connectDocker = (endpoint: Endpoint): Docker => new Docker(modemOptions(endpoint))

/** docker-modem takes an agent; the published types do not know it. */
const modemOptions = (endpoint: Endpoint): Docker.DockerOptions & { agent: http.Agent } => {
  if (endpoint.kind === 'unix') {
    // without an explicit host, DOCKER_HOST=tcp://... of the environment would beat the socket
    const noHost: { host?: string } = Object.fromEntries([['host', undefined]])
    return { socketPath: endpoint.socket, agent: quiet(new http.Agent(sockets)), ...noHost }
  }
  const { host, port, tls } = endpoint
  if (!tls) return { protocol: 'http', host, port, agent: quiet(new http.Agent(sockets)) }
  return { protocol: 'https', host, port, ...tls, agent: quiet(new https.Agent({ ...sockets, ...tls })) }
}

/** The same engine over a new connection for each call. */
export const unpooled = (docker: Docker): Docker => {
  const copy = <T extends object>(of: T, change: object): T =>
    Object.assign(Object.create(Object.getPrototypeOf(of)), of, change)
  // the published types do not know the agent, nor its options
  const { agent } = docker.modem as unknown as { agent: http.Agent & { options: https.AgentOptions } }
  const options = { ...agent.options, keepAlive: false }
  const once = agent instanceof https.Agent ? new https.Agent(options) : new http.Agent(options)
  return copy(docker, { modem: copy(docker.modem, { agent: quiet(once) }) })
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
