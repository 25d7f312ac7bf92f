import { isIP } from 'node:net'
import { Failure } from '../../process/failure.ts'
import { readGoFlags } from './flags.ts'

const flags = {
  ip: 'text',
  internal: 'boolean',
  explicit: 'boolean',
  useIpFromLabel: 'text',
  ttl: 'number',
  'ttl-refresh': 'number',
  tags: 'text',
  resync: 'number',
  deregister: 'text',
  'retry-attempts': 'number',
  'retry-interval': 'number',
  cleanup: 'boolean',
  'dry-run': 'boolean',
  help: 'boolean',
  h: 'boolean',
  version: 'boolean',
} as const

/** The options of gliderlabs/registrator, checked, under their own names; docs/migrating.md has what each does here. */
export interface CompatOptions {
  readonly uri: string
  /** Of all published ports; undefined: found. */
  readonly ip: string | undefined
  readonly internal: boolean
  readonly explicit: boolean
  readonly useIpFromLabel: string | undefined
  /** Seconds, both or none. */
  readonly ttl: number | undefined
  readonly ttlRefresh: number | undefined
  /** A template (docs/templates.md). */
  readonly tags: string | undefined
  /** Seconds; undefined: as it is without. */
  readonly resync: number | undefined
  readonly deregister: 'always' | 'on-success'
  /** How often the registry is tried at the start before we give up; undefined: for ever. */
  readonly retryAttempts: number | undefined
  /** ms. */
  readonly retryInterval: number
  /** Nothing is written, but told. */
  readonly dryRun: boolean
}

/** What is asked for instead of a run. */
export type Asked = 'help' | 'version'

/** Reads the command line of gliderlabs/registrator: options and a registry's URI, in any order. Errors: `invalid`. Pure. */
export const readCompat = (args: readonly string[]): CompatOptions | Asked => {
  const { values, rest } = readGoFlags(flags, args)
  if (values.help || values.h) return 'help'
  if (values.version) return 'version'
  const [uri, ...more] = rest
  if (uri === undefined)
    throw new Failure('invalid', "expected a registry's URI, such as etcd://127.0.0.1:2379/services")
  if (more.length > 0)
    throw new Failure(
      'invalid',
      `expected one registry's URI, and found ${more.length} more arguments, the first: "${shown(more[0] ?? '')}"`,
    )
  const { ip, deregister = 'always', ttl = 0, 'ttl-refresh': ttlRefresh = 0, resync = 0 } = values
  if (ip && isIP(ip) === 0) throw new Failure('invalid', `-ip: expected an IPv4 or IPv6 address, not "${ip}"`)
  if (ttl < 0 || ttlRefresh < 0 || (ttl === 0) !== (ttlRefresh === 0))
    throw new Failure(
      'invalid',
      '-ttl and -ttl-refresh: both are needed, in seconds and greater than 0, or none of them',
    )
  if (ttl > 0 && ttl <= ttlRefresh)
    throw new Failure(
      'invalid',
      `-ttl must be greater than -ttl-refresh, else all is gone before it is refreshed: ${ttl} and ${ttlRefresh} were given`,
    )
  if (ttl > 3600) throw new Failure('invalid', `-ttl: expected at most 3600 seconds, not ${ttl}`)
  if (resync < 0 || resync > 86_400)
    throw new Failure('invalid', `-resync: expected seconds from 0 to 86400, not ${resync}`)
  if (deregister !== 'always' && deregister !== 'on-success')
    throw new Failure('invalid', `-deregister: expected always or on-success, not "${deregister}"`)
  const attempts = values['retry-attempts']
  const retryInterval = values['retry-interval'] ?? 2000
  if (attempts !== undefined && attempts < -1)
    throw new Failure(
      'invalid',
      `-retry-attempts: expected -1 (for ever) or a number from 0 on, not ${attempts}`,
    )
  if (retryInterval <= 0)
    throw new Failure('invalid', `-retry-interval: expected milliseconds, more than 0, not ${retryInterval}`)
  return {
    uri,
    ip: ip || undefined,
    internal: values.internal ?? false,
    explicit: values.explicit ?? false,
    useIpFromLabel: values.useIpFromLabel || undefined,
    ttl: ttl || undefined,
    ttlRefresh: ttlRefresh || undefined,
    tags: values.tags || undefined,
    resync: resync || undefined,
    deregister,
    retryAttempts: attempts === -1 ? undefined : attempts,
    retryInterval,
    dryRun: values['dry-run'] ?? false,
  }
}

/** A URI may hold a password. */
const shown = (text: string): string => (text.includes('@') ? 'not shown, as it may hold a password' : text)

export const compatHelp = `registrator [options] <registry URI>

Registers the services of this host's containers where other tools look for them, as gliderlabs/registrator did, and keeps
what stands there equal to what runs. Options may stand before and after the URI.

  etcd://host[:port][,host[:port]...][/prefix]     key <prefix>/<service>/<id>, value ip:port; etcds:// for TLS
  skydns2://host[:port][,host[:port]...]/<domain>  messages for SkyDNS and CoreDNS; skydns2s:// for TLS
  consul://[host[:port]]                           services of Consul's agent; consul-tls://, consul-unix://
  consulkv://host[:port]/prefix                    keys in Consul; consulkv-unix://
  zookeeper://host[:port][,host[:port]...]/path    ephemeral nodes <path>/<service>/<ip>:<port>

  -ip <address>            address of what is published on this host (default: found)
  -internal                ports at the containers' own addresses, also those that are not published
  -explicit                only containers with SERVICE_NAME
  -useIpFromLabel <label>  take a container's address from this label
  -ttl <seconds>           how long entries outlive this process when it is killed (default: 15), with
  -ttl-refresh <seconds>   how often that is renewed; less than -ttl
  -tags <template>         further tags, comma-separated: a Go template over the container (docs/templates.md)
  -resync <seconds>        how often all is compared anew (default: 60)
  -deregister <when>       always, or on-success: what failed by itself stays registered (default: always)
  -retry-attempts <n>      give up when the registry cannot be reached n times at the start (default: never)
  -retry-interval <ms>     time between these (default: 2000)
  -cleanup                 remove what is stale: always done here
  -dry-run                 write nothing, and print what would be written
  -version, -help

Credentials, the Docker Engine and the like: the settings of registrator run --help, from the environment.
`
