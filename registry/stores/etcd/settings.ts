import { z } from 'zod'
import { Failure } from '../../../process/failure.ts'

/** Where an etcd cluster is and which part of it is ours. `hosts` are host:port, `prefix` begins with "/". */
export interface StoreAddress {
  readonly hosts: readonly string[]
  readonly tls: boolean
  readonly prefix: string
}

export const defaultPrefix = '/openebs/v1'
const form = 'etcd://host[:port][,host[:port]…][/prefix] or etcds://… for TLS, such as etcd://127.0.0.1:2379'

/**
 * Reads "etcd://10.0.0.1,10.0.0.2:2379/openebs/v1" (default port 2379, default prefix /openebs/v1). Errors: `invalid`
 * that says what was expected. A user or password in it is refused, and never repeated in the message: addresses end
 * up in logs.
 */
export const parseStoreUri = (uri: string): StoreAddress => {
  if (uri.includes('@'))
    throw new Failure(
      'invalid',
      `no user or password in a store's address, they have their own settings: ${form}`,
    )
  const match = /^(?<scheme>etcds?):\/\/(?<hosts>[^/?#\s]+)(?<prefix>\/[^?#\s]*)?$/.exec(uri)?.groups
  const hosts = (match?.hosts ?? '').split(',').map(hostPort)
  if (!match || hosts.includes(undefined)) throw new Failure('invalid', `store "${uri}": expected ${form}`)
  return {
    hosts: hosts.filter((host) => host !== undefined),
    tls: match.scheme === 'etcds',
    prefix: (match.prefix ?? '').replace(/\/+$/, '') || defaultPrefix,
  }
}

const hostPort = (text: string): string | undefined => {
  const match = /^(?<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?<port>\d{1,5}))?$/.exec(text)?.groups
  const port = Number(match?.port ?? 2379)
  return match && port >= 1 && port <= 65535 ? `${match.host}:${port}` : undefined
}

/** Everything an etcd store is told at start. Files are PEM. */
export const EtcdSettings = z
  .strictObject({
    uri: z.string(),
    ca: z.string().optional().describe('file of the CA that signed the servers (the system trusts others)'),
    cert: z.string().optional().describe('file of our client certificate'),
    key: z.string().optional().describe('file of its key'),
    user: z.string().optional(),
    password: z.string().optional(),
    /**
     * Names this writer for good ("plugin/h1"), one name a process: what an earlier run of it, or a call that was
     * given up, left on its way to etcd can then no longer land (fence.ts). Without it that is only best effort.
     */
    writer: z.string().min(1).optional(),
    /**
     * Of a layout that is not ours: what all keys begin with before their "/" ("/services", "traefik", ""), in place of the prefix of
     * the address. The writer's fence then is where the registry has its own by default.
     */
    root: z.string().optional(),
    /** Bound of a call in ms, retries included. */
    limit: z.number().int().min(300).default(4500),
  })
  .refine((s) => (s.cert === undefined) === (s.key === undefined), 'cert and key go together')
  .refine((s) => (s.user === undefined) === (s.password === undefined), 'user and password go together')
  .refine(
    (s) => s.uri.startsWith('etcds://') || !(s.ca || s.cert || s.key),
    'ca, cert and key are for TLS: the address must begin with etcds://',
  )
export type EtcdSettings = z.input<typeof EtcdSettings>
