import type { Change, Entry, Lease } from './store.ts'

/** What one owner wants to stand in the registry: value by key. */
export type Desired = ReadonlyMap<string, string>

export interface Owner {
  /** Whether a key is this owner's. Others' keys are never touched, not even where they are in the way. */
  owns(key: string): boolean
  /** The lease that the owner's entries are bound to; undefined for durable ones. */
  readonly lease: Lease | undefined
  /**
   * Which keys are left as they are where none is desired: the owner does not know yet what it wants there. It does know
   * of what it has written on this very lease.
   */
  spares?(key: string): boolean
  /**
   * Whether an entry is another's, though its key is one that the owner may write, and so is left alone; `value` is what is wanted
   * there. `yielded` is told of those that are wanted.
   */
  yields?(entry: Entry, value: string | undefined): boolean
  yielded?(entry: Entry): void
}

/**
 * The changes that turn actual into desired, for the keys that are the owner's. Puts come before deletes, so that what
 * moves to another key is never missing.
 *
 * | desired | actual                | action                              |
 * | ------- | --------------------- | ----------------------------------- |
 * | none    | none                  | –                                   |
 * | a value | none                  | put, guarded by absent              |
 * | a value | equal, our lease      | –                                   |
 * | a value | equal, another lease  | put, guarded by actual's revision   |
 * | a value | other                 | put, guarded by actual's revision   |
 * | none    | any                   | delete, guarded by its revision     |
 * | none    | spared, another lease | –                                   |
 * | either  | not the owner's       | –                                   |
 * | either  | yielded to another    | –                                   |
 *
 * An entry on another lease is one that an earlier run of the owner left behind: it would vanish with that lease.
 */
export const diff = (
  desired: Desired,
  actual: ReadonlyMap<string, Entry>,
  { owns, lease, spares = () => false, yields = () => false, yielded = () => {} }: Owner,
): Change[] => {
  const changes: Change[] = []
  let standing = 0
  // Most keys are as they should be, and asking whose a key is costs more than finding that: it comes last.
  for (const [key, value] of desired) {
    const entry = actual.get(key)
    if (entry) standing += 1
    if ((entry?.value === value && entry.lease === lease?.id) || !owns(key)) continue
    if (entry && yields(entry, value)) {
      yielded(entry)
      continue
    }
    const guard = entry ? { revision: entry.revision } : 'absent'
    changes.push({ kind: 'put', key, value, guard, ...(lease && { lease }) })
  }
  if (standing === actual.size) return changes
  const spared = (entry: Entry) => (lease === undefined || entry.lease !== lease.id) && spares(entry.key)
  for (const entry of actual.values()) {
    const { key, revision } = entry
    if (!desired.has(key) && owns(key) && !spared(entry) && !yields(entry, undefined))
      changes.push({ kind: 'delete', key, guard: { revision } })
  }
  return changes
}

/** What stands after the changes, were they all done at `revision`. */
export const applied = (
  changes: readonly Change[],
  actual: ReadonlyMap<string, Entry>,
  revision: string,
): Map<string, Entry> => {
  const after = new Map(actual)
  for (const change of changes) applyTo(after, change, revision)
  return after
}

/** The same for one change, in place. */
export const applyTo = (entries: Map<string, Entry>, change: Change, revision: string): void => {
  if (change.kind === 'delete') entries.delete(change.key)
  else {
    const { key, value, lease } = change
    entries.set(key, { key, value, revision, ...(lease && { lease: lease.id }) })
  }
}
