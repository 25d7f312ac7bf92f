import { isDeepStrictEqual } from 'node:util'
import { backoff } from '../process/backoff.ts'
import type { Probe } from '../vsm/probe.ts'

/** How often what gives no event is looked at, in ms. */
export const steady = 10_000

/** Times in ms. */
export interface ProberLimits {
  /** Until a portal that has answered is asked again, and at most until one that has not. */
  readonly steady: number
  /** Until one that has not answered is asked again, for the first time; it doubles from there on, with jitter. */
  readonly retry: number
  /** How many are asked at the same time. One that hangs takes up to 5 s for each question. */
  readonly atOnce: number
}
const usual: ProberLimits = { steady, retry: 1000, atOnce: 4 }

interface Asked {
  readonly key: string
  readonly portal: string
  probe?: Probe
  failures: number
  timer?: NodeJS.Timeout
}

/**
 * Keeps asking portals, a few at a time, and remembers their answers. What is to be asked is said as a whole each time:
 * a key that is new is asked at once, one that is no longer there is forgotten, with an answer that may still come.
 */
export class Prober {
  #ask: (portal: string, signal: AbortSignal) => Promise<Probe>
  #changed: () => void
  #signal: AbortSignal
  #asked = new Map<string, Asked>()
  #queue: Asked[] = []
  #limits: ProberLimits
  #running = 0

  constructor(
    ask: (portal: string, signal: AbortSignal) => Promise<Probe>,
    changed: () => void,
    signal: AbortSignal,
    limits = usual,
  ) {
    this.#limits = limits
    this.#ask = ask
    this.#changed = changed
    this.#signal = signal
    signal.addEventListener('abort', () => this.follow(new Map()), { once: true })
  }

  /** `portals` by a key that differs for every start of a container. */
  follow(portals: ReadonlyMap<string, string>): void {
    for (const [key, asked] of this.#asked)
      if (portals.get(key) !== asked.portal) {
        clearTimeout(asked.timer)
        this.#asked.delete(key)
      }
    for (const [key, portal] of portals)
      if (!this.#asked.has(key)) {
        const asked: Asked = { key, portal, failures: 0 }
        this.#asked.set(key, asked)
        this.#queue.push(asked)
      }
    this.#pump()
  }

  /** The last answer, or undefined before the first. */
  answer(key: string): Probe | undefined {
    return this.#asked.get(key)?.probe
  }

  #pump(): void {
    while (this.#running < this.#limits.atOnce && !this.#signal.aborted) {
      const asked = this.#queue.shift()
      if (!asked) return
      if (this.#asked.get(asked.key) === asked) void this.#visit(asked)
    }
  }

  async #visit(asked: Asked): Promise<void> {
    this.#running++
    const probe = await this.#ask(asked.portal, this.#signal)
    this.#running--
    if (this.#asked.get(asked.key) === asked) {
      const differs = !isDeepStrictEqual(probe, asked.probe)
      asked.probe = probe
      asked.failures = probe.health === 'unhealthy' ? asked.failures + 1 : 0
      asked.timer = setTimeout(() => {
        this.#queue.push(asked)
        this.#pump()
      }, this.#pauseAfter(asked.failures))
      if (differs) this.#changed()
    }
    this.#pump()
  }

  #pauseAfter(failures: number): number {
    const { steady, retry } = this.#limits
    return failures === 0 ? steady : backoff(failures - 1, retry, steady)
  }
}
