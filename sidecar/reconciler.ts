import { setImmediate as nextTurn } from 'node:timers/promises'
import { isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import { sidecarOf } from '../registry/owner.ts'
import { Publisher, type PublisherHooks } from '../registry/publisher.ts'
import type { Host } from '../registry/records.ts'
import type { Held, Session } from '../registry/session.ts'
import type { Store } from '../registry/store.ts'
import { claimHost } from './claim.ts'
import type { Registrations } from './registrations.ts'

/** How far the way into the store is open. */
export type ReconcilerState =
  | { readonly kind: 'waiting'; readonly reason: string }
  | { readonly kind: 'publishing'; readonly lag: () => number }

/** What the reconciler is to write; undefined as long as the engine has said nothing. */
export type Desired = (Registrations & { readonly host: Host }) | undefined

/**
 * Brings the registry in line with the host: an event, a timer, a new lease, all only wake it. For each lease it
 * first claims the host, then publishes until the lease is lost.
 */
export class Reconciler {
  #store: Store
  #session: Session
  #desired: () => Desired
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
    hooks: PublisherHooks
    log: Log
  }) {
    this.#store = options.store
    this.#session = options.session
    this.#desired = options.desired
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
          this.#wait(`${this.#store.description} has not granted a lease yet`)
          await this.#sessions.next(60_000, signal)
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
    const claimed = await claimHost({ store, lease: held.lease, signal }, first.host, (reason) =>
      this.#wait(reason),
    )
    if (!claimed) {
      this.#session.check()
      await this.#sessions.next(1000, signal)
      return
    }
    const ownership = sidecarOf(first.host.host)
    const publisher = new Publisher({
      store,
      session: this.#session,
      ...ownership,
      hooks: this.#hooks,
      log: this.#log,
    })
    publisher.start(signal)
    this.#state = { kind: 'publishing', lag: () => publisher.lag() }
    this.#log.info({ host: first.host.host, address: first.host.address }, 'registering this host')
    const resync = setInterval(() => publisher.resync(), resyncEvery)
    try {
      this.#wake.wake()
      while (!signal.aborted) {
        await this.#wake.next(60_000, signal)
        await nextTurn() // what arrived in the same turn of the event loop goes into one pass
        const desired = this.#desired()
        if (desired && !signal.aborted) publisher.publish(desired.desired)
      }
    } finally {
      clearInterval(resync)
      await publisher.stop()
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

  #wait(reason: string): void {
    if (this.#state.kind !== 'waiting' || this.#state.reason !== reason) this.#log.info({ reason }, 'waiting')
    this.#state = { kind: 'waiting', reason }
  }
}

/** Drops the lease and with it all records of this host; where the store is away, the TTL does it. */
export const withdraw = async (session: Session, log: Log): Promise<void> => {
  try {
    await session.revoke()
  } catch (error) {
    if (!isFailure(error)) throw error
    log.warn({ reason: error.message }, 'the records could not be withdrawn: they go when their lease ends')
  }
}
