import { explain, Failure, isFailure } from '../../process/failure.ts'
import type { Log } from '../../process/log.ts'
import { Wake } from '../../process/wake.ts'
import { type Batch, BucketWriter } from '../../registry/buckets.ts'
import { keys } from '../../registry/keys.ts'
import type { Store } from '../../registry/store.ts'
import { type AuditEntry, bounded } from './entry.ts'
import { type Item, itemOf, lostWith } from './lines.ts'
import { joined, type Lost } from './lost.ts'
import { Spill } from './spill.ts'

export interface TrailOptions {
  /** Where entries are while the store does not take them. */
  readonly folder: string
  readonly log: Pick<Log, 'info' | 'warn'>
  /** Bytes of entries in the folder at most. */
  readonly room?: number
  /** Entries in memory at most. */
  readonly queue?: number
  /** ms between two writes to the disk, at least. */
  readonly every?: number
}

/** Seconds that an entry is kept. */
const kept = 7 * 86_400
/** ms that an entry waits for others to come with it. */
const linger = 100
/** The last number within a ms is the gaps': one that is sent again after a crash has the same key. */
const gapSeq = 999_999

/**
 * The audit trail of this host (audit/<host>/). `record` never waits, fails or throws. Entries wait in memory for some
 * ms; when the store does not take them, in files, over a restart as well, until it does. What fits neither is counted,
 * and the trail says how many there were, in an entry of its own. A key is an entry's for good, so what is sent twice
 * is there once. A crash costs what came within the last second or two.
 */
export class AuditTrail {
  readonly #most: number
  readonly #every: number
  readonly #log: Pick<Log, 'info' | 'warn'>
  readonly #spill: Spill
  /** What came before the host's name was known. */
  readonly #early: AuditEntry[] = []
  readonly #queue = new Map<string, Item>()
  /** What was read from the files and is being sent; `#position` is where they go on. */
  readonly #replay = new Map<string, Item>()
  #position = 0
  #host: string | undefined
  // a restart after which the clock went back does not write over what stands
  #seq = Math.floor(Math.random() * gapSeq)
  /** What is not told of yet, and the gap that tells of what was before. */
  #lost: Lost | undefined
  #gap: Item | undefined
  /** Of it the disk knows. */
  #keptLost: Lost | undefined
  #total = 0
  #reported = 0
  /** The oldest that waited at the last look. */
  #oldest: string | undefined
  #away = false
  #opened = false
  #failing = false
  readonly #wake = new Wake()
  readonly #stop = new AbortController()
  #writer: BucketWriter | undefined
  #running: Promise<void> = Promise.resolve()
  #writing: Promise<void> = Promise.resolve()

  constructor({ folder, log, room = 4 * 2 ** 20, queue = 5_000, every = 1_000 }: TrailOptions) {
    this.#spill = new Spill(folder, room)
    this.#most = queue
    this.#every = every
    this.#log = log
  }

  /** Entries that were lost since the start. */
  get lost(): number {
    return this.#total
  }

  /** Whether all that was recorded is in the store. */
  get settled(): boolean {
    return this.#queue.size === 0 && this.#replay.size === 0 && this.#spill.empty && !this.#lost
  }

