import { pause } from '../../process/backoff.ts'
import { Failure, isFailure } from '../../process/failure.ts'
import type { OnExit } from '../backend.ts'
import type { Place, PlaceChange, PlaceEntry, PlaceSession } from '../mirror.ts'
import { read, StoodPairs } from './consul/answers.ts'
import { ConsulClient, pathPart } from './consul/client.ts'
import type { ConsulKvSettings as Where } from './consul/settings.ts'

export interface ConsulKvSettings extends Where {
  readonly host: string
  /** Seconds, 10 to 86400 by Consul's rule, which drops a session that is not renewed after one to two times that. */
  readonly ttl: number
  /** Seconds between renewals; a third of the TTL by default. */
  readonly renew?: number
  /** Whether a key (below the prefix) is by its form one of this host's. */
  owns(key: string): boolean
}

/**
 * Consul's keys: <prefix>/<key> holds a value as it is, held by a session of ours, with which it goes. What another session holds is
 * another's, unless its form says that an earlier run of ours, or registrator, has left it.
 */
export const consulKv = (settings: ConsulKvSettings): Place => {
  const client = new ConsulClient(settings)
  const ttl = Math.min(Math.max(settings.ttl, 10), 86_400)
  return {
    description: `Consul at ${client.description}, keys below ${settings.prefix || '/'}`,
    owns: (key) => settings.owns(key),
    open: async () => {
      const body = {
        Name: `registrator on ${settings.host}`,
        TTL: `${ttl}s`,
        Behavior: 'delete',
        LockDelay: '0s',
        // its TTL alone counts: with the agent's own health a short trouble of the network would drop all keys
        Checks: [],
        NodeChecks: [],
      }
      const answer = await client.call('PUT', '/v1/session/create', { body })
      const { ID: id } = (answer ?? {}) as { ID?: string }
      if (!id) throw new Failure('unavailable', 'Consul makes a session without an ID')
      return new KvSession(client, id, { ...settings, ttl })
    },
  }
}

/** What Consul does in one transaction at most. */
const mostOperations = 64

interface Operation {
  readonly KV: { Verb: 'lock' | 'delete' | 'check-session'; Key: string; Value?: string; Session?: string }
}

class KvSession implements PlaceSession {
  readonly #client: ConsulClient
  readonly #id: string
  readonly #prefix: string
  readonly #owns: (key: string) => boolean
  readonly #lost = new AbortController()
  readonly #stop = new AbortController()
  readonly #renewing: Promise<void>
  /** Session by key, of what stands ("" for none). */
  readonly #holders = new Map<string, string>()

  constructor(client: ConsulClient, id: string, settings: ConsulKvSettings) {
    this.#client = client
    this.#id = id
    this.#prefix = settings.prefix === '' ? '' : `${settings.prefix}/`
    this.#owns = (key) => settings.owns(key)
    this.#renewing = this.#keep((settings.renew ?? settings.ttl / 3) * 1000)
    this.#renewing.catch(() => this.#lost.abort())
  }

  get lost(): AbortSignal {
    return this.#lost.signal
  }

  async read(wanted: ReadonlySet<string>): Promise<ReadonlyMap<string, PlaceEntry>> {
    const entries = new Map<string, PlaceEntry>()
    this.#holders.clear()
    for (const { Key, Value, Session = '' } of await this.#pairs()) {
      const key = Key.slice(this.#prefix.length)
      const ours = Session === this.#id
      if (!ours && !wanted.has(key) && !this.#owns(key)) continue
      this.#holders.set(key, Session)
      entries.set(key, { value: Buffer.from(Value ?? '', 'base64').toString(), ours })
    }
    return entries
  }

  async apply(changes: readonly PlaceChange[]): Promise<void> {
    let part: { changes: PlaceChange[]; operations: Operation[] } = { changes: [], operations: [] }
    for (const change of changes) {
      const operations = this.#operations(change)
      if (part.operations.length + operations.length > mostOperations) {
        await this.#commit(part)
        part = { changes: [], operations: [] }
      }
      part.changes.push(change)
      part.operations.push(...operations)
    }
    if (part.changes.length > 0) await this.#commit(part)
  }

  async end(onExit: OnExit): Promise<void> {
    this.#stop.abort()
    await this.#renewing
    if (this.lost.aborted) return
    // with the whole TTL ahead of a successor
    if (onExit === 'keep') await this.#renew()
    else await this.#client.call('PUT', `/v1/session/destroy/${this.#id}`)
  }

  async #pairs(): Promise<{ Key: string; Value: string | null; Session?: string | undefined }[]> {
    const path = this.#prefix.split('/').map(pathPart).join('/')
    try {
      return read(StoodPairs, await this.#client.call('GET', `/v1/kv/${path}?recurse`), 'keys')
    } catch (error) {
      if (isFailure(error, 'not-found')) return []
      throw error
    }
  }

  #operations({ key, ...change }: PlaceChange): Operation[] {
    const holder = this.#holders.get(key)
    const Key = `${this.#prefix}${key}`
    const Session = this.#id
    const gone: Operation = { KV: { Verb: 'delete', Key } }
    if (change.kind === 'delete')
      return holder === Session ? [{ KV: { Verb: 'check-session', Key, Session } }, gone] : [gone]
    const Value = Buffer.from(change.value).toString('base64')
    const put: Operation = { KV: { Verb: 'lock', Key, Value, Session } }
    // what another session holds cannot be locked: it is made anew, in one transaction
    return holder === undefined || holder === '' || holder === Session ? [put] : [gone, put]
  }

  async #commit({ changes, operations }: { changes: PlaceChange[]; operations: Operation[] }): Promise<void> {
    try {
      await this.#client.call('PUT', '/v1/txn', { body: operations })
    } catch (error) {
      // somebody holds what was free when we looked, or our session is gone
      if (isFailure(error, 'conflict')) await this.#renew()
      throw error
    }
    for (const { kind, key } of changes)
      if (kind === 'put') this.#holders.set(key, this.#id)
      else this.#holders.delete(key)
  }

  /** Until the session ends, or is gone. While Consul is away it may still stand. */
  async #keep(every: number): Promise<void> {
    const until = AbortSignal.any([this.#stop.signal, this.lost])
    let wait = every
    for (;;) {
      await pause(wait, until)
      if (until.aborted) return
      try {
        await this.#renew()
        wait = every
      } catch (error) {
        if (!isFailure(error)) throw error
        wait = Math.min(500, every)
      }
    }
  }

  /** Fires `lost` where Consul knows the session no more. */
  async #renew(): Promise<void> {
    try {
      await this.#client.call('PUT', `/v1/session/renew/${this.#id}`)
    } catch (error) {
      if (!isFailure(error, 'not-found')) throw error
      this.#lost.abort()
    }
  }
}
