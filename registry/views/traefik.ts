import { createHash } from 'node:crypto'
import { isIPv6 } from 'node:net'
import { Failure } from '../../process/failure.ts'
import type { Service, Vsm } from '../records.ts'
import type { Protocol } from './traefik/fields.ts'
import { enabled, type Field, isName, readLabels, type Section } from './traefik/labels.ts'
import type { About, View, ViewEntry } from './view.ts'

export interface TraefikOptions {
  /** The rule of an HTTP router that has none; {name} is the service's name. Traefik's own default is the default here. */
  readonly defaultRule?: string
  /** Whether a container without the label traefik.enable is exposed. Here it is not; Traefik's own default is that it is. */
  readonly exposedByDefault?: boolean
}

export type TraefikView = Required<Pick<View, 'instance' | 'vsm' | 'owns' | 'shares' | 'groupOf'>>

/**
 * Keys of Traefik's etcd provider, below its root key (`traefik`, without a leading slash), from the labels that its
 * Docker provider reads (docs/content/routing/providers/docker.md and kv.md; ours: docs/traefik.md):
 *
 *     http/routers/web/rule                                                Host(`example.com`)
 *     http/routers/web/service                                             web
 *     http/services/web/loadBalancer/servers/<host><instance>/url          http://10.1.2.3:32768
 *
 * Servers are each host's own. All else follows from labels alone, is the same on every host that runs the container,
 * and is shared. A container that is starting, unhealthy or paused gives nothing, as with the Docker provider. Traefik
 * refuses all it has for one field that it cannot read, so labels are read strictly: `invalid` names the label.
 */
export const traefikView = (options: TraefikOptions = {}): TraefikView => ({
  instance: (service, about) => {
    if (!isExposed(about, options) || !answers(service)) return []
    const labels = readLabels(about.labels)
    const { http, tcp, udp } = labels
    if (service.protocol === 'udp') return isEmpty(udp) ? [] : entriesOf('udp', udp, service, about, options)
    if (service.protocol !== 'tcp') return []
    // as there: who speaks of TCP or UDP alone has no HTTP
    const speaksHttp = !isEmpty(http) || (isEmpty(tcp) && isEmpty(udp))
    return [
      ...(speaksHttp ? entriesOf('http', http, service, about, options) : []),
      ...(isEmpty(tcp) ? [] : entriesOf('tcp', tcp, service, about, options)),
    ]
  },
  vsm: (vsm, about) => {
    if (!isExposed(about, options) || vsm.health === 'starting' || vsm.health === 'unhealthy') return []
    return vsmEntries(vsm, readLabels(about.labels).tcp, about)
  },
  owns: (key, host) => serverKey.exec(key)?.groups?.host === digits(host, hostDigits),
  shares: (key) => !serverKey.test(key),
  groupOf: (key) => {
    const [protocol = '', , name = ''] = key.split('/')
    return `${protocol}/${name}`.toLowerCase()
  },
})

const isExposed = ({ labels }: About, { exposedByDefault = false }: TraefikOptions): boolean =>
  enabled(labels) ?? exposedByDefault

const answers = ({ health, state }: Service): boolean =>
  (health === 'healthy' || health === 'none') && state !== 'paused'

const isEmpty = ({ routers, services, middlewares }: Section): boolean =>
  routers.size === 0 && services.size === 0 && middlewares.size === 0

/** An instance of a protocol: the services that its port is a server of, their routers, and all middlewares. */
const entriesOf = (
  protocol: Protocol,
  section: Section,
  service: Service,
  about: About,
  { defaultRule = 'Host(`{name}`)' }: TraefikOptions,
): ViewEntry[] => {
  const own = normalized(service.service)
  const services = section.services.size > 0 ? section.services : new Map([[named(own), [] as Field[]]])
  const serving = [...services].filter(([name, fields]) => servesPort(name, fields, service, about))
  if (serving.length === 0) return []
  const here = new Set(serving.map(([name]) => name))
  const byDefault = protocol === 'http' && section.routers.size === 0 && services.size === 1
  const routers = byDefault ? new Map([[named(own), [] as Field[]]]) : section.routers
  const index = serverIndex(about.host.host, service.container, service.exposedPort)
  return [
    ...serving.flatMap(([name, fields]) => serviceEntries(protocol, name, fields, index, service)),
    ...[...routers].flatMap(([name, given]) => {
      const fields = completed(protocol, name, given, [...services.keys()], {
        rule: protocol === 'http' ? defaultRule.replaceAll('{name}', own) : undefined,
      })
      const target = fieldOf(fields, 'service') ?? ''
      // one of another port of this container comes with that port
      return services.has(target) && !here.has(target) ? [] : at(`${protocol}/routers/${name}`, fields)
    }),
    ...[...section.middlewares].flatMap(([name, fields]) => at(`${protocol}/middlewares/${name}`, fields)),
  ]
}

/**
 * A VSM as TCP, where its container has the label traefik.tcp.routers.<name>.entrypoints. iSCSI names no host (SNI), so
 * nothing but an entry point of its own tells one VSM's sessions from another's. Rule and service need no label.
 */
