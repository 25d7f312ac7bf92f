import { isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import type { Backend, OnExit, Wanted } from './backend.ts'
import type { Desired } from './diff.ts'
import { Publisher, type PublisherHooks } from './publisher.ts'
import type { Session } from './session.ts'
import type { Entry, Lease, Store } from './store.ts'
import type { View } from './views/view.ts'

interface PublishedOptions {
  /** Its keys begin at the view's root. */
  readonly store: Store
  /** Whose lease the entries are on. It is started and ended by its owner. */
  readonly session: Session
  readonly view: Pick<View, 'owns' | 'groupOf' | 'shares'>
  readonly host: string
  readonly hooks?: PublisherHooks
  readonly log?: Pick<Log, 'info' | 'warn'>
}

/**
 * A view in a store with leases: the publisher of the registry, on the same lease. Most keys of a view tell by their form whose they
 * are. Of those that do not (a SERVICE_ID of the user's) the lease tells: what stands there on another lease is left to whoever
 * holds it, and taken when it is gone. Only at the start of a lease what stands there just as we want it is taken over at once: it
 * may be our own earlier run's, which nobody renews.
 */
export class Published implements Backend {
  readonly description: string
  readonly #publisher: Publisher
  readonly #session: Session
  #wanted: Desired = new Map()
  /** All that was ever wanted, and may still stand. */
  readonly #known = new Set<string>()
  #held: readonly string[] = []
  #waits = false
  /** The lease under which all that is wanted has stood once. */
  #begun: string | undefined
  #beginning = false
  readonly #log: Pick<Log, 'info' | 'warn'> | undefined

  constructor({ store, session, view, host, hooks, log }: PublishedOptions) {
    this.description = store.description
    this.#session = session
    this.#log = log
    const { groupOf, shares } = view
    this.#publisher = new Publisher({
      store,
      session,
      prefixes: [],
      shared: [''],
      owns: (key) => this.#known.has(key) || view.owns(key, host),
      yields: (entry, value, lease) => !view.owns(entry.key, host) && this.#isAnothers(entry, value, lease),
      // another host's end frees what both want: that is to be noticed at once
      ...(shares && { follows: [''] }),
      ...(groupOf && { groupOf }),
      hooks: {
        ...hooks,
        yielded: (entries) => {
          this.#waits = entries.some(({ key }) => !shares?.(key))
          this.#tellHeld(
            entries.filter(({ key, value }) => this.#wanted.get(key) !== value).map(({ key }) => key),
          )
        },
      },
      ...(log && { log }),
    })
  }

  get trouble(): string | undefined {
    return this.#publisher.trouble ?? this.#session.trouble
  }

  get waits(): boolean {
    return this.#waits
  }

  get held(): readonly string[] {
    return this.#held
  }

  publish(desired: Desired, { since, partial = false }: Wanted = {}): void {
    this.#wanted = desired
    for (const key of desired.keys()) this.#known.add(key)
    this.#publisher.publish(desired, { spares: () => partial, ...(since !== undefined && { since }) })
    if (!partial && !this.#beginning) void this.#begin()
  }

  resync(): void {
    // what was deleted by now need not be known for ever
    if (this.lag() === 0) for (const key of this.#known) if (!this.#wanted.has(key)) this.#known.delete(key)
    this.#publisher.resync()
  }

  lag(): number {
    return this.#publisher.lag()
  }

  /** The entries go with the session's lease, which its owner ends; `keep` leaves them to it. */
  async run(signal: AbortSignal, _onExit?: OnExit): Promise<void> {
    this.#publisher.start(signal)
    const { promise, resolve } = Promise.withResolvers<void>()
    signal.addEventListener('abort', () => resolve(), { once: true })
    if (!signal.aborted) await promise
    await this.#publisher.stop()
  }

  #isAnothers(entry: Entry, value: string | undefined, lease: Lease): boolean {
    if (entry.lease === lease.id) return false
    return entry.value !== value || this.#begun === lease.id
  }

  /** From the first state on that is whole, what stands on another lease is no earlier run's of ours. */
  async #begin(): Promise<void> {
    this.#beginning = true
    try {
      await this.#publisher.settled()
      this.#begun = this.#session.current()?.lease.id
    } catch (error) {
      // it stops
      if (!isFailure(error, 'unavailable')) throw error
    } finally {
      this.#beginning = false
    }
  }

  #tellHeld(keys: readonly string[]): void {
    const fresh = keys.filter((key) => !this.#held.includes(key))
    this.#held = keys
    if (fresh.length > 0)
      this.#log?.warn({ keys: fresh.slice(0, 3), count: fresh.length }, 'held by another, and left to it')
  }
}
