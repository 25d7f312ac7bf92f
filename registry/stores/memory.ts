import { randomUUID } from 'node:crypto'
import { Failure } from '../../process/failure.ts'
import {
  type Change,
  type Check,
  checkChanges,
  type Entry,
  type Event,
  type Lease,
  type LeaseId,
  type Revision,
  type Snapshot,
  type Stamp,
  type Store,
  type Verdict,
} from '../store.ts'

/** The calls of a store that can fail, for `before`. */
export type Call = 'read' | 'apply' | 'grant' | 'keepAlive' | 'revoke'

/** Events that are kept for those who follow from an earlier revision. */
const history = 10_000

/**
 * The store in memory of one process: for a dry run, and for tests. `before` is asked before every call; what it
 * throws the call throws, so a test can play an outage.
 */
export class MemoryStore implements Store {
  readonly description = 'memory of this process'
  readonly #before: (call: Call) => void | Promise<void>
  readonly #origin = randomUUID()
  readonly #entries = new Map<string, Entry>()
  readonly #leases = new Map<LeaseId, NodeJS.Timeout>()
  readonly #followers = new Set<() => void>()
  #events: { at: number; event: Event }[] = []
  #revision = 1
  #compacted = 0
  #granted = 0

  constructor({ before = () => {} }: { before?: (call: Call) => void | Promise<void> } = {}) {
    this.#before = before
  }

  async read(prefix: string): Promise<Snapshot> {
    await this.#before('read')
    const entries = [...this.#entries.values()].filter(({ key }) => key.startsWith(prefix))
    return { entries: entries.sort(byKey), revision: String(this.#revision), origin: this.#origin }
  }

  async readKeys(keys: readonly string[]): Promise<Snapshot> {
    await this.#before('read')
    const entries = [...new Set(keys)].flatMap((key) => this.#entries.get(key) ?? [])
    return { entries, revision: String(this.#revision), origin: this.#origin }
  }

  async stamps(prefix: string): Promise<Snapshot<Stamp>> {
    return withoutValues(await this.read(prefix))
  }

  async stampsOf(keys: readonly string[]): Promise<Snapshot<Stamp>> {
    return withoutValues(await this.readKeys(keys))
  }

  async matches(prefix: string, stamps: readonly Stamp[]): Promise<Verdict> {
    const { entries, ...of } = await this.read(prefix)
    const at = new Map(stamps.map(({ key, revision }) => [key, revision]))
    const holds = entries.length === at.size && entries.every(({ key, revision }) => at.get(key) === revision)
    return { holds, ...of }
  }

  async holds(checks: readonly Check[]): Promise<Verdict> {
    await this.#before('read')
    const holds = checks.every((check) => this.#isSo(check))
    return { holds, revision: String(this.#revision), origin: this.#origin }
  }

  async apply(changes: readonly Change[]): Promise<Revision> {
    checkChanges(changes)
    await this.#before('apply')
    for (const change of changes) this.#check(change)
    this.#write(changes)
    return String(this.#revision)
  }

  async grant(ttl: number): Promise<Lease> {
    await this.#before('grant')
    const id = String(++this.#granted)
    const keep = () => {
      clearTimeout(this.#leases.get(id))
      this.#leases.set(id, setTimeout(() => this.expire(id), ttl * 1000).unref())
    }
    keep()
    return {
      id,
      ttl,
      keepAlive: async () => {
        await this.#before('keepAlive')
        if (!this.#leases.has(id)) throw new Failure('not-found', `lease ${id} is gone`)
        keep()
      },
      revoke: async () => {
        await this.#before('revoke')
        this.expire(id)
      },
    }
  }

  async *watch(prefix: string, from: Revision, signal: AbortSignal): AsyncGenerator<readonly Event[]> {
    let seen = Number(from)
    while (!signal.aborted) {
      if (seen < this.#compacted) throw new Failure('conflict', `revision ${seen} is no longer kept`)
      const now = this.#revision
      const first = this.#events.findLastIndex(({ at }) => at <= seen) + 1
      const news = this.#events.slice(first).map(({ event }) => event)
      const batch = news.filter((event) =>
        (event.kind === 'put' ? event.entry.key : event.key).startsWith(prefix),
      )
      seen = now
      if (batch.length > 0) yield batch
      else await this.#change(signal)
    }
  }

  /** Ends a lease as if its time were up. */
  expire(lease: LeaseId): void {
    clearTimeout(this.#leases.get(lease))
    this.#leases.delete(lease)
    const bound = [...this.#entries.values()].filter((entry) => entry.lease === lease)
    this.#write(bound.map(({ key }) => ({ kind: 'delete', key, guard: 'any' })))
  }

  /** Forgets the history: those who follow from before it get `conflict`. */
  compact(): void {
    this.#events = []
    this.#compacted = this.#revision
  }

  async close(): Promise<void> {
    for (const timer of this.#leases.values()) clearTimeout(timer)
  }

  #isSo({ key, guard }: Check): boolean {
    const entry = this.#entries.get(key)
    return guard === 'any' || (guard === 'absent' ? !entry : entry?.revision === guard.revision)
  }

  #check(change: Change): void {
    if (!this.#isSo(change)) throw new Failure('conflict', `another write came first: ${change.key}`)
    if (change.kind === 'put' && change.lease && !this.#leases.has(change.lease.id))
      throw new Failure('not-found', `lease ${change.lease.id} is gone`)
  }

  #write(changes: readonly Change[]): void {
    const real = changes.filter((change) => change.kind === 'put' || this.#entries.has(change.key))
    if (real.length === 0) return
    const at = ++this.#revision
    const revision = String(at)
    for (const change of real) {
      const { key } = change
      if (change.kind === 'delete') {
        this.#entries.delete(key)
        this.#events.push({ at, event: { kind: 'delete', key, revision } })
      } else {
        const entry = { key, value: change.value, revision, ...(change.lease && { lease: change.lease.id }) }
        this.#entries.set(key, entry)
        this.#events.push({ at, event: { kind: 'put', entry } })
      }
    }
    for (const { at } of this.#events.splice(0, this.#events.length - history)) this.#compacted = at
    for (const wake of this.#followers) wake()
  }

  #change(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const done = () => resolve()
    this.#followers.add(done)
    signal.addEventListener('abort', done, { once: true })
    return promise.finally(() => {
      this.#followers.delete(done)
      signal.removeEventListener('abort', done)
    })
  }
}

const withoutValues = ({ entries, ...of }: Snapshot): Snapshot<Stamp> => ({
  ...of,
  entries: entries.map(({ value: _, ...stamp }) => stamp),
})

const byKey = (a: Entry, b: Entry): number => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key))
