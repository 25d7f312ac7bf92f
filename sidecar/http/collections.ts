import { explain, isFailure } from '../../process/failure.ts'
import { type Collection, decode, type RecordOf } from '../../registry/keys.ts'
import type { Store } from '../../registry/store.ts'

export interface CollectionAnswer<C extends Collection> {
  readonly collection: C
  /** The store's revision of what follows. */
  readonly revision: string
  readonly records: readonly { readonly key: string; readonly record: RecordOf<C> }[]
  /** Entries that this version cannot read, with the reason. */
  readonly unreadable: readonly { readonly key: string; readonly reason: string }[]
}

/** All records of a collection, of all hosts, in the order of their keys. Rejects as the store does. */
export const readCollection = async <C extends Collection>(
  store: Store,
  collection: C,
): Promise<CollectionAnswer<C>> => {
  const { entries, revision } = await store.read(`${collection}/`)
  const records: { key: string; record: RecordOf<C> }[] = []
  const unreadable: { key: string; reason: string }[] = []
  for (const { key, value } of entries)
    try {
      records.push({ key, record: decode(collection, key, value) })
    } catch (error) {
      if (!isFailure(error, 'invalid')) throw error
      unreadable.push({ key, reason: explain(error) })
    }
  return { collection, revision, records, unreadable }
}
