import { keys, toText } from './keys.ts'
import { Policy } from './policy.ts'
import type { Revision, Store } from './store.ts'

/** What stands at the key, unread: a foreign hand may have written it. `text` is undefined where nothing does. */
export interface StoredPolicy {
  readonly text: string | undefined
  readonly revision: Revision
}

/** Rejects as the store does. */
export const readPolicy = async (store: Store): Promise<StoredPolicy> => {
  const { entries, revision } = await store.readKeys([keys.policy()])
  return { text: entries[0]?.value, revision }
}

/**
 * Puts a policy in place of what stands there, or takes that away. Returns whether anything changed. Rejects as the store
 * does: with `conflict` where another hand was faster.
 */
export const writePolicy = async (store: Store, policy: Policy | undefined): Promise<boolean> => {
  const key = keys.policy()
  const [entry] = (await store.readKeys([key])).entries
  const value = policy && toText(Policy.parse(policy))
  if (entry?.value === value) return false
  const guard = entry ? { revision: entry.revision } : 'absent'
  await store.apply([
    value === undefined ? { kind: 'delete', key, guard } : { kind: 'put', key, value, guard },
  ])
  return true
}
