import { pause } from '../../../process/backoff.ts'
import { isFailure } from '../../../process/failure.ts'
import { Wake } from '../../../process/wake.ts'
import { type ConsulClient, pathPart } from './client.ts'

/** Seconds that a question stays open. */
const open = 60
/** ms until the first one. Each loss makes a new session: who fights over a registration with another hand does so at leisure. */
const calm = 2000

/**
 * Keeps an eye on one registration of ours, by a question that Consul answers when it changes: when the agent has come back without
 * its data, all are gone, and nothing else would tell before the next comparison.
 */
export class Presence {
  readonly #client: ConsulClient
  readonly #signal: AbortSignal
  readonly #lost: () => void
  readonly #wake = new Wake()
  #id: string | undefined
  #round = new AbortController()

  /** `lost` is told when it is gone, or another hand has changed it. */
  constructor(client: ConsulClient, signal: AbortSignal, lost: () => void) {
    this.#client = client
    this.#signal = signal
    this.#lost = lost
  }

  /** Which one is looked at; undefined: none. The one that is looked at is given again when we have changed it. */
  look(id: string | undefined): void {
    this.#id = id
    this.#round.abort()
    this.#wake.wake()
  }

  get looksAt(): string | undefined {
    return this.#id
  }

  /** Until the signal fires. */
  async run(): Promise<void> {
    await pause(calm, this.#signal)
    while (!this.#signal.aborted) {
      this.#round = new AbortController()
      const until = AbortSignal.any([this.#signal, this.#round.signal])
      if (this.#id === undefined) await this.#wake.next(2 ** 31 - 1, this.#signal)
      else await this.#watch(this.#id, until)
    }
  }

  async #watch(id: string, until: AbortSignal): Promise<void> {
    let hash = ''
    while (!until.aborted) {
      const waiting = hash === '' ? '' : `?hash=${pathPart(hash)}&wait=${open}s`
      try {
        const answer = await this.#client.call('GET', `/v1/agent/service/${pathPart(id)}${waiting}`, {
          signal: until,
          ...(hash !== '' && { ms: (open + 10) * 1000 }),
        })
        const { ContentHash: now = '' } = (answer ?? {}) as { ContentHash?: string }
        if (until.aborted) return
        if (hash !== '' && now !== hash) this.#lost()
        hash = now
        // an agent that gives no such hash would be asked without end
        if (hash === '') await pause(open * 1000, until)
      } catch (error) {
        if (!isFailure(error)) throw error
        if (until.aborted) return
        // an older Consul does not know the question
        if (isFailure(error, 'not-found') && /unknown service/i.test(error.message)) this.#lost()
        hash = ''
        await pause(isFailure(error, 'unavailable') ? 1000 : open * 1000, until)
      }
    }
  }
}
