import { readFileSync } from 'node:fs'
import { Failure } from '../../../process/failure.ts'

/** Where Consul answers, and how we prove who we are. */
export interface ConsulSettings {
  readonly at: ConsulEndpoint
  readonly token?: string | undefined
  /** user:password for what stands before Consul. */
  readonly login?: string | undefined
}

export type ConsulEndpoint =
  | { readonly kind: 'unix'; readonly socket: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly tls?: ConsulTls }

export interface ConsulTls {
  /** PEM. Without a CA those of the system count. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  readonly serverName?: string
  readonly verify: boolean
}

export interface ConsulKvSettings extends ConsulSettings {
  /** What all keys begin with, without slashes around it; "" for none. */
  readonly prefix: string
}

/** Names and values of variables, as process.env has them. "" is not given. */
type Environment = Readonly<Record<string, string | undefined>>

/** Schemes of Consul's agent: consul://[host[:port]], consul-tls://host[:port], consul-unix:///path/to/socket. */
export const consulSchemes = ['consul', 'consul-tls', 'consul-unix'] as const
/** Of its keys: consulkv://[host[:port]]/prefix and consulkv-unix:///path/to/socket:/prefix. */
export const consulKvSchemes = ['consulkv', 'consulkv-tls', 'consulkv-unix'] as const

/**
 * The agent that a URI names. Consul's own variables say the rest, as in its other clients: CONSUL_HTTP_ADDR (where the URI names
 * no host), CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE, CONSUL_HTTP_AUTH, CONSUL_HTTP_SSL, CONSUL_HTTP_SSL_VERIFY, CONSUL_CACERT,
 * CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY, CONSUL_TLS_SERVER_NAME; registrator's CONSUL_TLSCERT and CONSUL_TLSKEY too. Reads the
 * files. Errors: `invalid`, without secrets.
 */
export const consulSettings = (uri: string, environment: Environment = process.env): ConsulSettings => {
  const { scheme, rest } = split(uri, consulSchemes)
  if (scheme === 'consul-unix')
    return withCredentials({ kind: 'unix', socket: socketOf(rest, uri) }, environment)
  const slash = rest.indexOf('/')
  return settingsAt(slash < 0 ? rest : rest.slice(0, slash), scheme === 'consul-tls', uri, environment)
}

/** The same for keys, with their prefix. */
export const consulKvSettings = (uri: string, environment: Environment = process.env): ConsulKvSettings => {
  const { scheme, rest } = split(uri, consulKvSchemes)
  if (scheme === 'consulkv-unix') {
    const colon = rest.indexOf(':')
    const socket = colon < 0 ? rest : rest.slice(0, colon)
    const prefix = prefixOf(colon < 0 ? '' : rest.slice(colon + 1), uri)
    return { ...withCredentials({ kind: 'unix', socket: socketOf(socket, uri) }, environment), prefix }
  }
  const slash = rest.indexOf('/')
  const prefix = prefixOf(slash < 0 ? '' : rest.slice(slash), uri)
  const authority = slash < 0 ? rest : rest.slice(0, slash)
  return { ...settingsAt(authority, scheme === 'consulkv-tls', uri, environment), prefix }
}

/** Where it answers, for people and logs. */
export const describeEndpoint = (at: ConsulEndpoint): string =>
  at.kind === 'unix'
    ? `unix://${at.socket}`
    : `${at.tls ? 'https' : 'http'}://${at.host.includes(':') ? `[${at.host}]` : at.host}:${at.port}`

