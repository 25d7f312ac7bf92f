import type { IKeyValue, IRangeRequest, IRangeResponse } from 'etcd3'
import { z } from 'zod'
import { Failure, isFailure } from '../../process/failure.ts'
import { inParallel } from '../../process/in-parallel.ts'
import { keys } from '../keys.ts'
import {
  type Change,
  type Check,
  checkChanges,
  chunks,
  type Entry,
  type Event,
  isNewer,
  type Lease,
  limits,
  type Revision,
  type Snapshot,
  type Stamp,
  type Store,
  together,
  type Verdict,
} from '../store.ts'
import { isRefusal } from './etcd/failures.ts'
import { Fence } from './etcd/fence.ts'
import { EtcdLease } from './etcd/lease.ts'
import { Members } from './etcd/members.ts'
import { defaultPrefix, EtcdSettings } from './etcd/settings.ts'
import { appliedBefore, toCompare, toEntry, toStamp, toTxn } from './etcd/transaction.ts'
import { follow, type Range } from './etcd/watch.ts'

export { defaultPrefix, parseStoreUri } from './etcd/settings.ts'
export { EtcdSettings }

/** Entries a page; pages keep a large read from holding up the writes of others. */
const page = 1000

/**
 * The store on etcd (3.4 and later). Opening it connects to nothing, so it succeeds without etcd. Errors: `invalid`,
 * naming what is wrong with the settings.
 */
export const openEtcd = async (settings: EtcdSettings): Promise<Store> => {
  const parsed = EtcdSettings.safeParse(settings)
  if (!parsed.success) throw new Failure('invalid', `etcd: ${z.prettifyError(parsed.error)}`)
  return new EtcdStore(new Members(parsed.data), parsed.data)
}

class EtcdStore implements Store {
  readonly description: string
  readonly #members: Members
  readonly #fence: Fence | undefined
  readonly #prefix: Buffer
  readonly #closed = new AbortController()

  constructor(members: Members, { writer, root }: Pick<EtcdSettings, 'writer' | 'root'>) {
    const { hosts, tls, prefix } = members.address
    const where = root === undefined ? `prefix ${prefix}` : `keys below ${root || '/'}`
    this.description = `etcd at ${hosts.map((host) => `${tls ? 'https' : 'http'}://${host}`).join(', ')}, ${where}`
    this.#members = members
    this.#prefix = Buffer.from(`${root ?? prefix}/`)
    const fences = root === undefined ? prefix : defaultPrefix
    this.#fence =
      writer === undefined ? undefined : new Fence(members, Buffer.from(`${fences}/${keys.fence(writer)}`))
  }

  read(prefix: string): Promise<Snapshot> {
    return this.#final((end) => this.#pages(this.#range(prefix), whole, end))
  }

  readKeys(keys: readonly string[]): Promise<Snapshot> {
    return this.#final((end) => this.#parts([...new Set(keys)], whole, end))
  }

  stamps(prefix: string): Promise<Snapshot<Stamp>> {
    return this.#final((end) => this.#pages(this.#range(prefix), stamped, end))
  }

  stampsOf(keys: readonly string[]): Promise<Snapshot<Stamp>> {
    return this.#final((end) => this.#parts([...new Set(keys)], stamped, end))
  }

