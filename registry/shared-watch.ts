import { Failure } from '../process/failure.ts'
import { revisionOf } from './observe.ts'
import type { Event, Revision, Snapshot, Store } from './store.ts'

/** Characters of keys and values that are kept for readers that lag behind. */
const room = 4 * 2 ** 20

interface Batch {
  /** Of its first event. */
  readonly first: bigint
  /** Of its last event. */
  readonly revision: bigint
  readonly events: readonly Event[]
  readonly size: number
}

/**
 * A store's watch for many readers: those of one prefix share one watch of the store, which ends with its last reader.
 * What it said last is kept for them all, `most` characters of it; nothing is kept a reader. A reader that falls
 * behind what is kept is refused (`denied`), and may begin anew from the last revision it has: as one that begins
 * where no running watch reaches back to, it gets a watch of its own. So does one that begins where the store is not
 * known to have come yet: its revision may be of data that the store has lost, and only a new watch finds that.
 */
export class SharedWatch {
  readonly #store: Pick<Store, 'read' | 'watch'>
  readonly #most: number
  readonly #feeds = new Set<Feed>()

  constructor(store: Pick<Store, 'read' | 'watch'>, most = room) {
    this.#store = store
    this.#most = most
  }

  /** How many watches of the store are open. */
  get open(): number {
    return this.#feeds.size
  }

  /** As Store.read. Whoever reads first can then share a watch that runs. */
  async read(prefix: string): Promise<Snapshot> {
    const feeds = [...this.#feeds]
    const snapshot = await this.#store.read(prefix)
    for (const feed of feeds) feed.saw(snapshot.revision)
    return snapshot
  }

  /** As Store.watch. */
  async *watch(prefix: string, from: Revision, signal: AbortSignal): AsyncGenerator<readonly Event[]> {
    const position = BigInt(from)
    const fitting = [...this.#feeds].find((feed) => feed.prefix === prefix && feed.reaches(position))
    const feed = fitting ?? new Feed(this.#store, prefix, from, this.#most)
    this.#feeds.add(feed)
    try {
      yield* feed.read(position, signal)
    } finally {
      if (feed.readers === 0) {
        feed.stop()
        this.#feeds.delete(feed)
      }
    }
  }
}

/** One watch of the store, and the last of what it said. */
class Feed {
  readonly prefix: string
  readers = 0
  readonly #most: number
  readonly #stop = new AbortController()
  readonly #waiting = new Set<() => void>()
  #kept: Batch[] = []
  #size = 0
  /** All after this revision is kept. */
  #begin: bigint
  /** The store has come so far, since the watch began. */
  #seen: bigint
  #ended: { readonly error?: unknown } | undefined

  constructor(store: Pick<Store, 'watch'>, prefix: string, from: Revision, most: number) {
    this.prefix = prefix
    this.#most = most
    this.#begin = BigInt(from)
    this.#seen = this.#begin
    void this.#run(store.watch(prefix, from, this.#stop.signal))
  }

  /** Whether a reader can go on from here. */
  reaches(position: bigint): boolean {
    return this.#ended === undefined && position >= this.#begin && position <= this.#seen
  }

  saw(revision: Revision): void {
    if (BigInt(revision) > this.#seen) this.#seen = BigInt(revision)
  }

  async *read(from: bigint, signal: AbortSignal): AsyncGenerator<readonly Event[]> {
    this.readers += 1
    try {
      let position = from
      while (!signal.aborted) {
        if (position < this.#begin)
          throw new Failure('denied', 'too slow: what follows is no longer kept here, begin from the last id')
        const next = this.#kept[this.#kept.findLastIndex(({ revision }) => revision <= position) + 1]
        if (next) {
          // it may have begun in the middle of this batch
          const events = next.first > position ? next.events : next.events.filter(isAfter(position))
          position = next.revision
          yield events
        } else if (this.#ended) {
          if ('error' in this.#ended) throw this.#ended.error
          return
        } else await this.#news(signal)
      }
    } finally {
      this.readers -= 1
    }
  }

  stop(): void {
    this.#stop.abort()
  }

  async #run(watch: AsyncIterable<readonly Event[]>): Promise<void> {
    try {
      for await (const events of watch) this.#keep(events)
      this.#ended = {}
    } catch (error) {
      this.#ended = { error } // for the readers, who have the rest to read first
    }
    this.#wake()
  }

  #keep(events: readonly Event[]): void {
    const [first] = events
    const last = events.at(-1)
    if (!first || !last) return
    const size = events.reduce((sum, event) => sum + sizeOf(event), 0)
    this.#kept.push({ first: BigInt(revisionOf(first)), revision: BigInt(revisionOf(last)), events, size })
    this.#size += size
    this.saw(revisionOf(last))
    // the newest one stays, however large
    while (this.#size > this.#most && this.#kept.length > 1) {
      const oldest = this.#kept.shift()
      this.#size -= oldest?.size ?? 0
      this.#begin = oldest?.revision ?? this.#begin
    }
    this.#wake()
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
  }

  #news(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const done = () => resolve()
    this.#waiting.add(done)
    signal.addEventListener('abort', done, { once: true })
    return promise.finally(() => {
      this.#waiting.delete(done)
      signal.removeEventListener('abort', done)
    })
  }
}

const isAfter =
  (position: bigint) =>
  (event: Event): boolean =>
    BigInt(revisionOf(event)) > position

const sizeOf = (event: Event): number =>
  event.kind === 'put' ? event.entry.key.length + event.entry.value.length : event.key.length
