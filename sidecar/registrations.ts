import type { Container } from '../docker/inspect.ts'
import { explain, isFailure } from '../process/failure.ts'
import { encode, keys } from '../registry/keys.ts'
import type { Host, Inventory, Service } from '../registry/records.ts'
import type { Probe } from '../vsm/probe.ts'
import * as inventory from './inventory.ts'
import type { LabelFilter } from './labels.ts'
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

/** The texts of records, or why there is none. */
type Written = readonly (readonly [key: string, value: string | Error])[]

type Entries = readonly (readonly [key: string, write: () => string])[]

/**
 * Snapshot -> desired records. The records of an object that has not changed are not made again (the snapshot's
 * objects never change in place); apart from that it is a pure function of its arguments. One host's records at a
 * time: another `host` starts afresh.
 */
export const createRegistrations = (rules: RegistrationRules) => {
  let made = new WeakMap<object, Written>()
  let madeFor = ''

  return (
    snapshot: Pick<HostSnapshot, 'containers' | 'volumes' | 'images' | 'networks' | 'plugins'> & {
      readonly swarm?: Swarm | undefined
    },
    host: Host,
    answer: (probeKey: string) => Probe | undefined,
  ): Registrations => {
    const at = { host: host.host, addresses: host.addresses ?? [host.address] }
    const identity = [at.host, ...at.addresses].join(' ')
    if (identity !== madeFor) made = new WeakMap()
    madeFor = identity
    const desired = new Map<string, string>()
    const refused = new Map<string, string>()
    const add = (records: Written) => {
      for (const [key, value] of records)
        if (typeof value === 'string') desired.set(key, value)
        else refused.set(key, explain(value))
    }
    const once = (object: object, entries: () => Entries) => {
      const records = made.get(object) ?? write(entries())
      made.set(object, records)
      add(records)
    }

    add(write([[keys.host(host.host), () => encode('hosts', host)]]))
    const { swarm } = snapshot
    // before the containers: what one of this host says of its own port counts for more
    if (swarm) once(swarm, () => ofSwarm(swarm, host, rules))
    const containers = [...snapshot.containers.values()]
    for (const container of containers) once(container, () => ofContainer(container, at, rules))
    for (const image of snapshot.images) once(image, () => [item(inventory.imageRecord(host.host, image))])
    for (const network of snapshot.networks)
      once(network, () => [item(inventory.networkRecord(host.host, network))])
    for (const plugin of snapshot.plugins)
      once(plugin, () => [item(inventory.pluginRecord(host.host, plugin))])
    for (const volume of snapshot.volumes.values())
      once(volume, () => [item(inventory.volumeRecord(host.host, volume))])
    // last claim wins the key, so the best comes last
    for (const container of containers.filter(isVsm).sort((a, b) => compareClaims(b, a))) {
      const vsm = vsmOf(container, host, answer(probeKey(container)))
      add(write([[keys.vsm(vsm.vsm, host.host), () => encode('vsms', vsm)]]))
    }
    return { desired, refused }
  }
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

/** One record that does not fit its schema must not keep the others out. */
const write = (entries: Entries): Written =>
  entries.map(([key, text]): [string, string | Error] => {
    try {
      return [key, text()]
    } catch (error) {
      if (!isFailure(error)) throw error
      return [key, error]
    }
  })
