import { Failure } from '../../process/failure.ts'
import type { Service } from '../records.ts'
import type { View } from './view.ts'

/** A server takes 1 MiB by default, with the path and some framing in it. */
const mostBytes = 1_000_000

/**
 * The layout of gliderlabs/registrator in ZooKeeper: `<name>/<ip>:<port>`, and a JSON text with its fields in its order. The
 * keys name no host, so those of an earlier run are known by their value alone.
 */
export const zookeeperView = (): View => ({
  instance: (service) => {
    const key = `${service.service}/${hostPort(service)}`
    const value = goJson(body(service))
    if (Buffer.byteLength(value) > mostBytes)
      throw new Failure(
        'invalid',
        `the value of ${key} is larger than ${mostBytes} bytes, which ZooKeeper refuses`,
      )
    return [[key, value]]
  },
  owns: () => false,
})

const hostPort = ({ address, port }: Service): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}`

const body = (service: Service) => ({
  Name: service.service,
  IP: service.address,
  PublicPort: service.port,
  PrivatePort: service.exposedPort,
  // what a container that was given no host name is called inside
  ContainerID: service.containerId.slice(0, 12),
  Tags: service.tags,
  // of the metadata the ID is none; Go writes a map sorted
  Attrs: Object.fromEntries(
    Object.entries(service.attributes)
      .filter(([name]) => name !== 'id')
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  ),
})

/** Byte for byte what Go's encoding/json makes of it. */
const goJson = (value: unknown): string =>
  JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
