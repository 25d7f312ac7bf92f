import { isIP, isIPv4, isIPv6 } from 'node:net'
import { Failure } from '../../process/failure.ts'
import type { Host, Service, Vsm } from '../records.ts'
import { dnsLabel, exactLabel, isDomain, longestName, reversed, shortestLabel } from './dns-label.ts'
import type { View, ViewEntry } from './view.ts'

export interface SkydnsOptions {
  /** Below which all names are: "openebs.local". */
  readonly domain: string
  /** Seconds that a resolver may keep an answer. */
  readonly ttl?: number
}

/**
 * Messages for CoreDNS' etcd plugin and SkyDNS, below the root /skydns (docs/dns.md has the names):
 * - a service: <service>/_<protocol>/_<service>/<host>/<instance>, so A, AAAA and SRV of <service>.<domain>, and SRV of
 *   _<service>._<protocol>.<service>.<domain>;
 * - a VSM: vsm/<vsm>/_tcp/_iscsi/<host>/portal<n> likewise, and vsm/<vsm>/txt/<host>/iqn<n> for TXT;
 * - a host: host/<host>/<host>/ipv4, ipv6, and PTR of its addresses.
 * The last but one label is the host's, whose key it is. A key with a value never has children. Who answers nobody (unhealthy, paused)
 * is left out. `invalid` for what has no name or no address in DNS.
 */
export const skydnsView = ({ domain, ttl = 5 }: SkydnsOptions): View => {
  if (!isDomain(domain))
    throw new Failure('invalid', `skydns: expected a domain such as openebs.local, not "${domain}"`)
  // of 0 seconds CoreDNS makes its default, 300
  if (!Number.isInteger(ttl) || ttl < 1 || ttl >= 2 ** 31)
    throw new Failure('invalid', `skydns: expected a TTL in whole seconds from 1 on, not ${ttl}`)
  const zone = reversed(domain)
  const text = (message: object) => JSON.stringify({ ...message, ttl })
  const place = (at: Endpoint) =>
    text({ host: readAddress(at.address), port: at.port, priority: 10, weight: 100 })
  /** A key's names; CoreDNS makes an SRV's target of the whole key, and can send none that is too long. */
  const below = (...labels: string[]) => {
    if (labels.join('.').length + 1 + domain.length > longestName)
      throw new Failure('invalid', `its name in DNS would have more than ${longestName} octets`)
    return `${zone}/${labels.join('/')}`
  }

  const instance = (service: Service): ViewEntry[] => {
    if (service.health === 'unhealthy' || service.state === 'paused') return []
    // one octet less than a label: it stands behind a "_" as well
    const name = dnsLabel(service.service, 62)
    if (taken.has(name))
      throw new Failure(
        'invalid',
        `a service called "${service.service}" would be in the way of all names below ${name}.${domain}`,
      )
    const folder = [name, `_${service.protocol}`, `_${name}`, exactLabel(service.host)]
    const room = longestName - `${folder.join('.')}..${domain}`.length
    const own = `${service.container}-${service.exposedPort}${service.protocol === 'tcp' ? '' : `-${service.protocol}`}`
    return endpointsOf(service).map((at, index) => [
      below(
        ...folder,
        exactLabel(index === 0 ? own : `${own}-at${index + 1}`, Math.max(shortestLabel, Math.min(63, room))),
      ),
      place(at),
    ])
  }

  const vsm = (one: Vsm, { host }: { host: Host }): ViewEntry[] => {
    if (one.health !== 'healthy') return []
    const name = dnsLabel(one.vsm)
    const mine = exactLabel(one.host)
    // two VSMs of one host whose names differ in case alone have one name here, and keys of their own
    const own = (label: string) => (one.vsm === name ? label : exactLabel(`${label}-${one.vsm}`, 30))
    const addresses = new Set(host.addresses ?? [host.address])
    const portals = one.portals.map(parsePortal)
    return [
      ...portals.map(
        (at, index): ViewEntry => [
          below('vsm', name, '_tcp', '_iscsi', mine, own(`portal${index + 1}`)),
          place(at),
        ],
      ),
      ...one.targets.map(
        ({ iqn }, index): ViewEntry => [
          below('vsm', name, 'txt', mine, own(`iqn${index + 1}`)),
          text({ text: iqn }),
        ],
      ),
      // the host's own address has the host's name
      ...new Map(
        portals
          .filter(({ address }) => !addresses.has(address))
          .map(({ address }): ViewEntry => [pointer(address), text({ host: `${name}.vsm.${domain}.` })]),
      ),
    ]
  }

  const ownKey = new RegExp(
    [
      `^${zone}/(?:`,
      '(?<name>[^/]+)/_(?:tcp|udp|sctp)/_\\k<name>/(?<ofService>[^/]+)/[^/]+',
      '|vsm/[^/]+/(?:_tcp/_iscsi|txt)/(?<ofVsm>[^/]+)/[^/]+',
      '|host/[^/]+/(?<ofHost>[^/]+)/ipv[46]',
      ')$',
    ].join(''),
  )

  return {
    instance,
    vsm,
    host: ({ host, address, addresses = [address] }) =>
      addresses
        .filter((at) => isIP(at) !== 0)
        .flatMap((at): ViewEntry[] => [
          [
            below('host', dnsLabel(host), exactLabel(host), isIPv4(at) ? 'ipv4' : 'ipv6'),
            text({ host: readAddress(at) }),
          ],
          [pointer(at), text({ host: `${dnsLabel(host)}.host.${domain}.` })],
        ]),
    // by its whole form: others, such as registrator itself, may have keys in the same domain
    owns: (key, host) => {
      const { ofService, ofVsm, ofHost } = ownKey.exec(key)?.groups ?? {}
      return (ofService ?? ofVsm ?? ofHost) === exactLabel(host)
    },
    // an address that moves from one host, or VSM, to another
    shares: (key) => key.startsWith('arpa/'),
  }
}

/** Names that stand below the domain for something else. */
const taken = new Set(['vsm', 'host'])

interface Endpoint {
  readonly address: string
  readonly port: number
}

const endpointsOf = ({ address, port, endpoints }: Service): readonly Endpoint[] =>
  endpoints && endpoints.length > 0 ? endpoints : [{ address, port }]

/** An IP address that all can use. CoreDNS takes anything else for another name. */
const readAddress = (address: string): string => {
  if (isIP(address) === 0 || address.includes('%'))
    throw new Failure('invalid', `"${address}" is no address that DNS could tell`)
  return address
}

/** "10.1.2.3:3260", "[fd00::1]:3260". */
const parsePortal = (portal: string): Endpoint => {
  const match = /^\[?(?<address>[^\]]+)\]?:(?<port>\d+)$/.exec(portal)?.groups
  if (!match?.address) throw new Failure('invalid', `"${portal}" is no portal`)
  return { address: readAddress(match.address), port: Number(match.port) }
}

/** The key of an address' PTR: "arpa/in-addr/10/1/2/3". */
const pointer = (address: string): string =>
  isIPv6(address) ? `arpa/ip6/${nibbles(address).join('/')}` : `arpa/in-addr/${address.split('.').join('/')}`

const nibbles = (address: string): string[] => {
  // URL writes an IPv6 address in its one short form
  const short = new URL(`http://[${address.replace(/%.*$/, '')}]`).hostname.slice(1, -1)
  const [head = '', tail] = short.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const [left, right] = [groups(head), groups(tail ?? '')]
  const all = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  return all.map((group) => group.padStart(4, '0')).flatMap((group) => [...group])
}
