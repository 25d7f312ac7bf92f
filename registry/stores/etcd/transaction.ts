import type { ICompare, IKeyValue, IRequestOp, ITxnRequest } from 'etcd3'
import type { Change, Check, Entry, Revision, Stamp } from '../../store.ts'

/** A key that must still stand at a revision ("0": be absent) for a transaction to be done. */
export interface Fenced {
  readonly key: Buffer
  readonly revision: Revision
}

/** The changes as one transaction of etcd: every guard a comparison, all or nothing; if refused it tells the fence. */
export const toTxn = (
  changes: readonly Change[],
  at: (key: string) => Buffer,
  fence: Fenced | undefined,
): ITxnRequest => {
  return {
    compare: [...(fence ? [standsAt(fence.key, fence.revision)] : []), ...toCompare(changes, at)],
    success: changes.map((change): IRequestOp => {
      const key = at(change.key)
      if (change.kind === 'delete') return { request_delete_range: { key } }
      const lease = change.lease ? { lease: change.lease.id } : {}
      return { request_put: { key, value: Buffer.from(change.value), ...lease } }
    }),
    failure: fence ? [{ request_range: { key: fence.key } }] : [],
  }
}

/** The guards as comparisons. */
export const toCompare = (checks: readonly Check[], at: (key: string) => Buffer): ICompare[] =>
  checks.flatMap(({ key, guard }) =>
    guard === 'any' ? [] : standsAt(at(key), guard === 'absent' ? '0' : guard.revision),
  )

const standsAt = (key: Buffer, revision: Revision): ICompare => ({
  key,
  result: 'Equal',
  target: 'Mod',
  mod_revision: revision,
})

/** An entry from its form in etcd. `cut` is the length of the store's prefix in bytes. */
export const toEntry = (kv: IKeyValue, cut: number): Entry => ({
  ...toStamp(kv, cut),
  value: kv.value.toString(),
})

/** The same of one that came without its value. */
export const toStamp = (kv: IKeyValue, cut: number): Stamp => ({
  key: kv.key.subarray(cut).toString(),
  revision: kv.mod_revision,
  ...(kv.lease !== '0' && { lease: kv.lease }),
})

/**
 * A transaction was sent more than once and the last answer was "refused": was an earlier one done, whose answer got
 * lost? It was if what it would have left stands there now: every put with its value and lease, all of one revision
 * that is not the guarded one, and no deleted key. Returns that revision (`now` if it deleted only), or undefined.
 * Two writers with the same text cannot be told apart: a contended record names its writer.
 */
export const appliedBefore = (
  changes: readonly Change[],
  standing: ReadonlyMap<string, Entry>,
  now: Revision,
): Revision | undefined => {
  const puts = changes.filter((change) => change.kind === 'put')
  const revision = puts[0] ? standing.get(puts[0].key)?.revision : now
  const done = changes.every((change) => {
    const entry = standing.get(change.key)
    if (change.kind === 'delete') return entry === undefined
    const guarded = typeof change.guard === 'object' ? change.guard.revision : undefined
    return (
      entry?.value === change.value &&
      entry.lease === change.lease?.id &&
      entry.revision === revision &&
      entry.revision !== guarded
    )
  })
  return done ? revision : undefined
}
