import { pause } from '../process/backoff.ts'
import { explain } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import type { Way } from './attach.ts'
import { type Health, type Holder, judge } from './volume-health.ts'

/** ms between two looks at a volume, and those after which what was seen is no longer told. */
const lookEvery = 10_000
const forgetAfter = 3 * lookEvery

/** What is told of a volume, as docker shows it under Status. */
export type Seen = Partial<Health> & { attach?: Way; used?: number }

/** What was found at a time of the clock. */
interface Dated<T> {
  found: T
  at: number
}

export interface Sources {
  /** Names of the volumes that are attached to this host. */
  attached: () => string[]
  served: (volume: string) => Promise<{ since: number; way: Way } | undefined>
  used: (volume: string) => Promise<number>
  holders: (volume: string) => Promise<Holder[]>
}

/**
 * Looks at the attached volumes in the background, so that Get is answered from memory: a mount may hang, and an Engine
 * that restores containers answers no question. What was seen half a minute ago is no longer told.
 */
export class Observer {
  readonly #sources: Sources
  readonly #log: Log
  readonly #clock: () => number
  /** With the time since which the mount that was seen is served. */
  readonly #health = new Map<
    string,
    Dated<{ health: Health; since?: number | undefined; way?: Way | undefined }>
  >()
  readonly #used = new Map<string, Dated<number>>()
  /** One look at a time of each kind and volume: one that hangs is not joined by others. */
  readonly #underWay = new Set<string>()

  constructor(sources: Sources, log: Log, clock = () => performance.now()) {
    this.#sources = sources
    this.#log = log
    this.#clock = clock
  }

  /** Looks until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const attached = this.#sources.attached()
      for (const volume of attached) this.look(volume)
      for (const seen of [this.#health, this.#used])
        for (const volume of seen.keys()) if (!attached.includes(volume)) seen.delete(volume)
      await pause(lookEvery, signal)
    }
  }

  /** What was seen last; from memory. */
  seen(volume: string): Seen {
    const { health, way } = this.#told(this.#health.get(volume)) ?? {}
    const used = this.#told(this.#used.get(volume))
    return { ...(way && { attach: way }), ...health, ...(used !== undefined && { used }) }
  }

  #told<T>(seen: Dated<T> | undefined): T | undefined {
    return seen && this.#clock() - seen.at < forgetAfter ? seen.found : undefined
  }

  /** Begins a look, and waits for nothing. */
  look(volume: string): void {
    this.#once(`health of ${volume}`, () => this.#lookAtHealth(volume))
  }

  #once(what: string, work: () => Promise<void>): void {
    if (this.#underWay.has(what)) return
    this.#underWay.add(what)
    void work()
      .catch((error: unknown) => this.#log.debug({ reason: explain(error) }, `could not look at the ${what}`))
      .finally(() => this.#underWay.delete(what))
  }

  async #lookAtHealth(volume: string): Promise<void> {
    const { since, way } = (await this.#sources.served(volume)) ?? {}
    const before = this.#health.get(volume)?.found
    // nobody can have come to hold an older mount than this one: the Engine need not be asked
    const isSame = before?.health.health === 'healthy' && before.since === since
    const health = isSame ? before.health : judge(since, await this.#sources.holders(volume))
    this.#health.set(volume, { found: { health, since, way }, at: this.#clock() })
    if (since === undefined) this.#used.delete(volume)
    else this.#once(`use of ${volume}`, () => this.#lookAtUse(volume))
  }

  async #lookAtUse(volume: string): Promise<void> {
    this.#used.set(volume, { found: await this.#sources.used(volume), at: this.#clock() })
  }
}
