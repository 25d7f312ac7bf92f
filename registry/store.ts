import { Failure } from '../process/failure.ts'

/**
 * What the registry needs of a store (etcd; others follow). Keys are relative to the store's own prefix. All calls
 * end in bounded time; they reject with a Failure: `unavailable` (try again later), `conflict` (a guard did not
 * hold, nothing was written), `denied` (credentials) or `invalid`.
 */
export interface Store {
  /** A sentence for people and logs, without secrets: "etcd at http://127.0.0.1:2379, prefix /openebs/v1". */
  readonly description: string
  /** All entries whose key begins with `prefix`, as of one revision. */
  read(prefix: string): Promise<Snapshot>
  /** What stands at exactly these keys, any number, in their order and as of one revision; of absent ones nothing. */
  readKeys(keys: readonly string[]): Promise<Snapshot>
  /** As `read` and `readKeys`, without the values: for whoever knows them by their revision. */
  stamps(prefix: string): Promise<Snapshot<Stamp>>
  stampsOf(keys: readonly string[]): Promise<Snapshot<Stamp>>
  /**
   * Whether exactly these entries stand below `prefix`: as written at these revisions, and none besides. They must have
   * been all that stood there once: what a read found, with the writes of the caller since. The cheapest question for
   * whoever expects that nothing has changed.
   */
  matches(prefix: string, stamps: readonly Stamp[]): Promise<Verdict>
  /** Whether these guards hold, any number of them. */
  holds(checks: readonly Check[]): Promise<Verdict>
  /**
   * Applies all changes or none. At most `limits.changes` of them, each key once (else `invalid`). Returns the revision
   * of the write. A write whose answer got lost is settled by reading before this answers; where two writers might
   * write the same text to a key, the text must name its writer. Errors: `not-found` when a put's lease is gone. After
   * `unavailable` alone the outcome is open: read again before deciding anything, the read is then final.
   */
  apply(changes: readonly Change[]): Promise<Revision>
  /** A new lease of `ttl` seconds. Keeping it alive is the holder's work (session.ts). */
  grant(ttl: number): Promise<Lease>
  /**
   * Follows `prefix` from just after `from` until the signal fires. Yields batches of whole revisions in order, none
   * lost: when the store cannot prove that (compaction, lost history) it throws `conflict`, and the caller reads again.
   * It waits out an unavailable store. A connection that is silent for `patience` ms (3000), though it was asked, is
   * given up.
   */
  watch(
    prefix: string,
    from: Revision,
    signal: AbortSignal,
    patience?: number,
  ): AsyncIterable<readonly Event[]>
  close(): Promise<void>
}

/** Orders all writes of a store: a whole number in decimal, which only rises. */
export type Revision = string

/** What tells whether an entry is still the one that is known. */
export interface Stamp {
  readonly key: string
  readonly revision: Revision
  /** The lease that it dies with. */
  readonly lease?: LeaseId
}
export interface Entry extends Stamp {
  readonly value: string
}
export interface Snapshot<T extends Stamp = Entry> {
  /** Of a prefix: ordered by key. */
  readonly entries: readonly T[]
  readonly revision: Revision
  /** Names the store's data: another origin means that the store was wiped or replaced. */
  readonly origin: string
}

/** Whether what was expected is so, as of a revision; `origin` as in a snapshot. */
export interface Verdict {
  readonly holds: boolean
  readonly revision: Revision
  readonly origin: string
}

export interface Check {
  readonly key: string
  readonly guard: Guard
}

/**
 * Holds when the key is absent, stands at this revision, or (`any`) always. `any` is only for keys that no second
 * writer and no late write of our own can touch.
 */
export type Guard = 'absent' | 'any' | { readonly revision: Revision }

export type Change =
  | {
      readonly kind: 'put'
      readonly key: string
      readonly value: string
      readonly guard: Guard
      readonly lease?: Lease
    }
  | { readonly kind: 'delete'; readonly key: string; readonly guard: Guard }

export type Event =
  | { readonly kind: 'put'; readonly entry: Entry }
  | { readonly kind: 'delete'; readonly key: string; readonly revision: Revision }

export type LeaseId = string

export interface Lease {
  readonly id: LeaseId
  readonly ttl: number
  /** Extends it by its TTL. Rejects with `not-found` when the store has dropped it: all its keys are gone. */
  keepAlive(): Promise<void>
  /** Drops it and every key bound to it. */
  revoke(): Promise<void>
}

/** What several questions together say; as of the earliest one: a watch that goes on from there misses nothing. */
export const together = (verdicts: readonly Verdict[]): Verdict => {
  const [first, ...others] = verdicts
  if (first === undefined) throw new Failure('invalid', 'of no verdicts nothing can be said')
  return others.reduce(
    (sum, { holds, revision, origin }) => ({
      holds: sum.holds && holds && sum.origin === origin,
      revision: isNewer(sum.revision, revision) ? revision : sum.revision,
      origin,
    }),
    first,
  )
}

/** Whether `a` is newer than `b`. */
export const isNewer = (a: Revision, b: Revision): boolean =>
  a.length === b.length ? a > b : a.length > b.length

/** Of one transaction, and of how many it pays to have under way at once. */
export const limits = { changes: 100, transactions: 4 } as const

/** Consecutive parts of a list, each of at most `size`. */
export function* chunks<T>(list: readonly T[], size: number): Generator<readonly T[]> {
  for (let at = 0; at < list.length; at += size) yield list.slice(at, at + size)
}

/** For stores: refuses (`invalid`) what none takes, too many changes or a key twice. */
export const checkChanges = (changes: readonly Change[]): void => {
  if (changes.length > limits.changes)
    throw new Failure('invalid', `${changes.length} changes at once, at most ${limits.changes} are possible`)
  const seen = new Set<string>()
  for (const { key } of changes) {
    if (seen.has(key)) throw new Failure('invalid', `two changes of ${key} at once`)
    seen.add(key)
  }
}
