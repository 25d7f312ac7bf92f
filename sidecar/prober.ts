import { backoff } from '../process/backoff.ts'
import type { Probe } from '../vsm/probe.ts'

/** Asked again after this long (ms) once it has answered; an unhealthy portal sooner, with growing pauses. */
const steady = 10_000

interface Asked {
  readonly portal: string
  probe?: Probe
  failures: number
  timer?: NodeJS.Timeout
}

/**
 * Keeps asking portals, two at a time, and remembers their answers. What is to be asked is said as a whole each time:
 * a key that is new is asked at once, one that is no longer there is forgotten, with an answer that may still come.
 */
export class Prober {
  #ask: (portal: string, signal: AbortSignal) => Promise<Probe>
  #changed: () => void
  #signal: AbortSignal
  #asked = new Map<string, Asked>()
  #queue: string[] = []
  #running = 0

  constructor(
    ask: (portal: string, signal: AbortSignal) => Promise<Probe>,
    changed: () => void,
    signal: AbortSignal,
  ) {
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
        this.#asked.set(key, { portal, failures: 0 })
        this.#queue.push(key)
      }
    this.#pump()
  }

  /** The last answer, or undefined before the first. */
  answer(key: string): Probe | undefined {
    return this.#asked.get(key)?.probe
  }

  #pump(): void {
    while (this.#running < 2 && this.#queue.length > 0 && !this.#signal.aborted) {
      const key = this.#queue.shift()
      const asked = key === undefined ? undefined : this.#asked.get(key)
      if (key === undefined || !asked) continue
      this.#running++
      void this.#visit(key, asked)
    }
  }

  async #visit(key: string, asked: Asked): Promise<void> {
    const probe = await this.#ask(asked.portal, this.#signal)
    this.#running--
    if (this.#asked.get(key) === asked) {
      const differs = JSON.stringify(probe) !== JSON.stringify(asked.probe)
      asked.probe = probe
      asked.failures = probe.health === 'unhealthy' ? asked.failures + 1 : 0
      const wait = asked.failures ? backoff(asked.failures, 500, steady) : steady
      asked.timer = setTimeout(() => {
        this.#queue.push(key)
        this.#pump()
      }, wait)
      if (differs) this.#changed()
    }
    this.#pump()
  }
}
