import { pause } from '../process/backoff.ts'
import type { Engine } from './engine.ts'

/**
 * Whether the Engine has served its API since this plugin started. Until then it may be restoring containers, which
 * wait for our Mounts and may take longer than usual.
 */
export class Serving {
  /** Resolves when the Engine has answered once, or the signal has fired. */
  readonly once: Promise<void>
  #yet = false

  constructor(engine: Engine, signal: AbortSignal) {
    this.once = this.#ask(engine, signal)
  }

  get yet(): boolean {
    return this.#yet
  }

  async #ask(engine: Engine, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !(await engine.answers())) await pause(200, signal)
    this.#yet = true
  }
}
