import type { Change, Entry, Lease } from './store.ts'

/** What one owner wants to stand in the registry: value by key. */
export type Desired = ReadonlyMap<string, string>

export interface Owner {
  /** Whether a key is this owner's. Others' keys are never touched, not even where they are in the way. */
  owns(key: string): boolean
  /** The lease that the owner's entries are bound to; undefined for durable ones. */
  readonly lease: Lease | undefined
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
 * | either  | not the owner's       | –                                   |
 *
 * An entry on another lease is one that an earlier run of the owner left behind: it would vanish with that lease.
 */
export const diff = (
  desired: Desired,
  actual: ReadonlyMap<string, Entry>,
  { owns, lease }: Owner,
): Change[] => {
  const puts: Change[] = []
  for (const [key, value] of desired) {
    const entry = actual.get(key)
    if (!owns(key) || (entry?.value === value && entry.lease === lease?.id)) continue
    const guard = entry ? { revision: entry.revision } : 'absent'
    puts.push({ kind: 'put', key, value, guard, ...(lease && { lease }) })
  }
  const deletes: Change[] = []
  for (const { key, revision } of actual.values())
    if (owns(key) && !desired.has(key)) deletes.push({ kind: 'delete', key, guard: { revision } })
  return [...puts, ...deletes]
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
