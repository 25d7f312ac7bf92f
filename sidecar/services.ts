import { isIP } from 'node:net'
import type { Binding, Container } from '../docker/inspect.ts'
import { protocols, type Service } from '../registry/records.ts'
import { roleOf } from '../vsm/labels.ts'
import { isLoopback, isWildcard, wildcardAddress } from './addresses.ts'
import { imageBaseName, serviceMetadata } from './metadata.ts'
import { type Candidate, candidatesOf, isOnHost } from './ports.ts'

/** What the settings say of services; see sidecar/settings.ts. */
export interface ServiceRules {
  /** OPENEBS_SERVICES */
  readonly from: 'published' | 'internal'
  /** OPENEBS_NETWORKS */
  readonly networks: readonly string[]
  /** OPENEBS_ADDRESS_LABEL */
  readonly addressLabel: string | undefined
  /** OPENEBS_UNHEALTHY and OPENEBS_PAUSED */
  readonly unhealthy: 'mark' | 'withdraw'
  readonly paused: 'mark' | 'withdraw'
  /** Only containers that name a service have any (-explicit). */
  readonly explicit?: boolean
  /** The address of all that is published, whatever it is bound to, but for the loopback (-ip). */
  readonly publishedAddress?: string
}

/** The host as services need it: its name, and its addresses as chooseAddresses gives them. */
export interface ServiceHost {
  readonly host: string
  readonly addresses: readonly string[]
}

/** Labels of any container that say something of its services. */
export const serviceLabels = {
  /** true, 1 or yes: it has none. */
  ignore: 'openebs.ignore',
  /** "8080,53/udp": ports beside those that it exposes or publishes. */
  ports: 'openebs.ports',
  /** The address of all its services. */
  address: 'openebs.address',
  /** The Docker network whose address they have. */
  network: 'openebs.network',
  /** Swarm's own: the name of the service that a task's container is of. */
  swarm: 'com.docker.swarm.service.name',
} as const

/**
 * The services of a container: one for each port that counts (ports.ts), while it runs. Names, tags and attributes are
 * registrator's (metadata.ts). Rules beyond those:
 * - A paused container answers nobody, an unhealthy one perhaps: the settings say whether its services are withdrawn.
 * - A port that is bound to the host's loopback alone has no service, as no other host could use it (inventory/ shows
 *   the binding).
 * - All bindings of a port are its endpoints, IPv4 before IPv6, the lowest port first.
 * - A container with a role of ours has none, unless it names one: its clients find it by other records.
 * Pure.
 */
export const servicesOf = (container: Container, host: ServiceHost, rules: ServiceRules): Service[] => {
  if (!isServing(container, rules)) return []
  const candidates = candidatesOf(container, rules.from, container.labels[serviceLabels.ports])
  return candidates.flatMap((candidate): Service[] => {
    const { environment, labels } = container
    const metadata = serviceMetadata(environment, labels, candidate.port)
    const protocol = protocols.find((one) => one === candidate.protocol)
    const at = placeOf(container, candidate, host, rules)
    const [first] = at.endpoints
    if (metadata.ignore || !protocol || !first || (roleOf(labels) && !metadata.name)) return []
    if (rules.explicit && !metadata.name) return []
    const tags = [...metadata.tags, ...(container.tags ?? []), ...(protocol === 'udp' ? ['udp'] : [])]
    const name = metadata.name || labels[serviceLabels.swarm] || imageBaseName(container.image)
    return [
      {
        service: candidates.length > 1 && !metadata.nameIsOfPort ? `${name}-${candidate.port}` : name,
        host: host.host,
        container: container.name,
        containerId: container.id,
        ...first,
        ...at,
        exposedPort: candidate.port,
        protocol,
        tags,
        attributes: { ...metadata.attributes },
        health: container.health,
        state: container.state === 'paused' ? 'paused' : 'running',
      },
    ]
  })
}

const isServing = ({ state, health, labels }: Container, rules: ServiceRules): boolean => {
  if (state !== 'running' && !(state === 'paused' && rules.paused === 'mark')) return false
  if (health === 'unhealthy' && rules.unhealthy === 'withdraw') return false
  return !isIgnored(labels)
}

export const isIgnored = (labels: Readonly<Record<string, string>>): boolean =>
  ['true', '1', 'yes'].includes(labels[serviceLabels.ignore]?.toLowerCase() ?? '')

type Endpoint = { address: string; port: number }
/** Where a port is reached, the best endpoint first; `network` where that is an address of a Docker network. */
interface Place {
  endpoints: Endpoint[]
  network?: string
}

/** What is said by a label counts before what is found. */
const placeOf = (
  container: Container,
  candidate: Candidate,
  host: ServiceHost,
  rules: ServiceRules,
): Place => {
  const { labels } = container
  const found = foundPlace(container, candidate, host, rules)
  const said = readAddress(labels[serviceLabels.address]) ?? readAddress(labels[rules.addressLabel ?? ''])
  if (said) return { endpoints: unique(found.endpoints.map(({ port }) => ({ address: said, port }))) }
  const network = labels[serviceLabels.network]
  return network && !isOnHost(container) ? inNetwork(container, candidate.port, network) : found
}

const foundPlace = (
  container: Container,
  candidate: Candidate,
  host: ServiceHost,
  rules: ServiceRules,
): Place => {
  if (isOnHost(container))
    return { endpoints: host.addresses.map((address) => ({ address, port: candidate.port })) }
  if (candidate.own) {
    const network = chooseNetwork(container, rules.networks)
    return network === undefined ? { endpoints: [] } : inNetwork(container, candidate.port, network)
  }
  const endpoints = candidate.bindings
    .filter(({ hostAddress }) => !isLoopback(hostAddress))
    .sort(compareBindings)
    .flatMap(({ hostAddress, hostPort }): Endpoint[] => {
      const address =
        rules.publishedAddress ??
        (isWildcard(hostAddress) ? wildcardAddress(hostAddress, host.addresses) : hostAddress)
      return address ? [{ address, port: hostPort }] : []
    })
  return { endpoints: unique(endpoints) }
}

/** The network whose address is a container's own: the most wanted one, else the first by name. Never a random one. */
const chooseNetwork = ({ networks }: Container, wanted: readonly string[]): string | undefined => {
  const names = networks.map(({ name }) => name)
  return wanted.find((name) => names.includes(name)) ?? names.sort()[0]
}

const inNetwork = ({ networks }: Container, port: number, network: string): Place => {
  const at = networks.find(({ name }) => name === network)
  return {
    endpoints: [at?.ipv4, at?.ipv6].flatMap((address) => (address ? [{ address, port }] : [])),
    network,
  }
}

/** An IP, or IP/prefix; undefined for anything else. */
const readAddress = (text: string | undefined): string | undefined => {
  const address = text?.trim().split('/')[0] ?? ''
  return isIP(address) === 0 ? undefined : address
}

const unique = (endpoints: readonly Endpoint[]): Endpoint[] => [
  ...new Map(endpoints.map((at) => [`${at.address} ${at.port}`, at])).values(),
]

/** Negative where `a` is the better one to advertise. Docker has them in an order of its own, not always the same. */
export const compareBindings = (a: Binding, b: Binding): number =>
  rank(a.hostAddress) - rank(b.hostAddress) ||
  a.hostPort - b.hostPort ||
  Number(a.hostAddress > b.hostAddress) - Number(a.hostAddress < b.hostAddress)

const rank = (address: string): number => (isLoopback(address) ? 2 : address.includes(':') ? 1 : 0)
