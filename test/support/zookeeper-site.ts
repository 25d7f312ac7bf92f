import { createLog } from '../../process/log.ts'
import { Mirror } from '../../registry/mirror.ts'
import { zookeeper } from '../../registry/stores/zookeeper.ts'
import type { Site } from '../contract/site.ts'
import { type Suite, startZookeeper } from './zookeeper.ts'
import type { ZookeeperReader } from './zookeeper-reader.ts'

const ttl = 4

/** The peer's layout in a real ZooKeeper. A host's own form of key is one with its address, here 10.<of its name>.1. */
export const zookeeperSiteOf = (suite: Suite): Site => ({
  name: `ZooKeeper of ${suite}`,
  start: async (t) => {
    const server = await startZookeeper(t, suite)
    const within = async <T>(work: (reader: ZookeeperReader) => Promise<T>): Promise<T> => {
      await using reader = await server.reader()
      return await work(reader)
    }
    // what looks on has sessions that count as writes
    let looks = 0
    const counted = async <T>(work: (reader: ZookeeperReader) => Promise<T>): Promise<T> => {
      looks += 2
      return await within(work)
    }
    return {
      ttl,
      open: async (host) => {
        const place = zookeeper({
          uri: `zookeeper://${server.address}/services`,
          ttl,
          owns: (key) => key.includes(`/${address(host)}:`),
        })
        return { backend: new Mirror({ place, log: createLog('test', 'silent') }), close: async () => {} }
      },
      entry: (host, name, variant = 1) => [`${name}/${address(host)}:80`, JSON.stringify({ variant })],
      strangeEntry: (name, variant = 1) => [`${name}/192.0.2.1:80`, JSON.stringify({ variant })],
      look: () =>
        counted(async (reader) =>
          Object.fromEntries(
            Object.entries(await reader.tree('/services')).map(([key, { value }]) => [
              decodeURIComponent(key),
              value,
            ]),
          ),
        ),
      shows: (value) => value,
      write: (key, value) => counted((reader) => reader.put(pathOf(key), value)),
      remove: (key) => counted((reader) => reader.remove(pathOf(key))),
      writes: async () => (await server.zxid()) - looks,
      pause: async () => server.pause(),
      resume: async () => server.resume(),
      kill: () => server.kill(),
      restart: () => server.start(),
    }
  },
})

export const zookeeperSite: Site = zookeeperSiteOf('bookworm')

/** Names with "/" are not written by this hand. */
const pathOf = (key: string): string => `/services/${key.replaceAll('%', '%25')}`

/** An address that is this host's alone. */
const address = (host: string): string => {
  const sum = [...host].reduce((before, character) => (before * 31 + character.charCodeAt(0)) % 65_521, 7)
  return `10.${sum >> 8}.${sum & 255}.1`
}
