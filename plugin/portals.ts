import { createServer } from 'node:net'
import { Failure } from '../process/failure.ts'

/**
 * Picks a free port for a new portal: the first of the range that no volume of this host has and that can be bound
 * now. Rejects with `unavailable` when there is none.
 */
export const pickPortal = async (
  address: string,
  range: { first: number; last: number },
  taken: ReadonlySet<number>,
): Promise<string> => {
  for (let port = range.first; port <= range.last; port++)
    if (!taken.has(port) && (await canBind(address, port))) return `${address}:${port}`
  throw new Failure(
    'unavailable',
    `no free port for a portal on ${address} from ${range.first} to ${range.last}: remove volumes or widen OPENEBS_PORTS`,
  )
}

const canBind = (address: string, port: number): Promise<boolean> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRNOTAVAIL')
        reject(
          new Failure(
            'unavailable',
            `this host has no address ${address} for portals: if the bridge was changed, restart the plugin`,
          ),
        )
      else resolve(false)
    })
    server.listen(port, address, () => server.close(() => resolve(true)))
  })
