/** Which keys come and which go, so that no more than the newest are left. */
export interface Turn {
  readonly enter: readonly string[]
  readonly leave: readonly string[]
}

interface Member {
  readonly key: string
  /** ms of the caller's clock when it has surely expired in the store. */
  readonly ends: number
}

/**
 * The keys of a journal as the store has them: the newest `most`, in order. It only counts and remembers; reading and
 * writing is the caller's.
 */
export class Newest {
  readonly #most: number
  #members: Member[] = []

  constructor(most: number) {
    this.#most = most
  }

  get size(): number {
    return this.#members.length
  }

  /** From the oldest to the newest. */
  get keys(): readonly string[] {
    return this.#members.map(({ key }) => key)
  }

  has(key: string): boolean {
    return this.#members[this.#place(key)]?.key === key
  }

  /** How many sort before this key. */
  before(key: string): number {
    return this.#place(key)
  }

  /** How many are too many: after a start with a lower limit. */
  get excess(): readonly string[] {
    return this.#members.slice(0, Math.max(0, this.#members.length - this.#most)).map(({ key }) => key)
  }

  /**
   * Which of `keys` are to be written, and which present ones to be deleted for them. One that would be the oldest of
   * too many does not enter at all; one that is there already does not enter twice. Changes nothing yet.
   */
  admit(keys: readonly string[]): Turn {
    const fresh = [...new Set(keys)].filter((key) => !this.has(key)).sort()
    const excess = Math.max(0, this.#members.length + fresh.length - this.#most)
    let [skipped, left] = [0, 0]
    while (skipped + left < excess) {
      const oldest = this.#members[left]
      const next = fresh[skipped]
      if (oldest !== undefined && (next === undefined || oldest.key < next)) left++
      else skipped++
    }
    return { enter: fresh.slice(skipped), leave: this.#members.slice(0, left).map(({ key }) => key) }
  }

  /** It was done; what entered has surely expired at `ends`. */
  done({ enter, leave }: Turn, ends: number): void {
    for (const key of leave) {
      const place = this.#place(key)
      if (this.#members[place]?.key === key) this.#members.splice(place, 1)
    }
    for (const key of enter) if (!this.has(key)) this.#members.splice(this.#place(key), 0, { key, ends })
  }

  /** Forgets the oldest ones as far as they have expired: the store has deleted them. */
  expire(now: number): void {
    const first = this.#members.findIndex(({ ends }) => ends > now)
    this.#members.splice(0, first < 0 ? this.#members.length : first)
  }

  /** Where the key stands, or would stand. Keys come nearly in order, so it is looked for from the end. */
  #place(key: string): number {
    let [low, high] = [0, this.#members.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#members[middle]?.key ?? '') < key) low = middle + 1
      else high = middle
    }
    return low
  }
}
