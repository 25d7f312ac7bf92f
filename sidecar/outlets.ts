import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import type { Backend, OnExit, OpenBackend, Wanted } from '../registry/backend.ts'
import type { Host } from '../registry/records.ts'
import type { Session } from '../registry/session.ts'
import type { View } from '../registry/views/view.ts'
import type { Probe } from '../vsm/probe.ts'
import type { HostSnapshot } from './snapshot.ts'
import { createViewEntries, type ViewEntries, type ViewRules } from './view-entries.ts'

/** ms until what another holds is looked at again: when it is free nobody tells. */
const lookAgain = 3000

/** A view, and where it is kept. */
export interface Outlet {
  /** For people, logs and metrics: "skydns". */
  readonly name: string
  readonly view: View
  /** Opens what it is kept in, once the host's name is known. `session`: the registry's, where there is one. */
  open(host: string, session: Session | undefined): Promise<OpenBackend>
}

/** What entries are made of. */
export interface Look {
  readonly snapshot: Pick<HostSnapshot, 'containers' | 'missing'>
  /** The same object as long as it says the same. */
  readonly host: Host
  readonly answer: (probeKey: string) => Probe | undefined
}

export interface OutletsOptions {
  readonly outlets: readonly Outlet[]
  readonly rules: ViewRules
  /** Undefined as long as the engine has said nothing. */
  readonly look: () => Look | undefined
  readonly onExit: OnExit
  /** ms. */
  readonly resyncEvery: number
  readonly log: Log
}

/** The outlets of one host: each in line with the host, and none holds up another. */
export class Outlets {
  readonly #options: OutletsOptions
  readonly #wakes: ReadonlyMap<Outlet, Wake>
  readonly #entriesOf: ReadonlyMap<Outlet, ReturnType<typeof createViewEntries>>
  /** When the oldest change came that has not been handed over to the outlet yet. */
  readonly #since = new Map<Outlet, number>()
  readonly #backends = new Map<Outlet, Backend>()
  readonly #refused = new Map<Outlet, ReadonlySet<string>>()
  /** Those that have been in line once. */
  readonly #begun = new Set<Outlet>()

  constructor(options: OutletsOptions) {
    this.#options = options
    const { outlets, rules } = options
    this.#wakes = new Map(outlets.map((outlet) => [outlet, new Wake()]))
    this.#entriesOf = new Map(outlets.map((outlet) => [outlet, createViewEntries(outlet.view, rules)]))
  }

  /** Something of the host is other than before, since this time of the monotonic clock. */
  changed(since: number): void {
    for (const [outlet, wake] of this.#wakes) {
      this.#since.set(outlet, Math.min(this.#since.get(outlet) ?? since, since))
      wake.wake()
    }
  }