const vsmEntries = (vsm: Vsm, section: Section, about: About): ViewEntry[] => {
  if (section.routers.size === 0) return []
  const [portal] = vsm.portals
  const port = Number(portal?.slice(portal.lastIndexOf(':') + 1))
  if (portal === undefined || !(port > 0)) return []
  const services = section.services.size > 0 ? section.services : new Map([[named(vsm.vsm), [] as Field[]]])
  if (services.size > 1) throw new Failure('invalid', 'a VSM is one service of Traefik, not several')
  const index = serverIndex(about.host.host, vsm.container, port)
  return [
    ...[...services].flatMap(([name, fields]) => [
      ...at(`tcp/services/${name}`, fields.filter(isShared)),
      ...at(`tcp/services/${name}/loadBalancer/servers/${index}`, [['address', portal], ...ofServer(fields)]),
    ]),
    ...[...section.routers].flatMap(([name, given]) => {
      if (!given.some(([path]) => path.startsWith('entryPoints/')))
        throw new Failure('invalid', `router ${name}: a VSM needs an entry point of its own`)
      const fields = completed('tcp', name, given, [...services.keys()], { rule: 'HostSNI(`*`)' })
      return at(`tcp/routers/${name}`, fields)
    }),
    ...[...section.middlewares].flatMap(([name, fields]) => at(`tcp/middlewares/${name}`, fields)),
  ]
}

/** A router with what Traefik's Docker provider adds: its rule, and the service where there is only one. */
const completed = (
  protocol: Protocol,
  name: string,
  fields: readonly Field[],
  services: readonly string[],
  { rule }: { rule: string | undefined },
): readonly Field[] => {
  const added: Field[] = []
  if (protocol !== 'udp' && fieldOf(fields, 'rule') === undefined) {
    if (!rule) throw new Failure('invalid', `router ${name}: it has no rule`)
    added.push(['rule', rule])
  }
  if (fieldOf(fields, 'service') === undefined) {
    const [only, ...others] = services
    if (only === undefined || others.length > 0)
      throw new Failure('invalid', `router ${name}: it names none of the services ${services.join(', ')}`)
    added.push(['service', only])
  }
  return [...fields, ...added]
}

const serviceEntries = (
  protocol: Protocol,
  name: string,
  fields: readonly Field[],
  index: string,
  service: Service,
): ViewEntry[] => {
  const address = `${isIPv6(service.address) ? `[${service.address}]` : service.address}:${service.port}`
  const scheme = fieldOf(fields, 'loadBalancer/server/scheme') ?? 'http'
  if (!['http', 'https', 'h2c'].includes(scheme))
    throw new Failure('invalid', `service ${name}: the scheme of its server is http, https or h2c`)
  return [
    ...at(`${protocol}/services/${name}`, fields.filter(isShared)),
    ...at(`${protocol}/services/${name}/loadBalancer/servers/${index}`, [
      protocol === 'http' ? ['url', `${scheme}://${address}`] : ['address', address],
      ...ofServer(fields),
    ]),
  ]
}

const serverPath = 'loadBalancer/server/'
const isShared = ([path]: Field): boolean => !path.startsWith(serverPath)

/** What stands with each server, beside its address. */
const ofServer = (fields: readonly Field[]): Field[] =>
  fields
    .filter(([path]) => path.startsWith(serverPath) && !/\/(port|scheme)$/.test(path))
    .map(([path, value]) => [path.slice(serverPath.length), value])

/** By its label, a port inside the container; else by the lowest of the container's ports, as with the Docker provider. */
const servesPort = (
  name: string,
  fields: readonly Field[],
  { exposedPort }: Service,
  { ports }: About,
): boolean => {
  const wanted = fieldOf(fields, 'loadBalancer/server/port')
  if (wanted === undefined) {
    if (ports === undefined)
      throw new Failure(
        'invalid',
        `service ${name}: which port is not known, it needs the label …server.port`,
      )
    return exposedPort === Math.min(...ports)
  }
  const port = /^\d{1,5}$/.test(wanted) ? Number(wanted) : 0
  if (port < 1 || port > 65535)
    throw new Failure('invalid', `service ${name}: the port of its server is no port: ${wanted}`)
  return exposedPort === port
}

const fieldOf = (fields: readonly Field[], path: string): string | undefined =>
  fields.find(([one]) => one === path)?.[1]

const at = (place: string, fields: readonly Field[]): ViewEntry[] =>
  fields.map(([path, value]) => [`${place}/${path}`, value])

/** As Traefik makes a name of a container's: what is neither letter nor digit separates parts, and is a "-". */
const normalized = (name: string): string =>
  name
    .split(/[^A-Za-z0-9]+/)
    .filter(Boolean)
    .join('-')

const named = (name: string): string => {
  const found = normalized(name)
  if (isName(found)) return found
  throw new Failure('invalid', `of "${name}" no name for Traefik can be made: label its router and service`)
}

const hostDigits = 10
const instanceDigits = 8

/**
 * The index of a server: Traefik takes digits for an index, sorts by it as a text, and lets gaps be
 * (pkg/config/kv/kv_node.go); it is no number there, and would still be one of an int64. The host's digits come first:
 * a key tells whose it is.
 */
const serverIndex = (host: string, container: string, port: number): string =>
  digits(host, hostDigits) + digits(`${container}:${port}`, instanceDigits)

const serverKey = new RegExp(
  `^(?:http|tcp|udp)/services/[^/]+/loadBalancer/servers/(?<host>\\d{${hostDigits}})\\d{${instanceDigits}}/[^/]+$`,
)

const digits = (text: string, count: number): string => {
  const hash = createHash('sha256').update(text).digest().readBigUInt64BE()
  return String(hash % 10n ** BigInt(count)).padStart(count, '0')
}
