const [quote, backslash] = [0x22, 0x5c]
const [brace, bracket, braceEnd, bracketEnd] = [0x7b, 0x5b, 0x7d, 0x5d]

/**
 * Cuts a JSON array of objects into these, as it comes, wherever its chunks end. So of a list of thousands
 * (20 MB for 10,000 containers) only one is held at a time. It checks no more than it needs for that: whoever parses an
 * item finds what is wrong with it.
 */
export class Items {
  /** What came of an item that has not come to its end. */
  #rest: Buffer[] = []
  #depth = 0
  #begun = false
  #inText = false
  #escaped = false

  /** The items that end in this chunk: parts of it, or copies. */
  push(chunk: Buffer): Buffer[] {
    const items: Buffer[] = []
    let from = 0
    // A list of 1,000 containers has two million bytes, nearly all of them inside texts: so as simple as can be, and in
    // variables, it takes a quarter of the time.
    let [depth, inText] = [this.#depth, this.#inText]
    // what a backslash stands before is passed over
    let at = this.#escaped ? 1 : 0
    while (at < chunk.length) {
      let byte = chunk[at]
      if (inText) {
        while (byte !== quote && byte !== backslash && ++at < chunk.length) byte = chunk[at]
        if (byte === quote) inText = false
        at += byte === backslash ? 2 : 1
        continue
      }
      if (byte === quote) inText = true
      else if (byte === brace || byte === bracket) {
        this.#begun = true
        if (depth++ === 1) from = at
      } else if ((byte === braceEnd || byte === bracketEnd) && --depth === 1)
        items.push(this.#whole(chunk.subarray(from, at + 1)))
      at += 1
    }
    this.#escaped = inText && at > chunk.length && chunk.at(-1) === backslash
    this.#depth = depth
    this.#inText = inText
    if (depth > 1) this.#rest.push(chunk.subarray(from))
    return items
  }

  #whole(end: Buffer): Buffer {
    if (this.#rest.length === 0) return end
    const item = Buffer.concat([...this.#rest, end])
    this.#rest = []
    return item
  }

  /** Whether the array has begun, and come to its end. */
  get whole(): boolean {
    return this.#begun && this.#depth === 0
  }
}
