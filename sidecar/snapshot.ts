import { isDeepStrictEqual } from 'node:util'
import type { Docker } from '../docker/client.ts'
import { afterDeath } from '../docker/death.ts'
import type { EngineEvent } from '../docker/events.ts'
import { type Hint, type ObjectType, objectTypes } from '../docker/hints.ts'
import type * as inspect from '../docker/inspect.ts'
import * as queries from '../docker/queries.ts'
import { RollCall } from '../docker/roll-call.ts'
import { backoff, pause } from '../process/backoff.ts'
import { explain, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import { type Swarm, SwarmState } from './swarm-state.ts'
import { ObjectTracker } from './tracker.ts'

type Subject = ObjectType | 'engine' | 'swarm'

/** What this host's engine has, as far as it has been looked at. The objects in it never change, only the maps do. */
export interface HostSnapshot {
  /** Undefined until the engine has answered for the first time. */
  readonly engine: inspect.EngineInfo | undefined
  readonly containers: ReadonlyMap<string, inspect.Container>
  readonly volumes: ReadonlyMap<string, inspect.Volume>
  readonly images: readonly inspect.Image[]
  readonly networks: readonly inspect.Network[]
  readonly plugins: readonly inspect.Plugin[]
  /** Undefined outside a swarm. */
  readonly swarm: Swarm | undefined
  /** What has not been looked at in full yet: types of objects, or the engine itself. */
  readonly missing: ReadonlySet<string>
}

/**
 * The host's state in memory, level-triggered: hints say where to look, what counts is what the engine answers.
 * Every type has a worker of its own, as a volume driver at work blocks the list of volumes but nothing else. While
 * the engine is away the last known state stands.
 */
export class HostState {
  #docker: Docker
  #log: Log
  #signal: AbortSignal
  #changed: (since: number) => void
  #wakes: Record<Subject, Wake>
  #containers: ObjectTracker<inspect.Container>
  #volumes: ObjectTracker<inspect.Volume>
  #trackers: Partial<Record<Subject, ObjectTracker<unknown>>>
  #swarm: SwarmState
  #resyncEvery: number
  #rollCall = new RollCall()
  #lists = {
    engine: undefined as inspect.EngineInfo | undefined,
    images: [] as readonly inspect.Image[],
    networks: [] as readonly inspect.Network[],
    plugins: [] as readonly inspect.Plugin[],
  }
  #listed = new Set<Subject>()
  #missing = new Set<Subject>(['engine', 'swarm', ...objectTypes])

  /**
   * `changed` is called whenever the snapshot may differ, with the time (performance.now) of what made it look. Looks
   * for nothing until `run`; then it lists everything anew at least every `resyncEvery` ms, with jitter, and the tasks
   * of a swarm, on a manager, every `swarmPoll` ms. `tagsOf` gives containers further tags.
   */
  constructor(
    docker: Docker,
    log: Log,
    signal: AbortSignal,
    changed: (since: number) => void,
    {
      resyncEvery,
      swarmPoll,
      tagsOf,
    }: { resyncEvery: number; swarmPoll: number; tagsOf?: (container: unknown) => readonly string[] },
  ) {
    this.#docker = docker
    this.#log = log
    this.#signal = signal
    this.#changed = changed
    this.#resyncEvery = resyncEvery
    this.#swarm = new SwarmState(docker, log, { poll: swarmPoll, resyncEvery })
    this.#wakes = {
      engine: new Wake(),
      container: new Wake(),
      image: new Wake(),
      network: new Wake(),
      plugin: new Wake(),
      swarm: new Wake(),
      volume: new Wake(),
    }
    const failed = (what: string) => (id: string, error: Error) =>
      log.debug({ id, reason: explain(error) }, `cannot look at this ${what}: will be tried again`)
    this.#containers = new ObjectTracker({
      look: (id) => queries.inspectContainer(docker, id, tagsOf),
      changed: (differs, since) => this.#settle(since, differs),
      failed: failed('container'),
      signal,
    })
    this.#volumes = new ObjectTracker({
      look: (name) => queries.inspectVolume(docker, name),
      changed: (differs, since) => this.#settle(since, differs),
      failed: failed('volume'),
      signal,
      atOnce: 2,
    })
    this.#trackers = { container: this.#containers, volume: this.#volumes }
  }

  get snapshot(): HostSnapshot {
    return {
      ...this.#lists,
      containers: this.#containers.objects,
      volumes: this.#volumes.objects,
      swarm: this.#swarm.now,
      missing: this.#missing,
    }
  }

  /** Containers and volumes that wait for a look. */
  get pending(): number {
    return this.#containers.pending + this.#volumes.pending
  }

  /** What an event says by itself; where to look after it, hints say. */
  event(event: EngineEvent): void {
    this.#containers.amend(event.id, (container) => afterDeath(container, event))
  }

  hint(hint: Hint): void {
    if (hint.kind === 'list' && hint.type === 'swarm') this.#swarm.announced()
    if (hint.kind === 'engine') this.#wakes.engine.wake()
    else if (hint.kind === 'list') this.#wakes[hint.type].wake()
    else if (hint.type === 'container') this.#containers.mark(hint.id)
    else this.#volumes.mark(hint.id)
  }

  resync(): void {
    for (const wake of Object.values(this.#wakes)) wake.wake()
  }

  /** Works until the signal fires. */
  async run(): Promise<void> {
    const docker = this.#docker
    const every = () => this.#resyncEvery * (0.8 + 0.4 * Math.random())
    const lister = (type: Subject, list: () => Promise<boolean>) => this.#lister(type, every, list)
    // what they find is told by those who then look
    const looking = (list: () => Promise<void>) => async () => {
      await list()
      return false
    }
    const lists = this.#lists
    await Promise.all([
      lister('engine', async () => {
        const before = lists.engine
        lists.engine = await queries.engineInfo(docker)
        return !before || !isDeepStrictEqual({ ...lists.engine, time: before.time }, before)
      }),
      lister('image', async () => {
        const before = lists.images
        lists.images = renewed(before, await queries.listImages(docker))
        return lists.images !== before
      }),
      lister('network', async () => {
        const before = lists.networks
        lists.networks = renewed(before, await queries.listNetworks(docker))
        return lists.networks !== before
      }),
      lister('plugin', async () => {
        const before = lists.plugins
        lists.plugins = renewed(before, await queries.listPlugins(docker))
        return lists.plugins !== before
      }),
      lister(
        'container',
        looking(() => this.#listContainers()),
      ),
      lister(
        'volume',
        looking(() => this.#listVolumes()),
      ),
      this.#lister(
        'swarm',
        () => this.#swarm.wait,
        (woken) => this.#swarm.look(woken),
      ),
    ])
  }

  /** `list` is told whether it was woken, or its time had come, and returns whether anything may have changed. */
  async #lister(
    type: Subject,
    wait: () => number,
    list: (woken: boolean) => Promise<boolean>,
  ): Promise<void> {
    for (let attempt = 0, woken = false; !this.#signal.aborted; ) {
      // what failed is asked in full: it may be for another reason than before
      woken = attempt > 0 || (await this.#wakes[type].next(wait(), this.#signal))
      if (this.#signal.aborted) return
      const since = performance.now()
      try {
        const changed = await list(woken)
        attempt = 0
        if (changed || !this.#listed.has(type)) {
          if (!this.#listed.has(type)) this.#trackers[type]?.owe()
          this.#listed.add(type)
          this.#settle(since)
        }
      } catch (error) {
        if (!isFailure(error)) throw error
        if (attempt++ === 0)
          this.#log.debug({ reason: explain(error) }, `cannot list (${type}): will be tried again`)
        // not later than it was due anyway: a swarm that just comes to be is asked often
        await pause(Math.min(backoff(attempt, 100, 2000), wait()), this.#signal)
      }
    }
  }

  /** A list only says what to inspect: it may be older than an inspection that ran meanwhile. */
  async #listContainers(): Promise<void> {
    const known = this.#containers.objects
    const rollCall = this.#rollCall
    try {
      await queries.listContainers(this.#docker, (item) => {
        const id = rollCall.call(item, known)
        if (id !== undefined) this.#containers.mark(id)
      })
    } catch (error) {
      this.#rollCall = new RollCall() // whom a list called that broke off need not be in the next one
      throw error
    }
    for (const id of rollCall.end(known)) this.#containers.mark(id)
  }

  async #listVolumes(): Promise<void> {
    const listed = await queries.listVolumes(this.#docker)
    const known = this.#volumes.objects
    const names = new Set(listed.map((volume) => volume.name))
    for (const name of known.keys()) if (!names.has(name)) this.#volumes.mark(name)
    for (const volume of listed)
      if (!sameVolume(known.get(volume.name), volume)) this.#volumes.mark(volume.name)
  }

  /** Listed is not enough at the start: all that was listed must have been looked at once, whatever happens meanwhile. */
  #settle(since: number, differs = true): void {
    const missing = this.#missing.size
    for (const type of this.#listed) if (!this.#trackers[type]?.owed) this.#missing.delete(type)
    if (differs || this.#missing.size < missing) this.#changed(since)
  }
}

/** The new list, with the objects of before where nothing has changed; the very list of before where none has. */
const renewed = <T extends { readonly id: string }>(
  before: readonly T[],
  now: readonly T[],
): readonly T[] => {
  const known = new Map(before.map((one) => [one.id, one]))
  const after = now.map((one) => {
    const was = known.get(one.id)
    return was !== undefined && isDeepStrictEqual(was, one) ? was : one
  })
  const same = after.length === before.length && after.every((one, index) => one === before[index])
  return same ? before : after
}

const sameVolume = (a: inspect.Volume | undefined, b: inspect.Volume): boolean =>
  JSON.stringify(a) === JSON.stringify(b)
