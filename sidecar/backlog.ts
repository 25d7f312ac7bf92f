/** An entry on its way into the journal, by the last part of its key: they sort by time. */
export interface Waiting {
  readonly key: string
}

/** What did not fit: all between two entries. */
export interface Lost {
  readonly count: number
  /** Keys of the first and the last one. */
  readonly from: string
  readonly to: string
}

/**
 * A bounded queue that loses its middle: the oldest tell how the trouble began, the newest how things stand. In the place
 * of what is lost stands an entry that says so.
 */
export class Backlog<T extends Waiting> {
  readonly #most: number
  readonly #instead: (lost: Lost) => T
  #head: T[] = []
  #tail: T[] = []
  #lost: Lost | undefined

  /** `most` from 2 on. */
  constructor(most: number, instead: (lost: Lost) => T) {
    this.#most = most
    this.#instead = instead
  }

  get length(): number {
    return this.#head.length + this.#tail.length + (this.#lost ? 1 : 0)
  }

  /** Returns how many entries were lost for it: 1 or none. */
  push(entry: T): number {
    if (!this.#lost && this.#head.length < this.#most) {
      this.#head.push(entry)
      return 0
    }
    if (!this.#lost) this.#tail = this.#head.splice(this.#most >>> 1)
    this.#tail.push(entry)
    const gone = this.#tail.shift() ?? entry
    const { count, from, to } = this.#lost ?? { count: 0, from: gone.key, to: gone.key }
    const keys = [from, to, gone.key].sort()
    this.#lost = { count: count + 1, from: keys.at(0) ?? from, to: keys.at(-1) ?? to }
    return 1
  }

  /** Puts before all others what happened before them. */
  unshift(entries: readonly T[]): void {
    this.#head.unshift(...entries)
  }

  /** The next `count` entries, which stay. */
  peek(count: number): readonly T[] {
    if (this.#head.length === 0 && this.#lost) {
      this.#head = [this.#instead(this.#lost), ...this.#tail]
      this.#tail = []
      this.#lost = undefined
    }
    return this.#head.slice(0, count)
  }

  /** Removes the next `count` entries. */
  drop(count: number): void {
    this.#head.splice(0, count)
  }

  /** Removes and returns all. */
  clear(): readonly T[] {
    const all: T[] = []
    while (this.length > 0) {
      all.push(...this.peek(1000))
      this.drop(1000)
    }
    return all
  }
}
