import { isIPv4, isIPv6 } from 'node:net'
import { Failure } from '../../process/failure.ts'
import type { Host, Service, Vsm } from '../records.ts'
import { dnsLabel, isDomain, reversed } from './dns-label.ts'
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
 * - a VSM: vsm/<vsm>/_tcp/_iscsi/<host>/<instance> likewise, and vsm/<vsm>/txt/<host>/iqn<n> for TXT;
 * - a host: host/<host>/<host>/<family>, and PTR of its addresses.
 * The last but one label is the host's, whose key it is. A key with a value never has children. Who answers nobody (unhealthy, paused)
 * is left out.
 */
export const skydnsView = ({ domain, ttl = 5 }: SkydnsOptions): View => {
  if (!isDomain(domain))
    throw new Failure('invalid', `skydns: expected a domain such as openebs.local, not "${domain}"`)
  const zone = reversed(domain)
  const text = (message: object) => JSON.stringify({ ...message, ttl })
  const place = (at: Endpoint) => text({ host: at.address, port: at.port, priority: 10, weight: 100 })
  const hostName = (host: string) => `${dnsLabel(host)}.host.${domain}.`

  const instance = (service: Service): ViewEntry[] => {
    if (service.health === 'unhealthy' || service.state === 'paused') return []
    const name = dnsLabel(service.service)
    const folder = `${zone}/${name}/_${service.protocol}/_${name}/${dnsLabel(service.host)}`
    const own = `${service.container}-${service.exposedPort}${service.protocol === 'tcp' ? '' : `-${service.protocol}`}`
    return endpointsOf(service).map((at, index) => [
      `${folder}/${dnsLabel(index === 0 ? own : `${own}-at${index + 1}`)}`,
      place(at),
    ])
  }

  const vsm = (one: Vsm, { host }: { host: Host }): ViewEntry[] => {
    if (one.health !== 'healthy') return []
    const folder = `${zone}/vsm/${dnsLabel(one.vsm)}`
    const mine = dnsLabel(one.host)
    const own = new Set(host.addresses ?? [host.address])
    const portals = one.portals.map(parsePortal)
    return [
      ...portals.map(
        (at, index): ViewEntry => [`${folder}/_tcp/_iscsi/${mine}/portal${index + 1}`, place(at)],
      ),
      ...one.targets.map(
        ({ iqn }, index): ViewEntry => [`${folder}/txt/${mine}/iqn${index + 1}`, text({ text: iqn })],
      ),
      // the host's own address has the host's name
      ...new Map(
        portals
          .filter(({ address }) => !own.has(address))
          .map(
            ({ address }): ViewEntry => [
              pointer(address),
              text({ host: `${dnsLabel(one.vsm)}.vsm.${domain}.` }),
            ],
          ),
      ),
    ]
  }

  return {
    instance,
    vsm,
    host: ({ host, address, addresses = [address] }) =>
      addresses.flatMap((at): ViewEntry[] => [
        [
          `${zone}/host/${dnsLabel(host)}/${dnsLabel(host)}/${isIPv4(at) ? 'ipv4' : 'ipv6'}`,
          text({ host: at }),
        ],
        [pointer(at), text({ host: hostName(host) })],
      ]),
    owns: (key, host) => key.startsWith(`${zone}/`) && key.split('/').at(-2) === dnsLabel(host),
    // an address that moves from one host, or VSM, to another
    shares: (key) => key.startsWith('arpa/'),
  }
}

interface Endpoint {
  readonly address: string
  readonly port: number
}

const endpointsOf = ({ address, port, endpoints }: Service): readonly Endpoint[] =>
  endpoints && endpoints.length > 0 ? endpoints : [{ address, port }]

/** "10.1.2.3:3260", "[fd00::1]:3260". */
const parsePortal = (portal: string): Endpoint => {
  const match = /^\[?(?<address>[^\]]+)\]?:(?<port>\d+)$/.exec(portal)?.groups
  if (!match?.address) throw new Failure('invalid', `"${portal}" is no portal`)
  return { address: match.address, port: Number(match.port) }
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
