import { Failure } from '../../process/failure.ts'
import type { Place } from '../mirror.ts'
import { Connection } from './zookeeper/connection.ts'
import { ZookeeperSession } from './zookeeper/session.ts'
import { parseZookeeperUri, type ZookeeperSettings } from './zookeeper/settings.ts'

export { parseZookeeperUri, type ZookeeperSettings } from './zookeeper/settings.ts'

/**
 * ZooKeeper as a place: each entry is an ephemeral node `<path>/<name>/<ip>:<port>` of one session, so those of a process that
 * was killed go with its session, `ttl` seconds later. docs/zookeeper.md has the layout. Errors: `invalid`, for the URI.
 */
export const zookeeper = ({ uri, ttl, owns = () => false }: ZookeeperSettings): Place => {
  const { servers, path } = parseZookeeperUri(uri)
  if (!(ttl > 0)) throw new Failure('invalid', `a session of ${ttl} s cannot be`)
  const sessions = new Set<string>()
  return {
    description: `ZooKeeper at ${uri}`,
    owns,
    guards: true,
    open: async () => {
      const connection = new Connection(servers, Math.round(ttl * 1000))
      await connection.open()
      const session = new ZookeeperSession(connection, path, sessions)
      try {
        await session.makePath()
      } catch (error) {
        connection.drop()
        throw error
      }
      return session
    },
  }
}
