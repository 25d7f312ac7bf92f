import type { Binding, Container } from '../docker/inspect.ts'
import type { Service } from '../registry/records.ts'
import { protocols } from '../registry/records.ts'
import { isLoopback, isWildcard } from './addresses.ts'
import { imageBaseName, serviceMetadata } from './metadata.ts'

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
}

/**
 * The services of a container: one for each published port, while it runs. Rules beyond registrator's:
 * - A paused container answers nobody: it has no services until it goes on.
 * - A port that is bound to the host's loopback alone has no service, as no other host could use it (inventory/ shows
 *   the binding).
 * - Of several bindings of one port the one on the host's address counts, IPv4 before IPv6, the lowest port first.
 * - On the host's network the exposed ports count as published.
 * Pure.
 */
export const servicesOf = (container: Container, host: { host: string; address: string }): Service[] => {
  if (container.state !== 'running') return []
  const candidates = choosePorts(container)
  return candidates.flatMap((binding): Service[] => {
    const metadata = serviceMetadata(container.environment, container.labels, binding.port)
    const protocol = protocols.find((one) => one === binding.protocol)
    if (metadata.ignore || !protocol || isLoopback(binding.hostAddress)) return []
    const name = metadata.name || imageBaseName(container.image)
    return [
      {
        service: candidates.length > 1 && !metadata.nameIsOfPort ? `${name}-${binding.port}` : name,
        host: host.host,
        container: container.name,
        containerId: container.id,
        address: isWildcard(binding.hostAddress) ? host.address : binding.hostAddress,
        port: binding.hostPort,
        exposedPort: binding.port,
        protocol,
        tags: protocol === 'udp' ? [...metadata.tags, 'udp'] : [...metadata.tags],
        attributes: { ...metadata.attributes },
        health: container.health,
      },
    ]
  })
}

/** One binding for each port and protocol that is published, in a fixed order. */
const choosePorts = (container: Container): Binding[] => {
  const all =
    container.networkMode === 'host'
      ? container.exposed.map((at): Binding => ({ ...at, hostAddress: '0.0.0.0', hostPort: at.port }))
      : container.bindings
  const chosen = new Map<string, Binding>()
  for (const binding of all) {
    const key = `${binding.port}/${binding.protocol}`
    const other = chosen.get(key)
    if (!other || compareBindings(binding, other) < 0) chosen.set(key, binding)
  }
  return [...chosen.values()].sort((a, b) => a.port - b.port || a.protocol.localeCompare(b.protocol))
}

/** Negative where `a` is the better one to advertise. */
export const compareBindings = (a: Binding, b: Binding): number =>
  rank(a.hostAddress) - rank(b.hostAddress) || a.hostPort - b.hostPort

const rank = (address: string): number => {
  if (isLoopback(address)) return 3
  if (address === '::') return 2 // Docker adds it beside every 0.0.0.0
  return address.includes(':') ? 1 : 0
}
