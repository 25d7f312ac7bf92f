/** Notes when something arrived for the first time since it was last forgotten. */
export class Arrivals {
  #at = new Map<string, number>()
  #waiting = new Map<string, (at: number) => void>()

  note(what: string, at: number): void {
    if (this.#at.has(what)) return
    this.#at.set(what, at)
    this.#waiting.get(what)?.(at)
    this.#waiting.delete(what)
  }

  forget(what: string): void {
    this.#at.delete(what)
  }

  /** Resolves with the time at which it arrived; undefined after `ms`. */
  async when(what: string, ms: number): Promise<number | undefined> {
    const at = this.#at.get(what)
    if (at !== undefined) return at
    const { promise, resolve } = Promise.withResolvers<number | undefined>()
    this.#waiting.set(what, resolve)
    const timer = setTimeout(() => resolve(undefined), ms)
    return promise.finally(() => clearTimeout(timer))
  }
}
