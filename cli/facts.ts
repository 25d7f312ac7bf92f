import { collections, type Sorted, sorted } from '../registry/collections.ts'
import type { Entry, Store } from '../registry/store.ts'

/** What the doctor goes by: the registry as it was read, and when (ms since 1970, of this machine). */
export interface Facts extends Sorted {
  readonly now: number
  /** Keys of hosts/ that no lease holds: they would outlive their sidecar. */
  readonly unleased: readonly string[]
}

export const toFacts = (entries: readonly Entry[], now: number): Facts => {
  const unleased = entries.filter(({ key, lease }) => key.startsWith('hosts/') && lease === undefined)
  return { now, ...sorted(entries), unleased: unleased.map(({ key }) => key) }
}

/** Reads all collections. Errors: those of the store. */
export const readFacts = async (store: Store): Promise<Facts> => {
  const snapshots = await Promise.all(collections.map((collection) => store.read(`${collection}/`)))
  return toFacts(
    snapshots.flatMap(({ entries }) => entries),
    Date.now(),
  )
}
