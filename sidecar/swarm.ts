import type { SwarmPort, SwarmService, SwarmTask } from '../docker/swarm.ts'
import { type Host, type Inventory, protocols, type Service } from '../registry/records.ts'
import { isLoopback, isWildcard } from './addresses.ts'
import type { LabelFilter } from './labels.ts'
import { serviceMetadata } from './metadata.ts'
import { isIgnored } from './services.ts'
import type { Swarm } from './swarm-state.ts'

/** What a swarm makes of the registry's records. All pure. */

/** For hosts/<host>. */
export const membershipOf = (swarm: Swarm): NonNullable<Host['swarm']> => ({
  node: swarm.node,
  role: swarm.manager ? 'manager' : 'worker',
  leader: leads(swarm),
})

const leads = (swarm: Swarm): boolean => swarm.nodes.some((node) => node.id === swarm.node && node.leader)

/** For inventory/<host>/, on a manager: every one of them has all of the swarm. */
export const swarmInventory = (host: string, swarm: Swarm, labels: LabelFilter): Inventory[] => {
  const services = byId(swarm.services)
  return [
    ...swarm.nodes.map(
      ({ reachability, ...node }): Inventory => ({
        kind: 'node',
        host,
        ...node,
        ...(reachability && { reachability }),
      }),
    ),
    ...swarm.services.map(
      (service): Inventory => ({
        kind: 'service',
        host,
        id: service.id,
        name: service.name,
        image: service.image,
        mode: service.mode,
        ...(service.replicas !== undefined && { replicas: service.replicas }),
        labels: labels(service.labels),
        ports: service.ports.map(({ published, ...port }) => ({ ...port, ...(published && { published }) })),
      }),
    ),
    ...swarm.tasks.map((task): Inventory => taskRecord(host, task, services.get(task.service))),
    ...swarm.secrets.map((secret): Inventory => ({ kind: 'secret', host, ...secret })),
    ...swarm.configs.map((config): Inventory => ({ kind: 'config', host, ...config })),
  ]
}

const byId = (services: readonly SwarmService[]): ReadonlyMap<string, SwarmService> =>
  new Map(services.map((service) => [service.id, service]))

const taskRecord = (host: string, task: SwarmTask, service: SwarmService | undefined): Inventory => ({
  kind: 'task',
  host,
  id: task.id,
  name: taskName(task, service),
  service: task.service,
  node: task.node,
  ...(task.slot !== undefined && { slot: task.slot }),
  state: task.state,
  wanted: task.wanted,
  ...(task.error && { error: task.error }),
  ...(task.containerId && { containerId: task.containerId }),
})

/** What its container is called: <service>.<slot>.<task>; a global service has a task a node in place of slots. */
const taskName = (task: SwarmTask, service: SwarmService | undefined): string =>
  `${service?.name ?? task.service}.${task.slot ?? task.node}.${task.id}`

/**
 * The instances of services whose ports every node of the swarm publishes (mode ingress): one for each running task
 * and port, at the address of the task's node. They are registered once in the swarm, by the manager that leads it:
 * the others have none. Ports in mode host are those of a container, and registered on its host. `address` is this
 * host's, which a setting may have chosen: it beats what the swarm says of this node.
 */
export const ingressServices = (host: Pick<Host, 'host' | 'address'>, swarm: Swarm): Service[] => {
  if (!leads(swarm)) return []
  const services = byId(swarm.services)
  const addresses = new Map(
    swarm.nodes.flatMap((node) => (node.state === 'down' ? [] : [[node.id, node.address] as const])),
  )
  if (addresses.has(swarm.node)) addresses.set(swarm.node, host.address)
  return swarm.tasks.flatMap((task) => {
    const service = services.get(task.service)
    const address = addresses.get(task.node)
    // one that is about to be stopped is no longer wanted: clients are to leave it before it ends
    if (!service || !address || task.state !== 'running' || task.wanted !== 'running') return []
    if (isWildcard(address) || isLoopback(address)) return []
    return service.ports.flatMap((port) => instanceOf(host.host, { service, task, port, address }) ?? [])
  })
}

const instanceOf = (
  host: string,
  {
    service,
    task,
    port,
    address,
  }: { service: SwarmService; task: SwarmTask; port: SwarmPort; address: string },
): Service | undefined => {
  const protocol = protocols.find((one) => one === port.protocol)
  if (port.mode !== 'ingress' || port.published === undefined || !protocol) return undefined
  const labels = { ...service.containerLabels, ...service.labels }
  const metadata = serviceMetadata(service.environment, labels, port.port)
  if (metadata.ignore || isIgnored(labels)) return undefined
  const name = metadata.name || service.name
  return {
    service: service.ports.length > 1 && !metadata.nameIsOfPort ? `${name}-${port.port}` : name,
    host,
    container: taskName(task, service),
    containerId: task.containerId,
    address,
    port: port.published,
    endpoints: [{ address, port: port.published }],
    exposedPort: port.port,
    protocol,
    tags: protocol === 'udp' ? [...metadata.tags, 'udp'] : [...metadata.tags],
    attributes: { ...metadata.attributes },
    // a swarm has a task run once its container is healthy, and ends it when it no longer is
    health: 'none',
    state: 'running',
  }
}