  record(entry: AuditEntry): void {
    const waiting = this.#queue.size + this.#early.length
    if (waiting >= this.#most || this.#stop.signal.aborted) this.#lose(one(entry.time))
    else if (this.#host === undefined) this.#early.push(bounded(entry))
    else this.#take(entry, this.#host)
  }

  /** Begins to write, with what an earlier run has left, and returns at once. */
  start(store: Store, host: string): void {
    if (this.#writer) throw new Failure('invalid', 'an audit trail starts once')
    this.#host = host
    this.#writer = new BucketWriter(
      store,
      { next: (size) => this.#next(size) },
      { keep: kept, linger, log: this.#log },
    )
    for (const entry of this.#early.splice(0)) this.#take(entry, host)
    this.#running = this.#run()
    this.#writing = this.#writer.run(this.#stop.signal)
  }

  /** Ends, after at most `ms` more for what still waits. What the store has not taken then stays on the disk. */
  async stop(ms = 2000): Promise<void> {
    this.#stop.abort()
    await this.#running
    await this.#writer?.drain(ms, this.#writing)
    await this.#onDisk(() => this.#toDisk())
    for (const item of this.#queue.values()) this.#lose(item.lost)
    this.#queue.clear()
    await this.#onDisk(() => this.#keepLost())
    await this.#onDisk(() => this.#spill.close())
  }

  async #run(): Promise<void> {
    await this.#onDisk(() => this.#refill())
    while (!this.#stop.signal.aborted) {
      const woken = await this.#wake.next(this.#every, this.#stop.signal)
      if (this.#stop.signal.aborted) return
      await this.#onDisk(async () => {
        if (!woken) await this.#look()
        await this.#refill()
      })
    }
  }

  async #open(): Promise<void> {
    const before = await this.#spill.open()
    this.#opened = true
    this.#keptLost = before
    if (before) this.#tell(before)
  }

  /** Entries that the store has not taken since the last look go to the disk. */
  async #look(): Promise<void> {
    const [oldest] = this.#queue.keys()
    const stuck = oldest !== undefined && (this.#away || oldest === this.#oldest)
    this.#oldest = oldest
    if (stuck) {
      if (!this.#away) this.#log.warn({}, 'the store does not take the audit trail: it goes to the disk')
      this.#away = true
      await this.#toDisk()
    }
    await this.#keepLost()
  }

  async #toDisk(): Promise<void> {
    const items = [...this.#queue.values()]
    const added = await this.#spill.add(items)
    for (const item of items.slice(0, added))
      if (this.#queue.get(item.key) === item) this.#queue.delete(item.key)
  }

  /** While there is something on the disk, a part of it is on its way to the store. */
  async #refill(): Promise<void> {
    while (this.#replay.size === 0 && !this.#spill.empty) {
      const piece = await this.#spill.read(this.#position)
      if (!piece) {
        await this.#spill.sent()
        this.#position = 0
        if (this.#spill.empty) this.#log.info({}, 'what the audit trail had on the disk is in the store')
        continue
      }
      this.#position = piece.next
      if (piece.damaged > 0)
        this.#log.warn({ lines: piece.damaged }, 'entries of the audit trail on the disk cannot be read')
      for (const item of piece.items) this.#replay.set(item.key, item)
      this.#writer?.wake()
    }
  }

  /** The disk knows what is lost and stands in no entry that is safe. */
  async #keepLost(): Promise<void> {
    const waiting = this.#gap && this.#queue.get(this.#gap.key) === this.#gap ? [this.#gap] : []
    const untold = lostWith(waiting, this.#lost)
    if (untold?.count === this.#keptLost?.count && untold?.to === this.#keptLost?.to) return
    await this.#spill.keepLost(untold)
    this.#keptLost = untold
  }

  #take(entry: AuditEntry, host: string): void {
    const key = keys.audit(host, Date.parse(entry.time), this.#seq++ % gapSeq)
    try {
      this.#queue.set(key, itemOf(key, { ...bounded(entry), host }))
    } catch (error) {
      if (!isFailure(error, 'invalid')) throw error
      this.#log.warn({ reason: explain(error) }, 'an entry of the audit trail is none')
      this.#lose(one(entry.time))
    }
    this.#writer?.wake()
  }

  #next(size: number): Batch | undefined {
    const from = this.#queue.size > 0 ? this.#queue : this.#replay
    const batch = [...from.values().take(size)]
    const done = () => {
      // meanwhile they may have gone to the disk: then they are sent twice
      for (const item of batch) if (from.get(item.key) === item) from.delete(item.key)
      if (this.#replay.size === 0 && !this.#spill.empty) this.#wake.wake()
    }
    if (batch.length === 0) return undefined
    return {
      size: batch.length,
      changes: (lease) => batch.map(({ key, value }) => ({ kind: 'put', key, value, guard: 'any', lease })),
      written: () => {
        done()
        this.#away = false
        if (this.#lost) this.#tell(this.#lost)
        this.#lost = undefined
      },
      refused: () => {
        done()
        for (const { lost } of batch) this.#lose(lost)
      },
    }
  }

  #lose(lost: Lost): void {
    this.#lost = joined(this.#lost, lost)
    this.#total += lost.count
    if (this.#total <= this.#reported * 2) return
    this.#reported = this.#total
    this.#log.warn({ lost: this.#total }, 'entries of the audit trail are lost: the store does not take them')
  }

  /** An entry says what is lost, now that there are entries that the store takes. */
  #tell(lost: Lost): void {
    const host = this.#host ?? ''
    const key = keys.audit(host, Date.parse(lost.from), gapSeq)
    const { count, from, to } = joined(this.#queue.get(key)?.lost, lost)
    const reason = 'the store did not take them, and no more could wait'
    this.#gap = itemOf(key, { kind: 'gap', host, time: from, to, count, reason })
    this.#queue.set(key, this.#gap)
    this.#writer?.wake()
  }

  /** A disk that fails costs entries, and no more; it is tried again at the next look. */
  async #onDisk(work: () => Promise<void>): Promise<void> {
    try {
      if (!this.#opened) await this.#open()
      await work()
      this.#failing = false
    } catch (error) {
      if (!this.#failing) this.#log.warn({ reason: explain(error) }, 'the audit trail cannot use its folder')
      this.#failing = true
    }
  }
}

/** An entry of that time, or of now where that is no time. */
const one = (text: string): Lost => {
  const at = Date.parse(text)
  const time = new Date(Number.isNaN(at) ? Date.now() : at).toISOString()
  return { count: 1, from: time, to: time }
}
