import { backoff } from '../process/backoff.ts'
import { isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import { follow } from '../registry/follow.ts'
import { decode, keys } from '../registry/keys.ts'
import type { GuardState } from '../registry/records.ts'
import type { Revision, Store } from '../registry/store.ts'

/** ms between two looks where no watch tells of a change. */
const lookEvery = 60_000

/** How the guard of this host's plugin stands, as the plugin says in the registry: what was read last. */
export class GuardView {
  readonly #log: Pick<Log, 'warn'>
  readonly #wake = new Wake()
  #state: GuardState | undefined
  #revision: Revision | undefined

  constructor(log: Pick<Log, 'warn'>) {
    this.#log = log
  }

  /** Undefined where no plugin lives, or one that says nothing of its guard. */
  get state(): GuardState | undefined {
    return this.#state
  }

  /** What an operator is to know, a sentence each. */
  get warnings(): readonly string[] {
    if (this.#state?.policy !== 'refused') return []
    return [
      `the guard refuses the policy in the registry and goes on by what it had: ${this.#state.reason ?? ''}`,
    ]
  }

  /** Follows it until the signal fires, whatever happens to the store. */
  async run(store: Store, host: string, signal: AbortSignal): Promise<void> {
    const key = keys.alive(host)
    const following = follow(store, key, {
      from: () => this.#revision,
      heard: () => this.#wake.wake(),
      lost: () => {
        this.#revision = undefined
        this.#wake.wake()
      },
      signal,
    })
    const looking = async () => {
      for (let failures = 0; !signal.aborted; ) {
        failures = (await this.#look(store, key)) ? 0 : failures + 1
        await this.#wake.next(failures > 0 ? backoff(failures) : lookEvery, signal)
      }
    }
    await Promise.all([following, looking()])
  }

  /** Returns whether the store could be asked. */
  async #look(store: Store, key: string): Promise<boolean> {
    try {
      const { entries, revision } = await store.readKeys([key])
      this.#state = entries[0] && this.#read(key, entries[0].value)
      this.#revision = revision
      return true
    } catch (error) {
      if (!isFailure(error)) throw error
      return false
    }
  }

  #read(key: string, value: string): GuardState | undefined {
    try {
      return decode('alive', key, value).guard
    } catch (error) {
      if (!isFailure(error, 'invalid')) throw error
      this.#log.warn({ key, reason: error.message }, 'how the guard stands cannot be read')
      return undefined
    }
  }
}
