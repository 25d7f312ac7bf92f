/**
 * Level-triggered work: however often `wake()` is called while a pass runs, exactly one further pass follows.
 * Passes never overlap.
 */
export class Wake {
  #wanted = false
  #resolve: (() => void) | undefined

  wake(): void {
    this.#wanted = true
    this.#resolve?.()
  }

  /** Waits for a wake, at most `ms`; returns true if woken, false on time-out or abort. */
  async next(ms: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#wanted && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#resolve = resolve
      // a longer timer would overflow and fire at once
      const timer = setTimeout(resolve, Math.min(ms, 2 ** 31 - 1))
      signal.addEventListener('abort', resolve as () => void, { once: true })
      await promise
      clearTimeout(timer)
      signal.removeEventListener('abort', resolve as () => void)
      this.#resolve = undefined
    }
    const woken = this.#wanted
    this.#wanted = false
    return woken
  }
}
