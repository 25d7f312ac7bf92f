import { explain, type Failure, isFailure } from '../../process/failure.ts'
import { inParallel } from '../../process/in-parallel.ts'
import type { Log } from '../../process/log.ts'
import type { OnExit } from '../backend.ts'
import type { Place, PlaceChange, PlaceEntry, PlaceSession } from '../mirror.ts'
import { consulView } from '../views/consul.ts'
import { checkId, ownMeta, type Registration, stateCheckId } from '../views/consul-registration.ts'
import {
  read,
  registrationIn,
  StoodChecks,
  type StoodService,
  StoodServices,
  shownOf,
  shownOfWanted,
  typeOf,
} from './consul/answers.ts'
import { Beats } from './consul/beats.ts'
import { ConsulClient, pathPart } from './consul/client.ts'
import { Presence } from './consul/presence.ts'
import type { ConsulSettings } from './consul/settings.ts'

export interface ConsulAgentSettings extends ConsulSettings {
  readonly host: string
  readonly log?: Pick<Log, 'warn'>
}

/**
 * The services of Consul's agent, as consulView has them. A registration is ours by its Meta (`openebs-host`), or by the form of its
 * ID, as registrator has left it. The agent keeps them until they are deregistered, also when we are killed: the next run finds
 * them. What Consul refuses is told and left out, until it changes or a resync; it holds up nothing else.
 */
export const consulAgent = (settings: ConsulAgentSettings): Place => {
  const client = new ConsulClient(settings)
  const view = consulView()
  const owns = (key: string) => view.owns(key, settings.host)
  return {
    description: `Consul's agent at ${client.description}, services of ${settings.host}`,
    owns,
    shown: (value) => shownOfWanted(registrationIn(value)),
    open: async () => new AgentSession(client, settings, owns),
  }
}

/** Registrations under way at a time. */
const atOnce = 12

class AgentSession implements PlaceSession {
  readonly #client: ConsulClient
  readonly #host: string
  readonly #owns: (key: string) => boolean
  readonly #log: Pick<Log, 'warn'> | undefined
  readonly #lost = new AbortController()
  readonly #beats: Beats
  readonly #presence: Presence
  readonly #running: Promise<unknown>
  /** What Consul would not have, and so is told once. */
  readonly #refused = new Map<string, string>()
  /** IDs that this session has registered. */
  readonly #registered = new Set<string>()
  /** IDs that Consul does not remove by itself. */
  readonly #lasting = new Set<string>()
  /** Kind of each check of ours that stands, by its ID. */
  readonly #types = new Map<string, string>()

  constructor(client: ConsulClient, { host, log }: ConsulAgentSettings, owns: (key: string) => boolean) {
    this.#client = client
    this.#host = host
    this.#owns = owns
    this.#log = log
    const lose = () => this.#lost.abort()
    this.#beats = new Beats(client, this.lost, lose)
    this.#presence = new Presence(client, this.lost, lose)
    this.#running = Promise.all([this.#beats.run(), this.#presence.run()])
    // a bug there is not to go unseen: `end` rejects with it
    this.#running.catch(lose)
  }

  get lost(): AbortSignal {
    return this.#lost.signal
  }

