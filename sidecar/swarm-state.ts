import type { Docker } from '../docker/client.ts'
import * as docker from '../docker/swarm.ts'
import { explain, Failure, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'

/** The swarm that this host is in, as its engine knows it: a worker's knows its own membership alone. */
export interface Swarm {
  /** Of this host. */
  readonly node: string
  /** What this host's engine advertises. */
  readonly address: string
  readonly manager: boolean
  readonly nodes: readonly docker.SwarmNode[]
  readonly services: readonly docker.SwarmService[]
  readonly tasks: readonly docker.SwarmTask[]
  readonly secrets: readonly docker.SwarmNamed[]
  readonly configs: readonly docker.SwarmNamed[]
}

/** ms for which a host that announced something of a swarm is looked at often, until it turns out a manager; and how often. */
const becoming = { within: 10_000, every: 200 }

/**
 * The swarm in memory. No event tells of tasks, nor of who leads: a manager is asked for them again and again. A full
 * look, after an event and with each resync, asks for its secrets and configs too, and first of all whether this host
 * is a manager. A worker is asked that alone, as often: no event tells that it has become one. What a manager cannot
 * answer (no leader, an election) stands as it was last known.
 */
export class SwarmState {
  #docker: Docker
  #log: Log
  #poll: number
  #resyncEvery: number
  #now: Swarm | undefined
  #fullAt = 0
  #changed = false
  #announcedAt = Number.NEGATIVE_INFINITY
  /** The last full look failed. */
  #silent = false

  /** ms between two looks of each kind. */
  constructor(engine: Docker, log: Log, times: { poll: number; resyncEvery: number }) {
    this.#docker = engine
    this.#log = log
    this.#poll = times.poll
    this.#resyncEvery = times.resyncEvery
  }

  /** Undefined outside a swarm. What has not changed is the very same object. */
  get now(): Swarm | undefined {
    return this.#now
  }

  /** The engine has announced something of a swarm: only managers do, but they do so before they can be asked. */
  announced(): void {
    this.#announcedAt = performance.now()
  }

  /** ms until the next look is due. Where something has just changed more is to come: tasks take seconds to start. */
  get wait(): number {
    if (!this.#now?.manager && performance.now() - this.#announcedAt < becoming.within) return becoming.every
    if (!this.#now) return this.#resyncEvery
    return this.#changed ? this.#poll / 5 : this.#poll
  }

  /** Returns whether anything has changed. Rejects with a Failure: then nothing has. */
  async look(full: boolean): Promise<boolean> {
    const known = this.#now
    this.#changed = false
    const all = full || !known?.manager || performance.now() - this.#fullAt >= this.#resyncEvery
    const next = all ? await this.#lookAtAll() : await this.#lookAtTasks(known)
    this.#changed = JSON.stringify(next) !== JSON.stringify(known)
    if (this.#changed) this.#now = next
    return this.#changed
  }

  async #lookAtAll(): Promise<Swarm | undefined> {
    try {
      const next = await this.#askAll()
      this.#fullAt = performance.now()
      if (next?.manager && this.#silent) this.#log.info('the swarm answers again')
      this.#silent = false
      return next
    } catch (error) {
      if (!isFailure(error)) throw error
      if (this.#now?.manager && !this.#silent)
        this.#log.warn({ reason: explain(error) }, 'the swarm does not answer: its last known state stands')
      this.#silent = true
      throw error
    }
  }

  async #askAll(): Promise<Swarm | undefined> {
    const member = await docker.swarmMembership(this.#docker)
    if (!member) return undefined
    const { pending, ...own } = member
    if (!own.manager) {
      if (pending && this.#now?.node === own.node)
        throw new Failure('unavailable', 'the Docker Engine has not found its place in the swarm yet')
      return { ...own, nodes: [], services: [], tasks: [], secrets: [], configs: [] }
    }
    const [secrets, configs] = await Promise.all([
      docker.listSwarmSecrets(this.#docker),
      docker.listSwarmConfigs(this.#docker),
    ])
    return this.#lookAtTasks({ ...own, secrets, configs })
  }

  async #lookAtTasks(rest: Omit<Swarm, 'nodes' | 'services' | 'tasks'>): Promise<Swarm> {
    const [nodes, services, tasks] = await Promise.all([
      docker.listSwarmNodes(this.#docker),
      docker.listSwarmServices(this.#docker),
      docker.listSwarmTasks(this.#docker),
    ])
    return { ...rest, nodes, services, tasks }
  }
}
