import type { Container, Image, Network, Plugin, Volume } from '../docker/inspect.ts'
import type { Inventory } from '../registry/records.ts'
import type { LabelFilter } from './labels.ts'

/**
 * What Docker has, as records of inventory/. A container's environment is left out: it holds secrets. All pure.
 */
export const containerRecord = (host: string, container: Container, labels: LabelFilter): Inventory => ({
  kind: 'container',
  host,
  id: container.id,
  name: container.name,
  image: container.image,
  state: container.state,
  ...((container.state === 'exited' || container.state === 'dead') && { exitCode: container.exitCode }),
  // Docker keeps a stopped container's last health: it says nothing any more
  health: isLive(container) ? container.health : 'none',
  labels: labels(container.labels),
  networks: container.networks
    .map((network) => ({ ...network }))
    .sort((a, b) => a.name.localeCompare(b.name)),
  ports: container.bindings.map(({ port, protocol, hostAddress, hostPort }) => ({
    port,
    protocol,
    hostAddress,
    hostPort,
  })),
  exposed: container.exposed.map((port) => ({ ...port })),
  volumes: container.volumes.toSorted(),
  created: container.created,
  ...(container.startedAt && { started: container.startedAt }),
  // while it runs Docker has the end of the run before
  ...(container.finishedAt && !isLive(container) && { finished: container.finishedAt }),
})

const isLive = ({ state }: Container): boolean => state === 'running' || state === 'paused'

export const imageRecord = (host: string, image: Image): Inventory => ({
  kind: 'image',
  host,
  id: image.id,
  name: image.tags[0] ?? image.id,
  tags: image.tags.toSorted(),
  size: image.size,
  created: image.created,
})

export const networkRecord = (host: string, network: Network): Inventory => ({
  kind: 'network',
  host,
  ...network,
})

export const pluginRecord = (host: string, plugin: Plugin): Inventory => ({ kind: 'plugin', host, ...plugin })

export const volumeRecord = (host: string, volume: Volume): Inventory => ({
  kind: 'volume',
  host,
  id: volume.name,
  ...volume,
})