  async read(wanted: ReadonlySet<string>): Promise<ReadonlyMap<string, PlaceEntry>> {
    const [services, checks] = await Promise.all([
      this.#services(),
      this.#client.call('GET', '/v1/agent/checks').then((answer) => read(StoodChecks, answer, 'checks')),
    ])
    this.#types.clear()
    for (const { CheckID, Type = '' } of Object.values(checks)) this.#types.set(CheckID, Type)
    const entries = new Map<string, PlaceEntry>()
    for (const service of services) {
      const { ID: id } = service
      const ours = this.#isOurs(service)
      if (!ours && !wanted.has(id) && !this.#owns(id)) continue
      // other hands may have added some of their own
      const standing = ownChecks(id).filter((one) => this.#types.has(one))
      entries.set(id, { value: shownOf(service, standing, this.#saidOf(id, ours)), ours })
      if (ours && !service.Meta.check_deregister_after) this.#lasting.add(id)
    }
    this.#lookAtOne()
    return entries
  }

  async apply(changes: readonly PlaceChange[]): Promise<void> {
    const denied: Failure[] = []
    let done = 0
    const each = async (change: PlaceChange) => {
      const failure = await this.#attempt(change)
      if (failure?.kind === 'denied') denied.push(failure)
      else if (!failure) done += 1
      if (failure) this.#refuse(change, failure)
    }
    this.#lookAway(changes)
    const kinds = Map.groupBy(changes, ({ kind }) => kind)
    await inParallel(kinds.get('put') ?? [], atOnce, each)
    await inParallel(kinds.get('delete') ?? [], atOnce, each)
    this.#lookAtOne()
    // a token that is good for nothing here is no single registration's trouble
    if (denied[0] && done === 0) throw denied[0]
  }

  async end(onExit: OnExit): Promise<void> {
    this.#lost.abort()
    await this.#running
    if (onExit === 'withdraw') {
      const ours = (await this.#services()).filter((one) => this.#isOurs(one))
      const attempts = await inParallel(ours, atOnce, ({ ID }) => this.#attempt({ kind: 'delete', key: ID }))
      const [refused] = attempts.filter((one) => one !== undefined)
      if (refused) throw refused
    }
  }

  async #services(): Promise<StoodService[]> {
    const answer = await this.#client.call('GET', '/v1/agent/services')
    return Object.values(read(StoodServices, answer, 'services'))
  }

  /** Of an earlier run's check with a TTL we do not know what is to be said: it is registered once more. */
  #saidOf(id: string, ours: boolean): 'critical' | 'unsaid' | undefined {
    if (ours && this.#types.get(checkId(id)) === 'ttl' && !this.#registered.has(id)) return 'unsaid'
    return this.#beats.statusOf(id) === 'critical' ? 'critical' : undefined
  }

  #isOurs({ Meta }: StoodService): boolean {
    return Meta[ownMeta.host] === this.#host
  }

  /** Why it was refused; undefined when it is done. Errors: `unavailable`. */
  async #attempt(change: PlaceChange): Promise<Failure | undefined> {
    try {
      await (change.kind === 'put' ? this.#register(change.key, change.value) : this.#deregister(change.key))
      this.#refused.delete(change.key)
      return undefined
    } catch (error) {
      if (!isFailure(error) || error.kind === 'unavailable') throw error
      // what stands there now is no longer so
      if (change.kind === 'put' && error.kind === 'invalid') await this.#deregister(change.key)
      return error
    }
  }

  async #register(id: string, value: string): Promise<void> {
    const { Beat: beat, ...wanted }: Registration = registrationIn(value)
    const body = { ...wanted, Meta: { ...wanted.Meta, [ownMeta.host]: this.#host } }
    const types = new Map(body.Checks.map((check) => [check.CheckID, typeOf(check)]))
    const standing = ownChecks(id).filter((one) => this.#types.has(one))
    // Consul would go on with the old kind of check beside the new one; before 1.7 it does not tell the kind
    const replaced = standing.filter((one) => this.#types.get(one) && types.has(one))
    for (const check of replaced)
      if (types.get(check) !== this.#types.get(check)) await this.#removeCheck(check)
    // the state of a check that is registered again is kept; ?replace-existing-checks would end an operator's maintenance
    await this.#client.call('PUT', '/v1/agent/service/register', { body })
    for (const [check, type] of types) this.#types.set(check, type)
    for (const check of standing) if (!types.has(check)) await this.#removeCheck(check)
    this.#registered.add(id)
    this.#beats.set(id, beat)
    if (body.Checks.some((one) => one.DeregisterCriticalServiceAfter !== undefined)) this.#lasting.delete(id)
    else this.#lasting.add(id)
  }

  async #removeCheck(check: string): Promise<void> {
    await this.#client.call('PUT', `/v1/agent/check/deregister/${pathPart(check)}`)
    this.#types.delete(check)
  }

  async #deregister(id: string): Promise<void> {
    this.#beats.set(id, undefined)
    this.#lasting.delete(id)
    this.#registered.delete(id)
    try {
      await this.#client.call('PUT', `/v1/agent/service/deregister/${pathPart(id)}`)
    } catch (error) {
      if (!isFailure(error, 'not-found')) throw error
    }
    for (const check of ownChecks(id)) this.#types.delete(check)
  }

  #refuse({ kind, key, ...rest }: PlaceChange, failure: Failure): void {
    const value = 'value' in rest ? rest.value : ''
    if (this.#refused.get(key) === value) return
    this.#refused.set(key, value)
    const what = kind === 'put' ? 'register' : 'deregister'
    this.#log?.warn(
      { service: key, reason: explain(failure) },
      `Consul refuses to ${what} a service: it is left out`,
    )
  }

  /** Not at one that we are about to change. */
  #lookAway(changes: readonly PlaceChange[]): void {
    const now = this.#presence.looksAt
    if (now !== undefined && changes.some(({ key }) => key === now)) this.#presence.look(undefined)
  }

  #lookAtOne(): void {
    const [first] = this.#lasting
    if (this.#presence.looksAt === undefined && first !== undefined) this.#presence.look(first)
  }
}

const ownChecks = (id: string): string[] => [checkId(id), stateCheckId(id)]
