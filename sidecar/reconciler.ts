import { setImmediate as nextTurn } from 'node:timers/promises'
import { pause } from '../process/backoff.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import { sidecarOf } from '../registry/owner.ts'
import { Publisher, type PublisherHooks } from '../registry/publisher.ts'
import type { Host } from '../registry/records.ts'
import type { Held, Session } from '../registry/session.ts'
import type { Store } from '../registry/store.ts'
import { claimHost, isHeldByAnother } from './claim.ts'
import type { Registrations } from './registrations.ts'

/** How far the way into the store is open. `detail` and `trouble` say why, in words that may change from try to try. */
export type ReconcilerState =
  | { readonly kind: 'waiting'; readonly reason: string; readonly detail?: string | undefined }
  | {
      readonly kind: 'publishing'
      readonly lag: () => number
      readonly trouble: () => string | undefined
    }

/** What the reconciler is to write; undefined as long as the engine has said nothing. */
export type Desired =
  | (Registrations & {
      readonly host: Host
      /** When the newest of it came to be known, see Publisher.publish. */
      readonly since?: number | undefined
      /** See unseenKeys. */
      readonly spares: (key: string) => boolean
    })
  | undefined

/**
 * Brings the registry in line with the host: an event, a timer, a new lease, all only wake it. For each lease it
 * first claims the host, then publishes until the lease is lost.
 */
export class Reconciler {
  #store: Store
  #session: Session
  #desired: () => Desired
  #meanwhile: (signal: AbortSignal) => Promise<void>
  #hooks: PublisherHooks
  #log: Log
  #wake = new Wake()
  #sessions = new Wake()
  #state: ReconcilerState = { kind: 'waiting', reason: 'starting' }

  constructor(options: {
    store: Store
    session: Session
    /** Called at every pass. */
    desired: () => Desired
    /** Runs beside the publisher, as long as the host is claimed. */
    meanwhile?: (signal: AbortSignal) => Promise<void>
    hooks: PublisherHooks
    log: Log
  }) {
    this.#store = options.store
    this.#session = options.session
    this.#desired = options.desired
    this.#meanwhile = options.meanwhile ?? (async () => {})
    this.#hooks = options.hooks
    this.#log = options.log
  }

  get state(): ReconcilerState {
    return this.#state
  }

  wake(): void {
    this.#wake.wake()
  }

  /** Runs until the signal fires; compares with the store anew every `resyncEvery` ms. Rejects as claimHost does. */
  async run(signal: AbortSignal, resyncEvery: number): Promise<void> {
    const unsubscribe = this.#session.onChange(() => this.#sessions.wake())
    try {
      while (!signal.aborted) {
        const held = this.#session.current()
        if (held) await this.#serve(held, AbortSignal.any([signal, held.lost]), resyncEvery)
        else {
          this.#wait(`${this.#store.description} has not granted a lease yet`, this.#session.trouble)
          await this.#sessions.next(1000, signal)
        }
      }
    } finally {
      unsubscribe()
    }
  }

  async #serve(held: Held, signal: AbortSignal, resyncEvery: number): Promise<void> {
    const first = await this.#firstDesired(signal)
    if (!first) return
    const store = this.#store
    const claim = await claimHost({ store, lease: held.lease, signal }, first.host, (reason, detail) =>
      this.#wait(reason, detail),
    )
    if (!claim) {
      this.#session.check()
      await this.#sessions.next(1000, signal)
      return
    }
    const ownership = sidecarOf(first.host.host)
    const publisher = new Publisher({
      store,
      session: this.#session,
      ...ownership,
      inherited: claim.inherited,
      isTaken: (entry) => isHeldByAnother(entry, first.host),
      hooks: this.#hooks,
      log: this.#log,
    })
    publisher.start(signal)
    const trouble = () => publisher.trouble ?? this.#session.trouble
    this.#state = { kind: 'publishing', lag: () => publisher.lag(), trouble }
    this.#log.info({ host: first.host.host, address: first.host.address }, 'registering this host')
    try {
      this.#wake.wake()
      const claimed = AbortSignal.any([signal, publisher.taken])
      await Promise.all([this.#feed(publisher, claimed, resyncEvery), this.#meanwhile(claimed)])
    } finally {
      await publisher.stop()
    }
  }

  /** Hands what is desired to the publisher at every wake, and lets it compare anew, with jitter, every so many ms. */
  async #feed(publisher: Publisher, signal: AbortSignal, resyncEvery: number): Promise<void> {
    const next = () => performance.now() + resyncEvery * (0.8 + 0.4 * Math.random())
    let resyncAt = next()
    while (!signal.aborted) {
      const woken = await this.#wake.next(Math.max(0, resyncAt - performance.now()), signal)
      await nextTurn() // what arrived in the same turn of the event loop goes into one pass
      const desired = this.#desired()
      if (desired && !signal.aborted) {
        const { since, spares } = desired
        publisher.publish(desired.desired, { spares, ...(since !== undefined && { since }) })
      }
      if (!woken) {
        publisher.resync()
        resyncAt = next()
      }
      const rest = restAfter(desired?.desired.size ?? 0)
      if (rest > 0) await pause(rest, signal)
    }
  }

  async #firstDesired(signal: AbortSignal): Promise<NonNullable<Desired> | undefined> {
    while (!signal.aborted) {
      const desired = this.#desired()
      if (desired) return desired
      this.#wait('the Docker Engine has not said yet what this host is')
      await this.#wake.next(60_000, signal)
    }
    return undefined
  }

  /** Told once for each reason: a detail may differ from try to try. */
  #wait(reason: string, detail?: string): void {
    if (this.#state.kind !== 'waiting' || this.#state.reason !== reason)
      this.#log.info({ reason, detail }, 'waiting')
    this.#state = { kind: 'waiting', reason, detail }
  }
}

/**
 * ms until the next pass, after one over so many records. A pass goes through all of them: while thousands of containers
 * are looked at for the first time, passes must not take the time that the looks need. For a host with few records
 * nothing waits.
 */
const restAfter = (records: number): number => (records < 400 ? 0 : Math.min(250, records / 100))
