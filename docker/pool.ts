/** How many different values a pool knows before it starts anew: what it forgets is only not shared any more. */
const most = 512

/** Gives equal values as one and the same, so that they take their memory once. */
export class Pool<T> {
  #key: (value: T) => string
  #known = new Map<string, T>()

  constructor(key: (value: T) => string) {
    this.#key = key
  }

  share(value: T): T {
    const key = this.#key(value)
    const known = this.#known.get(key)
    if (known !== undefined) return known
    if (this.#known.size >= most) this.#known.clear()
    this.#known.set(key, value)
    return value
  }
}
