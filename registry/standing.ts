import type { Desired } from './diff.ts'
import {
  type Entry,
  type Event,
  isNewer,
  type Revision,
  type Snapshot,
  type Stamp,
  type Store,
  together,
} from './store.ts'

/** What of one owner's stands in the registry, as far as is known: by the last read, and by the writes since then. */
export class Standing {
  readonly #source: {
    readonly store: Store
    readonly prefixes: readonly string[]
    readonly shared?: readonly string[]
    owns(key: string): boolean
  }
  /** Entries of the owner by key. The publisher enters its writes here. */
  entries = new Map<string, Entry>()
  /** Keys that a read found otherwise than they were known to be, by no doing of ours. */
  readonly moved = new Set<string>()
  /** As of when the last read or write was. */
  revision: Revision | undefined
  /** Keys that a write of ours may have changed, or not: its outcome is open. */
  readonly #open = new Set<string>()
  /** Of other hands, below prefixes of ours. */
  #others: readonly Stamp[] = []
  #known = false
  /** Which data the store held. */
  #origin: string | undefined

  constructor(source: {
    readonly store: Store
    readonly prefixes: readonly string[]
    readonly shared?: readonly string[]
    owns(key: string): boolean
  }) {
    this.#source = source
  }

  /** A new lease begins: what stands is by others, and nothing is known. */
  forget(): void {
    this.#known = false
  }

  /** A write of these keys has an open outcome. */
  doubt(keys: readonly string[]): void {
    for (const key of keys) this.#open.add(key)
  }

  /** Whether an event tells what is known anyhow: of our own writes it does. */
  expects(event: Event): boolean {
    if (event.kind === 'delete') return !this.entries.has(event.key)
    const known = this.entries.get(event.entry.key)
    return known?.value === event.entry.value && known.lease === event.entry.lease
  }

  /** Reads all, or at a resync without what only others would have put into the shared ranges. Returns what is new. */
  async read(desired: Desired, depth: 'resync' | 'sweep'): Promise<readonly Entry[]> {
    const { prefixes, shared = [], owns } = this.#source
    // all that is known is the owner's: asking that of a thousand keys takes longer than the rest
    const among = (key: string) =>
      shared.some((prefix) => key.startsWith(prefix)) && (this.entries.has(key) || owns(key))
    const keys =
      depth === 'sweep'
        ? await this.#search(shared)
        : [...new Set([...desired.keys(), ...this.entries.keys()])].filter(among)
    const expected = this.#known && depth === 'resync'
    if (expected && (await this.#stands(prefixes, keys))) {
      this.#open.clear()
      return []
    }
    const recognized = expected ? await this.#recognize(prefixes, keys) : undefined
    const { entries, others, origin, revision } = recognized ?? (await this.#read(prefixes, keys))
    const before = this.entries
    this.entries = new Map(entries.map((entry) => sharing(entry, before, desired)))
    const fresh = this.#compare([...new Set([...before.keys(), ...this.entries.keys()])], before)
    this.#known = true
    this.#others = others
    this.#origin = origin
    this.revision = revision
    this.#open.clear()
    return fresh
  }

  /** The keys of ours among those of many. Of the others' not even the values are asked for: at 1,000 hosts they are 10 MB. */
  async #search(shared: readonly string[]): Promise<string[]> {
    const { store, owns } = this.#source
    const found = await Promise.all(shared.map((prefix) => store.stamps(prefix)))
    return found.flatMap(({ entries }) => entries.map(({ key }) => key).filter(owns))
  }

  async #read(prefixes: readonly string[], keys: readonly string[]): Promise<Joined> {
    const { store, owns } = this.#source
    return joined(
      [...prefixes.map((prefix) => store.read(prefix)), ...(keys.length > 0 ? [store.readKeys(keys)] : [])],
      owns,
    )
  }

  /** Whether all is as it is known to be: mostly it is. */
  async #stands(prefixes: readonly string[], keys: readonly string[]): Promise<boolean> {
    const { store } = this.#source
    const known = [...this.entries.values(), ...this.#others]
    const verdict = together(
      await Promise.all([
        ...prefixes.map((prefix) =>
          store.matches(
            prefix,
            known.filter(({ key }) => key.startsWith(prefix)),
          ),
        ),
        store.holds(keys.map((key) => ({ key, guard: this.entries.get(key) ?? 'absent' }))),
      ]),
    )
    if (!verdict.holds || verdict.origin !== this.#origin) return false
    this.revision = verdict.revision
    return true
  }

  /** Reads the values of those alone that are not known by their revision. Undefined where other data stand there now. */
  async #recognize(prefixes: readonly string[], keys: readonly string[]): Promise<Joined | undefined> {
    const { store, owns } = this.#source
    const stamps = await joined(
      [...prefixes.map((prefix) => store.stamps(prefix)), ...(keys.length > 0 ? [store.stampsOf(keys)] : [])],
      owns,
    )
    if (stamps.origin !== this.#origin) return undefined
    const known = stamps.entries.flatMap(({ key, revision, lease }) => {
      const entry = this.entries.get(key)
      return entry?.revision === revision && entry.lease === lease ? [entry] : []
    })
    const recognized = new Set(known.map(({ key }) => key))
    const strange = stamps.entries.map(({ key }) => key).filter((key) => !recognized.has(key))
    const read = strange.length > 0 ? (await store.readKeys(strange)).entries : []
    return { ...stamps, entries: [...known, ...read] }
  }

  /** Reads some keys, and leaves the others as they are known. Returns what is new. */
  async readKeys(keys: readonly string[], desired: Desired): Promise<readonly Entry[]> {
    const snapshot = await this.#source.store.readKeys(keys)
    const before = new Map(keys.flatMap((key) => entryOf(this.entries, key)))
    for (const key of keys) this.entries.delete(key)
    for (const entry of snapshot.entries) this.entries.set(...sharing(entry, before, desired))
    const fresh = this.#compare(keys, before)
    for (const key of keys) this.#open.delete(key)
    this.revision = snapshot.revision
    return fresh
  }

  #compare(keys: readonly string[], before: ReadonlyMap<string, Entry>): readonly Entry[] {
    const moved = keys.filter((key) => before.get(key)?.revision !== this.entries.get(key)?.revision)
    if (this.#known) for (const key of moved) if (!this.#open.has(key)) this.moved.add(key)
    return (this.#known ? moved : keys).flatMap((key) => this.entries.get(key) ?? [])
  }
}

const toStamp = ({ key, revision }: Stamp): Stamp => ({ key, revision })

const entryOf = (entries: ReadonlyMap<string, Entry>, key: string): [string, Entry][] => {
  const entry = entries.get(key)
  return entry ? [[key, entry]] : []
}

interface Joined<T extends Stamp = Entry> extends Snapshot<T> {
  /** Of other hands. */
  readonly others: readonly Stamp[]
}

/** What several reads found, of one owner; as of the earliest one: a watch that goes on from there misses nothing. */
const joined = async <T extends Stamp>(
  reads: readonly Promise<Snapshot<T>>[],
  owns: (key: string) => boolean,
): Promise<Joined<T>> => {
  const snapshots = await Promise.all(reads)
  const [first] = snapshots.toSorted((a, b) => (isNewer(a.revision, b.revision) ? 1 : -1))
  const { revision = '0', origin = '' } = first ?? {}
  return {
    revision,
    origin,
    entries: snapshots.flatMap(({ entries }) => entries.filter(({ key }) => owns(key))),
    others: snapshots.flatMap(({ entries }) => entries.filter(({ key }) => !owns(key)).map(toStamp)),
  }
}

/** What is there already need not be kept twice: of 10,000 containers it is 15 MB. */
const sharing = (
  entry: Entry,
  before: ReadonlyMap<string, Entry>,
  desired: Desired,
): readonly [string, Entry] => {
  const known = before.get(entry.key)
  if (known?.revision === entry.revision && known.lease === entry.lease && known.value === entry.value)
    return [known.key, known]
  const value = desired.get(entry.key)
  return [entry.key, value === entry.value ? { ...entry, value } : entry]
}
