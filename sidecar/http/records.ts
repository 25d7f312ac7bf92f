import type { Request, Response } from 'express'
import { Failure } from '../../process/failure.ts'
import { collections, isCollection, readCollection } from '../../registry/collections.ts'
import { type Collection, decode, part } from '../../registry/keys.ts'
import type { Store } from '../../registry/store.ts'
import { query } from './query.ts'

/**
 * /v1: which collections there are. /v1/<collection>: its records, of all hosts or (?host=) of one. /v1/<key>/: those
 * below a key. /v1/<key>: one record. A key's parts come as they are in keys, or percent-encoded. Only what has a
 * schema is served: no secrets.
 */
export const serveRecords = async (
  store: Store | undefined,
  request: Request,
  response: Response,
): Promise<void> => {
  const [collection = '', ...names] = segments(request.path)
  if (collection === '') {
    response.json({ collections, watch: '/v1/watch?prefix=<collection>/' })
    return
  }
  if (!isCollection(collection))
    throw new Failure('not-found', `no such collection: one of ${collections.join(', ')}`)
  if (!store) throw new Failure('unavailable', 'not connected to a store yet')
  const key = [collection, ...names.map(part)].join('/')
  if (names.length > 0 && names.at(-1) !== '') {
    query(request)
    response.json(await readRecord(store, collection, key))
  } else {
    const { host } = query(request, 'host')
    const below = names.length > 0 ? key : `${collection}/`
    response.json(await readCollection(store, collection, { host, below }))
  }
}

/** "/v1/services/a%2Fb/" -> ["services", "a/b", ""]. */
const segments = (path: string): string[] => {
  try {
    return path.split('/').slice(2).map(decodeURIComponent)
  } catch (error) {
    throw new Failure('invalid', `${path} is not percent-encoded as it should be`, error)
  }
}

/** Errors: `not-found`; `conflict` for one that this version cannot read. */
const readRecord = async (store: Store, collection: Collection, key: string) => {
  const { entries, revision } = await store.readKeys([key])
  const [entry] = entries
  if (!entry) throw new Failure('not-found', `nothing at ${key}`)
  try {
    return {
      key,
      revision,
      changed: entry.revision,
      record: decode(collection, key, entry.value),
    }
  } catch (error) {
    throw new Failure('conflict', 'this version cannot read the record', error)
  }
}
