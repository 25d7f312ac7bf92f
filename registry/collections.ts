import { explain, isFailure } from '../process/failure.ts'
import { type Collection, decode, keyParts, type RecordOf, schemas } from './keys.ts'
import type { Entry, Revision, Store } from './store.ts'

/** An entry as it is shown to people and programs: its record, or why this version cannot read it. */
export type Shown<C extends Collection = Collection> =
  | { readonly key: string; readonly record: RecordOf<C> }
  | { readonly key: string; readonly unreadable: string }

/** The records of a collection as of one revision; the answer of /v1/<collection> and of `ls <collection> --json`. */
export interface CollectionAnswer<C extends Collection> {
  readonly collection: C
  /** The store's revision of what follows. */
  readonly revision: Revision
  readonly records: readonly { readonly key: string; readonly record: RecordOf<C> }[]
  /** Entries that this version cannot read, with the reason. */
  readonly unreadable: readonly { readonly key: string; readonly reason: string }[]
}

export const collections = Object.keys(schemas) as readonly Collection[]

export const isCollection = (text: string): text is Collection => Object.hasOwn(schemas, text)

/** The collection that a key belongs to. Undefined for what is nobody's to see: secrets/, fences/ and the like. */
export const collectionOf = (key: string): Collection | undefined => {
  const [first = ''] = keyParts(key)
  return isCollection(first) ? first : undefined
}

/** Decodes an entry of one of the collections. */
export const shown = <C extends Collection>(collection: C, { key, value }: Entry): Shown<C> => {
  try {
    return { key, record: decode(collection, key, value) }
  } catch (error) {
    if (!isFailure(error, 'invalid')) throw error
    return { key, unreadable: explain(error) }
  }
}

/** Records by collection, in the order of the entries, and the keys of those that this version cannot read. */
export interface Sorted {
  readonly records: { readonly [C in Collection]: readonly RecordOf<C>[] }
  readonly unreadable: readonly { readonly key: string; readonly reason: string }[]
}

/** Sorts entries by their collection; leaves out those of none. */
export const sorted = (entries: readonly Entry[]): Sorted => {
  const records = Object.fromEntries(collections.map((collection) => [collection, []])) as unknown as {
    [C in Collection]: RecordOf<C>[]
  }
  const unreadable: { key: string; reason: string }[] = []
  const add = <C extends Collection>(collection: C, entry: Entry): void => {
    const one = shown(collection, entry)
    if ('record' in one) records[collection].push(one.record)
    else unreadable.push({ key: one.key, reason: one.unreadable })
  }
  for (const entry of entries) {
    const collection = collectionOf(entry.key)
    if (collection) add(collection, entry)
  }
  return { records, unreadable }
}

/** The host that a record is of: where it stands in the key, else (volumes, attachments) in the record. */
export const hostOf = (key: string, record?: object): string | undefined => {
  const [collection, second, third] = keyParts(key)
  switch (collection) {
    case 'volumes':
    case 'attachments':
      return record && placedOn(record)
    case 'services':
      return third?.slice(0, third.indexOf(':'))
    case 'vsms':
      return third
    default:
      return second
  }
}

const placedOn = (record: object): string | undefined => {
  const { host, placement } = record as { host?: string; placement?: { host: string } }
  return placement?.host ?? host
}

/**
 * All records of a collection in the order of their keys: of all hosts or of one, and only those below a part of it
 * (`below`, "inventory/h1/"). What cannot be read is left out of one host's where the key alone does not tell the
 * host. Rejects as the store does.
 */
export const readCollection = async <C extends Collection>(
  store: Store,
  collection: C,
  { host, below = `${collection}/` }: { host?: string | undefined; below?: string } = {},
): Promise<CollectionAnswer<C>> => {
  const { entries, revision } = await store.read(below)
  const records: { key: string; record: RecordOf<C> }[] = []
  const unreadable: { key: string; reason: string }[] = []
  for (const entry of entries) {
    const one = shown(collection, entry)
    if (host !== undefined && hostOf(one.key, 'record' in one ? one.record : undefined) !== host) continue
    if ('record' in one) records.push(one)
    else unreadable.push({ key: one.key, reason: one.unreadable })
  }
  return { collection, revision, records, unreadable }
}
