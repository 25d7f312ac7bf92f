import { explain, isFailure } from '../process/failure.ts'

/** The records of an object: their keys, and how their texts are written. */
export type Entries = readonly (readonly [key: string, write: () => string])[]

/** What became of an object that is kept. */
interface Page {
  readonly object: object
  readonly records: readonly (readonly [key: string, value: string | Error])[]
  /** The last pass that had it, and where in it. */
  pass: number
  order: number
}

/**
 * The records of many objects, pass by pass: `begin`, `keep` for each object that is there, `end`. The records of an
 * object that was there before, the very same one, stay as they are, so a pass costs what has changed. Of objects that
 * claim the same key one has it (`lost` tells of the others).
 */
export class Ledger {
  /** Text by key, as of the last `end`. */
  readonly desired = new Map<string, string>()
  /** Why there is no text, by key. */
  readonly refused = new Map<string, string>()
  readonly #pages = new Map<object, Page>()
  readonly #holders = new Map<string, Page>()
  /** Whether several objects claim a key. */
  #contested = false
  /** Claims that were lost to another object, as of the last `end`. */
  readonly lost: { readonly key: string; readonly object: object; readonly to: object }[] = []
  readonly #compare: ((a: object, b: object) => number) | undefined
  #added: Page[] = []
  #pass = 0
  #kept = 0

  /** `compare`: who of those that claim a key has it, the later one; the last of the pass, unless given. */
  constructor(compare?: (a: object, b: object) => number) {
    this.#compare = compare
  }

  begin(): void {
    this.#pass += 1
    this.#kept = 0
    this.#added = []
  }

  keep<T extends object>(object: T, entriesOf: (object: T) => Entries): void {
    let page = this.#pages.get(object)
    if (page?.pass === this.#pass) return
    if (!page) {
      page = { object, records: entriesOf(object).map(written), pass: 0, order: 0 }
      this.#pages.set(object, page)
      this.#added.push(page)
    }
    page.pass = this.#pass
    page.order = this.#kept++
  }

  /** Whether this pass has the object. */
  has(object: object): boolean {
    return this.#pages.get(object)?.pass === this.#pass
  }

  end(): void {
    const removed = this.#kept < this.#pages.size ? this.#turnOut() : []
    for (const [key] of removed.flatMap(({ records }) => records)) this.#strike(key)
    for (const page of this.#added) this.#enter(page)
    // Who has a contested key is a matter of order, and so of the whole pass. There is hardly ever one.
    if (this.#contested) this.#rewrite()
  }

  #strike(key: string): void {
    this.#holders.delete(key)
    this.desired.delete(key)
    this.refused.delete(key)
  }

  /** Forgets the objects that this pass does not have. */
  #turnOut(): Page[] {
    const gone: Page[] = []
    for (const [object, page] of this.#pages)
      if (page.pass !== this.#pass) {
        this.#pages.delete(object)
        gone.push(page)
      }
    return gone
  }

  #enter(page: Page): void {
    for (const [key, value] of page.records) {
      const holder = this.#holders.get(key)
      if (holder && holder !== page) {
        this.#contested = true
        this.lost.push({ key, object: holder.object, to: page.object })
      }
      this.#strike(key)
      this.#holders.set(key, page)
      if (typeof value === 'string') this.desired.set(key, value)
      else this.refused.set(key, explain(value))
    }
  }

  /** All anew, in the order of the pass. */
  #rewrite(): void {
    this.desired.clear()
    this.refused.clear()
    this.#holders.clear()
    this.#contested = false
    this.lost.length = 0
    const compare = this.#compare
    const pages = [...this.#pages.values()].sort(
      (a, b) => (compare?.(a.object, b.object) ?? 0) || a.order - b.order,
    )
    for (const page of pages) this.#enter(page)
  }
}

/** One record that does not fit its schema must not keep the others out. */
const written = ([key, text]: Entries[number]): readonly [string, string | Error] => {
  try {
    return [key, text()]
  } catch (error) {
    if (!isFailure(error)) throw error
    return [key, error]
  }
}
