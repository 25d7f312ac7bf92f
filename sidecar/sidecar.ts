import { isDeepStrictEqual } from 'node:util'
import type { Docker } from '../docker/client.ts'
import { hintsOf } from '../docker/hints.ts'
import type { Container, EngineInfo } from '../docker/inspect.ts'
import { type WatchState, watchEngine } from '../docker/watch.ts'
import { pause } from '../process/backoff.ts'
import { Failure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { decode, hostName } from '../registry/keys.ts'
import type { Host } from '../registry/records.ts'
import { Session } from '../registry/session.ts'
import type { Store } from '../registry/store.ts'
import { timed } from '../registry/timed-store.ts'
import { probePortal } from '../vsm/probe.ts'
import { chooseAddresses, type HostAddresses } from './addresses.ts'
import { leave, withdraw } from './claim.ts'
import { GuardView } from './guard-view.ts'
import { hostRecord, type Run } from './host.ts'
import { Journal } from './journal.ts'
import { labelFilter } from './labels.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { type Look, type Outlet, Outlets } from './outlets.ts'
import { Prober, steady } from './prober.ts'
import { missingParts, missingRecord, patience } from './readiness.ts'
import { type Desired, Reconciler } from './reconciler.ts'
import { createRegistrations, type Registrations } from './registrations.ts'
import type { ServiceRules } from './services.ts'
import { type HostSnapshot, HostState } from './snapshot.ts'
import { unseenKeys } from './unseen.ts'
import { isVsm, portalToAsk, tellsSessions } from './vsms.ts'

export interface SidecarOptions {
  readonly docker: Docker
  /** The engine's address, for people. */
  readonly endpoint: string
  /** Opens the store of the registry for a writer of this name, once the host's name is known. Undefined: outlets are all there is. */
  readonly openStore: ((writer: string) => Promise<Store>) | undefined
  /** Where else this host is registered, for other tools. */
  readonly outlets?: readonly Outlet[]
  /** The settings; undefined: the engine's name, the address that is found. */
  readonly host: string | undefined
  readonly addresses: readonly string[] | undefined
  readonly rules: ServiceRules
  /** See ViewRules. */
  readonly keepFailed?: boolean
  /** Further tags of a container, of the Engine's whole answer about it. */
  readonly tagsOf?: (container: unknown) => readonly string[]
  /** Which labels are registered: see OPENEBS_LABELS. */
  readonly labels: readonly string[]
  /** What becomes of the records at a stop. */
  readonly onExit: 'withdraw' | 'keep'
  /** Of the journal: seconds that an entry is kept, and how many at most (0: no journal). */
  readonly journal: { readonly ttl: number; readonly most: number }
  /** ms. */
  readonly swarmPoll: number
  /** Seconds. */
  readonly ttl: number
  /** ms. */
  readonly resyncEvery: number
  readonly run: Omit<Run, 'host'>
  readonly log: Log
}

/**
 * One host's sidecar: watches the engine, keeps its state in memory, and keeps the registry equal to it. Engine and
 * store may come and go in any order.
 */
export class Sidecar {
  readonly metrics: Metrics
  #options: SidecarOptions
  #docker: WatchState = { kind: 'connecting', reason: 'starting' }
  #state: HostState | undefined
  #prober: Prober | undefined
  #store: Store | undefined
  #session: Session | undefined
  #reconciler: Reconciler | undefined
  readonly #journal: Journal | undefined
  readonly #guard: GuardView
  #host: string | undefined
  #hostSeen: Host | undefined
  #addresses: { engine: EngineInfo; advertised: string; chosen: HostAddresses } | undefined
  /** When the oldest change came that has not been handed over yet. */
  #since: number | undefined
  #register: ReturnType<typeof createRegistrations>
  #vsms: ReadonlySet<Container> = new Set()
  #last: Registrations = { desired: new Map(), refused: new Map() }
  readonly #outlets: Outlets

  constructor(options: SidecarOptions) {
    this.#options = options
    this.#host = options.host
    this.#guard = new GuardView(options.log)
    this.#register = createRegistrations({
      services: options.rules,
      labels: labelFilter(options.labels),
    })
    const { outlets = [], rules, keepFailed = false, onExit, resyncEvery, log } = options
    this.#outlets = new Outlets({
      outlets,
      rules: { services: rules, keepFailed },
      look: () => this.#look(),
      onExit,
      resyncEvery,
      log,
    })
    this.metrics = createMetrics({
      connected: () => this.#docker.kind === 'watching',
      objects: () => this.#counts(),
      pending: () => this.#state?.pending ?? 0,
      records: () => countBy([...this.#last.desired.keys()], (key) => key.slice(0, key.indexOf('/'))),
      vsms: () => this.#healthOfVsms(),
      refused: () => this.#last.refused.size,
      lag: () => (this.#reconciler?.state.kind === 'publishing' ? this.#reconciler.state.lag() : 0),
      lease: () => this.#session?.times,
      journal: () => this.#journal ?? { waiting: 0, kept: 0 },
      guard: () => this.#guard.state,
      outletLags: () => this.#outlets.lags(),
      outletRefusals: () => this.#outlets.refusals(),
    })
    const { ttl, most } = options.journal
    if (most > 0)
      this.#journal = new Journal({
        keep: ttl,
        most,
        labels: labelFilter(options.labels),
        hooks: this.metrics.journal,
        log: options.log,
      })
  }

  get store(): Store | undefined {
    return this.#store
  }

  /** What keeps nobody from being ready, and is to be known, a sentence each. */
  get warnings(): readonly string[] {
    return [...this.#guard.warnings, ...this.#outlets.warnings()]
  }

  get outletsSettled(): boolean {
    return this.#outlets.settled
  }

  get outletTrouble(): string | undefined {
    return this.#outlets.trouble
  }

  /** See missingParts; asks the store as well when nothing else is missing. */
  async missing(): Promise<readonly string[]> {
    const missing = missingParts({
      docker: this.#docker,
      endpoint: this.#options.endpoint,
      unseen: this.#state?.snapshot.missing ?? new Set(),
      withoutRegistry: this.#options.openStore === undefined,
      reconciler: this.#reconciler?.state,
      refused: this.#last.refused,
    }).concat(this.#outlets.missing(patience))
    if (missing.length > 0 || !this.#store || !this.#host) return missing
    const absent = await missingRecord(this.#store, this.#host, this.#options.run.instance)
    return absent === undefined ? [] : [absent]
  }

  /**
   * Runs until the signal fires, then withdraws this host's records. Rejects when it cannot go on: another sidecar
   * serves this host (`invalid`), or a bug.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { docker, log } = this.#options
    const failed = new AbortController()
    const stop = AbortSignal.any([signal, failed.signal])
    const wake = (since = performance.now()) => this.#changed(since)
    this.#prober = new Prober((portal, at) => this.#probe(portal, at), wake, stop)
    this.#state = new HostState(docker, log, stop, wake, this.#options)
    const parts = [
      this.#watch(this.#state, stop),
      this.#state.run(),
      this.#lookAtTargets(this.#state, stop),
      this.#publish(this.#state, stop),
    ]
    try {
      await Promise.all(parts)
    } finally {
      failed.abort()
      await Promise.allSettled(parts)
    }
  }

  async #watch(state: HostState, stop: AbortSignal): Promise<void> {
    const { docker, log } = this.#options
    await watchEngine(
      docker,
      {
        event: (event) => {
          // first what others wait for
          state.event(event)
          for (const hint of hintsOf(event)) state.hint(hint)
          this.metrics.events.inc({ type: event.type })
          this.#journal?.event(event)
        },
        resync: (reason) => {
          this.metrics.resyncs.inc()
          log.info({ reason }, 'listing everything anew')
          state.resync()
        },
        state: (now) => {
          if (now.kind !== this.#docker.kind) log.info(now, 'Docker Engine')
          this.#docker = now
        },
        remembered: (ring) => this.#journal?.remembered(ring),
        doubt: () => this.#journal?.doubt(),
        certain: (gap) => this.#journal?.certain(gap),
      },
      stop,
    )
  }

  /** The health checks of our targets tell who is logged in, and no event tells when that changes. */
  async #lookAtTargets(state: HostState, stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      await pause(steady, stop)
      for (const vsm of this.#vsms)
        if (tellsSessions(vsm)) state.hint({ kind: 'object', type: 'container', id: vsm.id })
    }
  }

  async #publish(state: HostState, stop: AbortSignal): Promise<void> {
    const host = await this.#learnHost(state, stop)
    if (host === undefined) return
    if (this.#options.openStore) await this.#serveRegistry(state, host, this.#options.openStore, stop)
    else await this.#outlets.run(host, undefined, stop)
  }

  async #serveRegistry(
    state: HostState,
    host: string,
    openStore: (writer: string) => Promise<Store>,
    stop: AbortSignal,
  ): Promise<void> {
    const { log, ttl, resyncEvery } = this.#options
    const store = timed(await openStore(`sidecar/${host}`), this.metrics.storeCall)
    const session = new Session(store, { ttl, log })
    this.#store = store
    this.#session = session
    this.#reconciler = new Reconciler({
      store,
      session,
      desired: () => this.#desired(state, { ...this.#options.run, host }),
      meanwhile: async (claimed) => {
        await Promise.all([
          this.#journal?.serve(store, host, claimed),
          this.#outlets.run(host, session, claimed),
        ])
      },
      hooks: this.metrics.publisher,
      log,
    })
    session.start(stop)
    const ended = new AbortController()
    const guard = this.#guard.run(store, host, AbortSignal.any([stop, ended.signal]))
    try {
      await Promise.all([this.#reconciler.run(stop, resyncEvery), guard])
    } finally {
      ended.abort()
      await Promise.allSettled([guard])
      if (session.current()) await this.#journal?.flush(2000)
      if (this.#options.onExit === 'withdraw') await withdraw(session, log)
      else await leave(store, session, host, this.#options.run.instance, log)
      await store.close()
    }
  }

  /** The host's name: asked once and kept. */
  async #learnHost(state: HostState, stop: AbortSignal): Promise<string | undefined> {
    while (this.#host === undefined && !stop.aborted) {
      const name = state.snapshot.engine?.name
      if (name !== undefined && !hostName.test(name))
        throw new Failure(
          'invalid',
          `the Docker Engine's name "${name}" cannot be a host's name: set OPENEBS_HOST`,
        )
      this.#host = name
      if (name === undefined) await pause(50, stop)
    }
    return stop.aborted ? undefined : this.#host
  }

  #hostRecord({ engine, swarm, missing }: HostSnapshot, run: Run): Host | undefined {
    if (!engine) return undefined
    const advertised = missing.has('swarm') ? engine.swarmAddress : (swarm?.address ?? '')
    return hostRecord(run, engine, this.#addressesOf(engine, advertised), swarm)
  }

  /** Has the prober ask the portals of these. */
  #follow(vsms: ReadonlySet<Container>, host: Host): void {
    this.#vsms = vsms
    const asks = [...vsms].map((container) => portalToAsk(container, host.address))
    this.#prober?.follow(new Map(asks.filter((ask) => ask !== undefined)))
  }

  /** What outlets are made of. */
  #look(): Look | undefined {
    const { openStore, outlets = [], run } = this.#options
    const snapshot = this.#state?.snapshot
    const name = this.#host
    const host = snapshot && name !== undefined && this.#hostRecord(snapshot, { ...run, host: name })
    if (!snapshot || !host) return undefined
    // where there is a registry, its records are made for every change first
    if (!openStore && outlets.some(({ view }) => view.vsm))
      this.#follow(new Set([...snapshot.containers.values()].filter(isVsm)), host)
    return { snapshot, host: this.#stableHost(host), answer: (key) => this.#prober?.answer(key) }
  }

  /** The same object as long as it says the same: what is made of it need not be made anew. */
  #stableHost(host: Host): Host {
    if (!isDeepStrictEqual(host, this.#hostSeen)) this.#hostSeen = host
    return this.#hostSeen ?? host
  }

  #desired(state: HostState, run: Run): Desired {
    const { snapshot } = state
    const host = this.#hostRecord(snapshot, run)
    if (!host) return undefined
    const follow = (vsms: ReadonlySet<Container>) => this.#follow(vsms, host)
    this.#last = this.#register(snapshot, host, (key) => this.#prober?.answer(key), follow)
    const since = this.#since
    this.#since = undefined
    return { ...this.#last, host, since, spares: unseenKeys(new Set(snapshot.missing)) }
  }

  /** Looked for anew with the engine's own data, at every resync: a host has an interface for each of its containers. */
  #addressesOf(engine: EngineInfo, advertised: string): readonly string[] {
    const last = this.#addresses
    if (last?.engine === engine && last.advertised === advertised) return last.chosen.addresses
    const chosen = chooseAddresses(this.#options.addresses, advertised)
    if (!isDeepStrictEqual(chosen, last?.chosen)) this.#options.log.info(chosen, 'addresses of this host')
    this.#addresses = { engine, advertised, chosen }
    return chosen.addresses
  }

  async #probe(portal: string, signal: AbortSignal) {
    const probe = await probePortal(portal, signal)
    this.metrics.probes.inc({ health: probe.health })
    return probe
  }

  #changed(since: number): void {
    this.#since = Math.min(this.#since ?? since, since)
    this.#reconciler?.wake()
    this.#outlets.changed(since)
  }

  #healthOfVsms(): Record<string, number> {
    const vsms = [...this.#last.desired].filter(([key]) => key.startsWith('vsms/'))
    return countBy(vsms, ([key, value]) => decode('vsms', key, value).health)
  }

  #counts(): Record<string, number> {
    const snapshot = this.#state?.snapshot
    return {
      container: snapshot?.containers.size ?? 0,
      image: snapshot?.images.length ?? 0,
      network: snapshot?.networks.length ?? 0,
      plugin: snapshot?.plugins.length ?? 0,
      volume: snapshot?.volumes.size ?? 0,
      node: snapshot?.swarm?.nodes.length ?? 0,
      service: snapshot?.swarm?.services.length ?? 0,
      task: snapshot?.swarm?.tasks.length ?? 0,
    }
  }
}

const countBy = <T>(of: readonly T[], group: (one: T) => string): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const one of of) counts[group(one)] = (counts[group(one)] ?? 0) + 1
  return counts
}
