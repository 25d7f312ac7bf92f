const [quote, backslash, brace, bracket, braceEnd, bracketEnd] = [0x22, 0x5c, 0x7b, 0x5b, 0x7d, 0x5d]

/**
 * Cuts a JSON array of objects into the texts of these, as it comes, wherever its chunks end. So of a list of thousands
 * (20 MB for 10,000 containers) only one is held at a time. It checks no more than it needs for that: whoever parses an
 * item finds what is wrong with it.
 */
export class Items {
  /** What came of an item that has not come to its end. */
  #rest: Buffer = Buffer.alloc(0)
  #depth = 0
  #begun = false
  #inText = false
  #escaped = false

  push(chunk: Buffer): string[] {
    const items: string[] = []
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk
    let from = 0
    for (let at = this.#rest.length; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0
      if (this.#inText) {
        if (this.#escaped) this.#escaped = false
        else if (byte === backslash) this.#escaped = true
        else if (byte === quote) this.#inText = false
      } else if (byte === quote) this.#inText = true
      else if (byte === brace || byte === bracket) {
        this.#begun = true
        if (this.#depth++ === 1) from = at
      } else if ((byte === braceEnd || byte === bracketEnd) && --this.#depth === 1)
        items.push(bytes.toString('utf8', from, at + 1))
    }
    this.#rest = this.#depth > 1 ? bytes.subarray(from) : Buffer.alloc(0)
    return items
  }

  /** Whether the array has begun, and come to its end. */
  get whole(): boolean {
    return this.#begun && this.#depth === 0
  }
}
