/** One holder at a time per key, in order of arrival; different keys do not wait for each other. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>()

  isHeld(key: string): boolean {
    return this.#tails.has(key)
  }

  async hold<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    const tail = before.then(() => promise)
    this.#tails.set(key, tail)
    await before
    try {
      return await work()
    } finally {
      resolve()
      if (this.#tails.get(key) === tail) this.#tails.delete(key)
    }
  }
}
