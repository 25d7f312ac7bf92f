import type { Desired } from './diff.ts'
import type { Entry, Event, Revision, Snapshot, Store } from './store.ts'

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
  #known = false

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
    const { store, prefixes, shared = [], owns } = this.#source
    const whole = depth === 'sweep' ? [...prefixes, ...shared] : prefixes
    const among = (key: string) => shared.some((prefix) => key.startsWith(prefix)) && owns(key)
    const keys = depth === 'sweep' ? [] : [...new Set([...desired.keys(), ...this.entries.keys()])]
    const snapshots = await Promise.all([
      ...whole.map((prefix) => store.read(prefix)),
      ...(keys.some(among) ? [store.readKeys(keys.filter(among))] : []),
    ])
    const before = this.entries
    const found = snapshots.flatMap(({ entries }) => entries.filter(({ key }) => owns(key)))
    this.entries = new Map(found.map((entry) => [entry.key, sharing(entry, desired)]))
    const fresh = this.#compare([...new Set([...before.keys(), ...this.entries.keys()])], before)
    this.#known = true
    this.#open.clear()
    this.#note(snapshots)
    return fresh
  }

  /** Reads some keys, and leaves the others as they are known. Returns what is new. */
  async readKeys(keys: readonly string[], desired: Desired): Promise<readonly Entry[]> {
    const snapshot = await this.#source.store.readKeys(keys)
    const before = new Map(keys.flatMap((key) => entryOf(this.entries, key)))
    for (const key of keys) this.entries.delete(key)
    for (const entry of snapshot.entries) this.entries.set(entry.key, sharing(entry, desired))
    const fresh = this.#compare(keys, before)
    for (const key of keys) this.#open.delete(key)
    this.#note([snapshot])
    return fresh
  }

  #compare(keys: readonly string[], before: ReadonlyMap<string, Entry>): readonly Entry[] {
    const moved = keys.filter((key) => before.get(key)?.revision !== this.entries.get(key)?.revision)
    if (this.#known) for (const key of moved) if (!this.#open.has(key)) this.moved.add(key)
    return (this.#known ? moved : keys).flatMap((key) => this.entries.get(key) ?? [])
  }

  #note(snapshots: readonly Snapshot[]): void {
    // the first one: the others are of the same time or later
    this.revision = snapshots[0]?.revision ?? this.revision
  }
}

const entryOf = (entries: ReadonlyMap<string, Entry>, key: string): [string, Entry][] => {
  const entry = entries.get(key)
  return entry ? [[key, entry]] : []
}

/** Equal texts need not be kept twice: of 10,000 containers they are 10 MB. */
const sharing = (entry: Entry, desired: Desired): Entry => {
  const value = desired.get(entry.key)
  return value === entry.value ? { ...entry, value } : entry
}