const split = <S extends string>(uri: string, schemes: readonly S[]): { scheme: S; rest: string } => {
  const at = uri.indexOf('://')
  const scheme = schemes.find((one) => one === uri.slice(0, at))
  const rest = uri.slice(at + 3)
  if (at < 0 || scheme === undefined)
    throw new Failure(
      'invalid',
      `expected a registry URI that begins with one of ${schemes.join('://, ')}://`,
    )
  if (rest.includes('@'))
    throw new Failure(
      'invalid',
      `${scheme}://…: a token or password belongs in CONSUL_HTTP_TOKEN or CONSUL_HTTP_AUTH`,
    )
  if (/[?#]/.test(rest))
    throw new Failure('invalid', `${scheme}://…: nothing can be said by "?" or "#" there`)
  return { scheme, rest }
}

const socketOf = (path: string, uri: string): string => {
  if (!path.startsWith('/') || path.length < 2)
    throw new Failure(
      'invalid',
      `${uri}: expected the path of a socket, as in consul-unix:///run/consul.sock`,
    )
  return path
}

const prefixOf = (path: string, uri: string): string => {
  const prefix = plain(path, uri).replace(/^\/+|\/+$/g, '')
  if (
    prefix.split('/').some((part, _, all) => part === '.' || part === '..' || (part === '' && all.length > 1))
  )
    throw new Failure('invalid', `${uri}: a prefix cannot have empty parts, "." or ".."`)
  return prefix
}

const plain = (text: string, uri: string): string => {
  try {
    return decodeURIComponent(text)
  } catch (error) {
    throw new Failure('invalid', `${uri}: a "%" there has to be %25`, error)
  }
}

const isTrue = (text: string | undefined): boolean => /^(?:1|t|true)$/i.test(text ?? '')
const isFalse = (text: string | undefined): boolean => /^(?:0|f|false)$/i.test(text ?? '')

/** `authority`: host[:port] of the URI, "" for none. */
const settingsAt = (
  authority: string,
  tlsAsked: boolean,
  uri: string,
  environment: Environment,
): ConsulSettings => {
  const named = authority || environment.CONSUL_HTTP_ADDR || ''
  if (named.startsWith('unix://'))
    return withCredentials(
      { kind: 'unix', socket: socketOf(named.slice('unix://'.length), uri) },
      environment,
    )
  const address = named.replace(/^https?:\/\//, '')
  const secure = tlsAsked || isTrue(environment.CONSUL_HTTP_SSL) || named.startsWith('https://')
  const url = URL.parse(`http://${address || '127.0.0.1'}`)
  if (!url?.hostname || url.pathname !== '/' || url.username || url.search)
    throw new Failure('invalid', `${authority ? uri : 'CONSUL_HTTP_ADDR'}: expected host or host:port`)
  // 80 is no default here, but URL takes it for one
  const port = Number(url.port || (/:80$/.test(address) ? 80 : secure ? 8501 : 8500))
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return withCredentials({ kind: 'tcp', host, port, ...(secure && { tls: tlsOf(environment) }) }, environment)
}

const withCredentials = (at: ConsulEndpoint, environment: Environment): ConsulSettings => ({
  at,
  token: environment.CONSUL_HTTP_TOKEN || fileOf('CONSUL_HTTP_TOKEN_FILE', environment)?.trim() || undefined,
  login: environment.CONSUL_HTTP_AUTH || undefined,
})

const tlsOf = (environment: Environment): ConsulTls => {
  const ca = fileOf('CONSUL_CACERT', environment)
  const cert = fileOf('CONSUL_CLIENT_CERT', environment) ?? fileOf('CONSUL_TLSCERT', environment)
  const key = fileOf('CONSUL_CLIENT_KEY', environment) ?? fileOf('CONSUL_TLSKEY', environment)
  if ((cert === undefined) !== (key === undefined))
    throw new Failure('invalid', 'CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY go together: only one is given')
  const serverName = environment.CONSUL_TLS_SERVER_NAME
  return {
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && key !== undefined && { cert, key }),
    ...(serverName && { serverName }),
    verify: !isFalse(environment.CONSUL_HTTP_SSL_VERIFY),
  }
}

const fileOf = (name: string, environment: Environment): string | undefined => {
  const file = environment[name]
  if (!file) return undefined
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new Failure('invalid', `${name}: cannot read ${file}`, error)
  }
}
