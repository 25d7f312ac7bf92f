import { collectionOf, collections, shown } from '../registry/collections.ts'
import type { Collection, RecordOf } from '../registry/keys.ts'
import type { Entry, Store } from '../registry/store.ts'

/** What the doctor goes by: the registry as it was read, and when (ms since 1970, of this machine). */
export interface Facts {
  readonly now: number
  readonly records: { readonly [C in Collection]: readonly RecordOf<C>[] }
  /** Keys of hosts/ that no lease holds: they would outlive their sidecar. */
  readonly unleased: readonly string[]
  readonly unreadable: readonly { readonly key: string; readonly reason: string }[]
}

export const toFacts = (entries: readonly Entry[], now: number): Facts => {
  const records = Object.fromEntries(collections.map((one) => [one, []])) as unknown as {
    [C in Collection]: RecordOf<C>[]
  }
  const unreadable: { key: string; reason: string }[] = []
  const add = <C extends Collection>(collection: C, entry: Entry) => {
    const one = shown(collection, entry)
    if ('record' in one) records[collection].push(one.record)
    else unreadable.push({ key: one.key, reason: one.unreadable })
  }
  for (const entry of entries) {
    const collection = collectionOf(entry.key)
    if (collection) add(collection, entry)
  }
  const unleased = entries.filter(({ key, lease }) => key.startsWith('hosts/') && lease === undefined)
  return { now, records, unleased: unleased.map(({ key }) => key), unreadable }
}

/** Reads all collections. Errors: those of the store. */
export const readFacts = async (store: Store): Promise<Facts> => {
  const snapshots = await Promise.all(collections.map((collection) => store.read(`${collection}/`)))
  return toFacts(
    snapshots.flatMap(({ entries }) => entries),
    Date.now(),
  )
}
