import type { Container } from '../docker/inspect.ts'
import { encode, keys } from '../registry/keys.ts'
import type { Host, Inventory, Service } from '../registry/records.ts'
import type { Probe } from '../vsm/probe.ts'
import * as inventory from './inventory.ts'
import type { LabelFilter } from './labels.ts'
import { type Entries, Ledger } from './ledger.ts'
import { type ServiceHost, type ServiceRules, servicesOf } from './services.ts'
import type { HostSnapshot } from './snapshot.ts'
import { ingressServices, swarmInventory } from './swarm.ts'
import type { Swarm } from './swarm-state.ts'
import { compareClaims, isVsm, probeKey, vsmOf } from './vsms.ts'

/** What this host's sidecar wants in the registry: key -> text of the record. */
export interface Registrations {
  readonly desired: ReadonlyMap<string, string>
  /** Records that cannot be written, with the reason, by key. */
  readonly refused: ReadonlyMap<string, string>
}

/** What the settings say of what is registered. */
export interface RegistrationRules {
  readonly services: ServiceRules
  readonly labels: LabelFilter
}

/**
 * Snapshot -> desired records. The records of an object that has not changed are not made again (the snapshot's
 * objects never change in place), and what it returns are the same maps each time, brought up to date; apart from that
 * it is a pure function of its arguments. One host's records at a time: another `host` starts afresh. `follow` is told
 * all VSMs before `answer` is asked.
 */
export const createRegistrations = (rules: RegistrationRules) => {
  let ledger = new Ledger()
  let madeFor = ''
  const vsms = new Set<Container>()

  return (
    snapshot: Pick<HostSnapshot, 'containers' | 'volumes' | 'images' | 'networks' | 'plugins'> & {
      readonly swarm?: Swarm | undefined
    },
    host: Host,
    answer: (probeKey: string) => Probe | undefined,
    follow: (vsms: ReadonlySet<Container>) => void = () => {},
  ): Registrations => {
    const at = { host: host.host, addresses: host.addresses ?? [host.address] }
    const identity = [at.host, ...at.addresses].join(' ')
    if (identity !== madeFor) ledger = new Ledger()
    madeFor = identity
    const { swarm, containers, images, networks, plugins, volumes } = snapshot
    ledger.begin()
    ledger.keep(host, () => [[keys.host(host.host), () => encode('hosts', host)]])
    // before the containers: what one of this host says of its own port counts for more
    if (swarm) ledger.keep(swarm, () => ofSwarm(swarm, host, rules))
    const container = (object: Container) => {
      if (isVsm(object)) vsms.add(object)
      return ofContainer(object, at, rules)
    }
    for (const object of containers.values()) ledger.keep(object, container)
    for (const image of images) ledger.keep(image, () => [item(inventory.imageRecord(host.host, image))])
    for (const network of networks)
      ledger.keep(network, () => [item(inventory.networkRecord(host.host, network))])
    for (const plugin of plugins) ledger.keep(plugin, () => [item(inventory.pluginRecord(host.host, plugin))])
    for (const volume of volumes.values())
      ledger.keep(volume, () => [item(inventory.volumeRecord(host.host, volume))])
    for (const vsm of vsms) if (!ledger.has(vsm)) vsms.delete(vsm)
    follow(vsms)
    // made at every pass, as probes answer without a change of the container
    ledger.keep({}, () => [...vsms].sort(worstFirst).map((vsm) => vsmItem(vsm, host, answer)))
    ledger.end()
    return { desired: ledger.desired, refused: ledger.refused }
  }
}

/** The last claim wins a key. */
const worstFirst = (a: Container, b: Container): number => compareClaims(b, a)

const vsmItem = (
  container: Container,
  host: Host,
  answer: (probeKey: string) => Probe | undefined,
): Entries[number] => {
  const vsm = vsmOf(container, host, answer(probeKey(container)))
  return [keys.vsm(vsm.vsm, host.host), () => encode('vsms', vsm)]
}

const item = (record: Inventory): Entries[number] => [
  keys.inventory(record.host, record.kind, record.id),
  () => encode('inventory', record),
]

const serviceItem = (service: Service): Entries[number] => [
  keys.service(service),
  () => encode('services', service),
]

const ofContainer = (container: Container, host: ServiceHost, rules: RegistrationRules): Entries => [
  item(inventory.containerRecord(host.host, container, rules.labels)),
  ...servicesOf(container, host, rules.services).map(serviceItem),
]

/** Where services are to be at their containers' own addresses, each host registers those of its own containers. */
const ofSwarm = (swarm: Swarm, host: Host, { labels, services }: RegistrationRules): Entries => [
  ...swarmInventory(host.host, swarm, labels).map(item),
  ...(services.from === 'published' ? ingressServices(host, swarm).map(serviceItem) : []),
]
