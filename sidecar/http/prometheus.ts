import type { Request, Response } from 'express'
import { Failure } from '../../process/failure.ts'
import { readCollection } from '../../registry/collections.ts'
import type { Store } from '../../registry/store.ts'
import { targetGroups, targetsText } from '../../registry/views/prometheus.ts'
import { query } from './query.ts'

/**
 * /v1/prometheus/targets: the services of all hosts as targets, as Prometheus' HTTP SD wants them; with ?service=, ?host=
 * and ?tag= only some. Records that this version cannot read are left out. Where the store is away it is 503, and
 * Prometheus goes on with what it has.
 */
export const serveTargets = async (
  store: Store | undefined,
  request: Request,
  response: Response,
): Promise<void> => {
  const filter = query(request, 'service', 'host', 'tag')
  if (!store) throw new Failure('unavailable', 'not connected to a store yet')
  const { records } = await readCollection(store, 'services')
  const groups = targetGroups(
    records.map(({ record }) => record),
    filter,
  )
  response.type('application/json').send(targetsText(groups))
}