  /** What stands in the way of each, a sentence each; `patience`: ms that one may be behind. */
  missing(patience: number): readonly string[] {
    return this.#options.outlets.flatMap((outlet) => {
      const backend = this.#backends.get(outlet)
      if (!backend) return [`${outlet.name}: not opened yet`]
      const why = backend.trouble === undefined ? '' : `: ${backend.trouble}`
      if (this.#isInLine(outlet)) this.#begun.add(outlet)
      if (backend.lag() <= patience)
        return this.#begun.has(outlet)
          ? []
          : [`${outlet.name}: ${backend.description}: not written yet${why}`]
      return [
        `${outlet.name}: ${backend.description} is behind by ${Math.round(backend.lag() / 1000)} s${why}`,
      ]
    })
  }

  /** Whether each is in line with the host. */
  get settled(): boolean {
    return this.#options.outlets.every((outlet) => this.#isInLine(outlet))
  }

  #isInLine(outlet: Outlet): boolean {
    const backend = this.#backends.get(outlet)
    // before the first word of the Engine nothing is behind
    return this.#refused.has(outlet) && backend?.trouble === undefined && backend?.lag() === 0
  }

  /** Why one of them is behind; undefined when none is, or none says. */
  get trouble(): string | undefined {
    for (const backend of this.#backends.values()) if (backend.trouble !== undefined) return backend.trouble
    return undefined
  }

  /** What a layout cannot carry, and what others hold. */
  warnings(): readonly string[] {
    return this.#options.outlets.flatMap((outlet) => [
      ...[...(this.#refused.get(outlet) ?? [])].map((reason) => `${outlet.name}: ${reason}`),
      ...(this.#backends.get(outlet)?.held ?? []).map((key) => `${outlet.name}: ${key} is held by another`),
    ])
  }

  /** For metrics, by name of the outlet: seconds behind. */
  lags(): Record<string, number> {
    return this.#each((backend) => backend.lag() / 1000)
  }

  refusals(): Record<string, number> {
    return Object.fromEntries([...this.#refused].map(([{ name }, reasons]) => [name, reasons.size]))
  }

  /** Runs until the signal fires, then withdraws or leaves what was written. Rejects for a bug alone. */
  async run(host: string, session: Session | undefined, signal: AbortSignal): Promise<void> {
    const failed = new AbortController()
    const until = AbortSignal.any([signal, failed.signal])
    const parts = this.#options.outlets.map((outlet) => this.#serve(outlet, host, session, until))
    try {
      await Promise.all(parts)
    } finally {
      failed.abort()
      await Promise.allSettled(parts)
    }
  }

  async #serve(
    outlet: Outlet,
    host: string,
    session: Session | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { onExit, log } = this.#options
    const { backend, close } = await outlet.open(host, session)
    this.#backends.set(outlet, backend)
    log.info({ view: outlet.name }, `registering this host in ${backend.description}`)
    try {
      this.#wakes.get(outlet)?.wake()
      await Promise.all([backend.run(signal, onExit), this.#feed(outlet, backend, signal)])
    } finally {
      await close(onExit)
    }
  }

  async #feed(outlet: Outlet, backend: Backend, signal: AbortSignal): Promise<void> {
    const { resyncEvery } = this.#options
    const wake = this.#wakes.get(outlet) ?? new Wake()
    const next = () => performance.now() + resyncEvery * (0.8 + 0.4 * Math.random())
    let resyncAt = next()
    while (!signal.aborted) {
      const rest = Math.max(0, resyncAt - performance.now())
      const woken = await wake.next(Math.min(rest, lookAgain), signal)
      const isDue = performance.now() >= resyncAt
      if (!woken && !isDue && !backend.waits) continue
      await nextTurn() // what arrived in the same turn of the event loop goes into one pass
      if (signal.aborted) return
      const wanted = this.#wanted(outlet)
      if (!woken || isDue) {
        backend.resync()
        if (isDue) resyncAt = next()
      }
      if (wanted) {
        this.#tellRefused(outlet, wanted.entries.refused)
        backend.publish(wanted.entries.desired, wanted)
      }
    }
  }

  #wanted(outlet: Outlet): ({ readonly entries: ViewEntries } & Wanted) | undefined {
    const look = this.#options.look()
    const entriesOf = this.#entriesOf.get(outlet)
    if (!look || !entriesOf) return undefined
    const { snapshot, host, answer } = look
    const since = this.#since.get(outlet)
    this.#since.delete(outlet)
    return { entries: entriesOf(snapshot, host, answer), since, partial: snapshot.missing.has('container') }
  }

  #tellRefused(outlet: Outlet, refused: ReadonlySet<string>): void {
    const known = this.#refused.get(outlet)
    for (const reason of refused)
      if (!known?.has(reason)) this.#options.log.warn({ view: outlet.name, reason }, 'left out')
    this.#refused.set(outlet, refused)
  }

  #each(read: (backend: Backend) => number): Record<string, number> {
    return Object.fromEntries([...this.#backends].map(([{ name }, backend]) => [name, read(backend)]))
  }
}
