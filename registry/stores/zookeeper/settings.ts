import { Failure } from '../../../process/failure.ts'

export interface ZookeeperSettings {
  /** zookeeper://host[:2181][,host2[:port2]…][/path]; an IPv6 address stands in brackets. */
  readonly uri: string
  /** Seconds after which the entries of a run that was killed are gone: the session's timeout. Servers have limits of their own. */
  readonly ttl: number
  /** Whether a key is by its form one of this host's; by default none is, as they name no host. */
  readonly owns?: (key: string) => boolean
}

export interface Server {
  readonly host: string
  readonly port: number
}

/** The servers of the URI and the path, which begins with "/" and does not end with one unless it is "/". Errors: `invalid`. */
export const parseZookeeperUri = (uri: string): { servers: readonly Server[]; path: string } => {
  const match = /^zookeeper:\/\/(?<servers>[^/?#@]+)(?<path>\/[^?#]*)?$/.exec(uri)
  if (!match?.groups)
    throw new Failure(
      'invalid',
      `${JSON.stringify(uri)} is not zookeeper://host[:port][,host[:port]…][/path]`,
    )
  const path = (match.groups.path ?? '/').replace(/\/+$/, '')
  if (/\/(\/|\.{1,2}(\/|$))/.test(`${path}/`.slice(0, path === '' ? 0 : undefined)))
    throw new Failure('invalid', `the path of ${JSON.stringify(uri)} has an empty, "." or ".." part`)
  return {
    servers: (match.groups.servers ?? '').split(',').map((text) => parseServer(text, uri)),
    path: path || '/',
  }
}

const parseServer = (text: string, uri: string): Server => {
  const match = /^(?:\[(?<ipv6>[0-9a-fA-F:.]+)\]|(?<host>[^:[\]\s]+))(?::(?<port>\d{1,5}))?$/.exec(text)
  const port = Number(match?.groups?.port ?? 2181)
  if (!match?.groups || port < 1 || port > 65535)
    throw new Failure('invalid', `${JSON.stringify(text)} in ${JSON.stringify(uri)} is not host[:port]`)
  return { host: match.groups.ipv6 ?? match.groups.host ?? '', port }
}