  /**
   * Nothing below the prefix is newer than the newest of them but what was written with it, and there are as many keys
   * as there should be: so no other was written since, and none is gone. Two numbers travel, in place of all keys.
   */
  async matches(prefix: string, stamps: readonly Stamp[]): Promise<Verdict> {
    const newest = stamps.reduce((last, { revision }) => (isNewer(revision, last) ? revision : last), '0')
    const latest = new Set(stamps.filter(({ revision }) => revision === newest).map(({ key }) => key))
    const end = this.#members.end()
    await this.#fence?.standing(end)
    const { kvs, count, header } = await this.#get(
      { ...this.#range(prefix), min_mod_revision: newest, keys_only: true, limit: latest.size + 1 },
      end,
    )
    const found = kvs.map((kv) => toStamp(kv, this.#prefix.length))
    const holds =
      Number(count) === stamps.length &&
      found.length === latest.size &&
      found.every(({ key, revision }) => revision === newest && latest.has(key))
    return { holds, revision: header.revision, origin: header.cluster_id }
  }

  async holds(checks: readonly Check[]): Promise<Verdict> {
    const end = this.#members.end()
    await this.#fence?.standing(end)
    const parts = checks.length > 0 ? [...chunks(checks, limits.changes)] : [[]]
    const verdicts = await inParallel(parts, limits.transactions, async (part): Promise<Verdict> => {
      const txn = { compare: toCompare(part, (key) => this.#at(key)) }
      const { succeeded, header } = await this.#members.call(end, (client, options) =>
        client.kv.txn(txn, options),
      )
      return { holds: succeeded, revision: header.revision, origin: header.cluster_id }
    })
    return together(verdicts)
  }

  async apply(changes: readonly Change[]): Promise<Revision> {
    checkChanges(changes)
    const end = this.#members.end()
    let sent = 0
    try {
      for (;;) {
        const fence = await this.#fence?.standing(end)
        const txn = toTxn(changes, (key) => this.#at(key), fence)
        const { succeeded, header, responses } = await this.#members.call(end, (client, options) => {
          sent += 1
          return client.kv.txn(txn, options)
        })
        if (succeeded) return header.revision
        const before =
          sent > 1 ? appliedBefore(changes, await this.#look(changes, end), header.revision) : undefined
        if (before !== undefined) return before
        const standing = responses[0]?.response_range.kvs[0]?.mod_revision ?? '0'
        if (!fence || standing === fence.revision)
          throw new Failure('conflict', `another write came first: ${names(changes)}`)
        this.#fence?.adopt(fence.revision, standing)
      }
    } catch (error) {
      if (isFailure(error, 'unavailable') && sent > 0 && !isRefusal(error.cause)) this.#fence?.distrust()
      throw error
    } finally {
      if (sent > 1) this.#fence?.distrust()
    }
  }

  async grant(ttl: number): Promise<Lease> {
    const granted = await this.#members.call(this.#members.end(), (client, options) =>
      client.leaseClient.leaseGrant({ TTL: ttl }, options),
    )
    return new EtcdLease(this.#members, granted.ID, Number(granted.TTL))
  }

  watch(
    prefix: string,
    from: Revision,
    signal: AbortSignal,
    patience = 3000,
  ): AsyncIterable<readonly Event[]> {
    const range = this.#range(prefix)
    const prove = async () =>
      (await this.#get({ ...range, limit: 1, keys_only: true }, this.#members.end())).header
    const until = AbortSignal.any([signal, this.#closed.signal])
    return follow(this.#members, { range, from, patience, cut: this.#prefix.length }, prove, until)
  }

  async close(): Promise<void> {
    this.#closed.abort()
    this.#members.close()
  }

  #at(key: string): Buffer {
    return Buffer.concat([this.#prefix, Buffer.from(key)])
  }

  #range(prefix: string): Range {
    const key = this.#at(prefix)
    // The first key after all that begin with it. UTF-8 has no byte 0xff, so the last one can always be raised.
    const end = Buffer.from(key)
    end[end.length - 1] = (end.at(-1) ?? 0) + 1
    return { key, range_end: end }
  }

  #get(request: IRangeRequest, end: number): Promise<IRangeResponse> {
    return this.#members.call(end, (client, options) => client.kv.range(request, options))
  }

  /** A read after which no late write of ours can change what it found. */
  async #final<T extends Stamp>(read: (end: number) => Promise<Snapshot<T>>): Promise<Snapshot<T>> {
    const end = this.#members.end()
    await this.#fence?.standing(end)
    for (;;) {
      try {
        return await read(end)
      } catch (error) {
        // Compacted between two pages: from the start, while there is time.
        if (!isFailure(error, 'conflict') || performance.now() >= end) throw error
      }
    }
  }

  async #pages<T extends Stamp>(range: Range, as: Form<T>, end: number): Promise<Snapshot<T>> {
    const entries: T[] = []
    const { keys_only } = as
    let { key } = range
    let at: { revision: Revision } | undefined
    for (;;) {
      const { kvs, more, header } = await this.#get({ ...range, key, keys_only, limit: page, ...at }, end)
      at ??= { revision: header.revision }
      for (const kv of kvs) entries.push(as.of(kv, this.#prefix.length))
      const last = kvs.at(-1)
      if (!more || !last) return { entries, revision: at.revision, origin: header.cluster_id }
      key = Buffer.concat([last.key, Buffer.of(0)])
    }
  }

  /** The first part says of which revision the others have to be. */
  async #parts<T extends Stamp>(keys: readonly string[], as: Form<T>, end: number): Promise<Snapshot<T>> {
    const [some = [], ...others] = [...chunks(keys, limits.changes)]
    const first = await this.#some(some, as, end)
    const rest = await inParallel(others, limits.transactions, (part) =>
      this.#some(part, as, end, first.revision),
    )
    return { ...first, entries: [first, ...rest].flatMap(({ entries }) => entries) }
  }

  /** What stands at up to `limits.changes` keys, now or at a revision. */
  async #some<T extends Stamp>(
    keys: readonly string[],
    as: Form<T>,
    end: number,
    at?: Revision,
  ): Promise<Snapshot<T>> {
    const { keys_only } = as
    const success = keys.map((key) => ({
      request_range: { key: this.#at(key), keys_only, ...(at !== undefined && { revision: at }) },
    }))
    const { responses, header } = await this.#members.call(end, (client, options) =>
      client.kv.txn({ success }, options),
    )
    const kvs = responses.flatMap(({ response_range }) => response_range.kvs)
    return {
      entries: kvs.map((kv) => as.of(kv, this.#prefix.length)),
      revision: header.revision,
      origin: header.cluster_id,
    }
  }

  /** What stands at the keys of the changes, as of one revision. */
  async #look(changes: readonly Change[], end: number): Promise<ReadonlyMap<string, Entry>> {
    const { entries } = await this.#some(
      changes.map(({ key }) => key),
      whole,
      end,
    )
    return new Map(entries.map((entry) => [entry.key, entry]))
  }
}

/** What is asked of a key, and made of the answer. */
interface Form<T extends Stamp> {
  readonly keys_only: boolean
  of(kv: IKeyValue, cut: number): T
}
const whole: Form<Entry> = { keys_only: false, of: toEntry }
const stamped: Form<Stamp> = { keys_only: true, of: toStamp }

const names = (changes: readonly Change[]): string => {
  const shown = changes.slice(0, 3).map(({ key }) => key)
  return (
    shown.join(', ') + (changes.length > shown.length ? ` and ${changes.length - shown.length} more` : '')
  )
}
