import { type FileHandle, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { z } from 'zod'
import { parseJson } from '../../process/json.ts'
import { fromLine, type Item, toLine } from './lines.ts'
import type { Lost } from './lost.ts'

const LostFile = z.object({
  count: z.number().int().positive(),
  from: z.iso.datetime(),
  to: z.iso.datetime(),
})

/** A part of what is kept: `damaged` of its lines cannot be read, and `next` is where the following part begins. */
export interface Piece {
  readonly items: readonly Item[]
  readonly damaged: number
  readonly next: number
}

/**
 * Entries on the disk while the store does not take them. They are added to one file; when it is full it becomes the older
 * one, and another begins. What was sent first, the older file where there is one, is removed as a whole. The caller makes
 * one call at a time. All calls reject with the file system's own errors.
 */
export class Spill {
  readonly #folder: string
  readonly #fileSize: number
  readonly #pieceSize: number
  readonly #newer: string
  readonly #older: string
  readonly #lost: string
  #file: FileHandle | undefined
  /** Bytes in the newer file; 0 where there is none. */
  #size = 0
  #olderSize = 0
  /** What is added next begins on a line of its own, as the one before may be torn. */
  #torn = false

  /** `size`: bytes of both files together; `pieceSize`: that are read at once, more than the longest line has. */
  constructor(folder: string, size: number, pieceSize = 64 * 1024) {
    this.#folder = folder
    this.#fileSize = size / 2
    this.#pieceSize = pieceSize
    this.#newer = join(folder, 'newer.jsonl')
    this.#older = join(folder, 'older.jsonl')
    this.#lost = join(folder, 'lost.json')
  }

  /** Finds what an earlier run has left; returns what that had lost. */
  async open(): Promise<Lost | undefined> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    this.#size = await sizeOf(this.#newer)
    this.#olderSize = await sizeOf(this.#older)
    this.#torn = this.#size > 0
    const text = await readFile(this.#lost, 'utf8').catch(absent)
    return text === undefined ? undefined : LostFile.safeParse(parseJson(text)).data
  }

  /** Nothing waits on the disk. */
  get empty(): boolean {
    return this.#size === 0 && this.#olderSize === 0
  }

  /** Adds what fits, in order, and has it on the disk; returns how many that were. */
  async add(items: readonly Item[]): Promise<number> {
    let added = 0
    while (added < items.length) {
      if (this.#size > 0 && this.#size + this.#length(items[added]) > this.#fileSize) {
        if (this.#olderSize > 0) return added
        await this.#rotate()
      }
      const fitting = this.#fitting(items.slice(added))
      await this.#append(fitting.map(toLine).join(''))
      added += fitting.length
    }
    return added
  }

  /** What of the file that is to be sent first stands at `from`; undefined when that was all. */
  async read(from: number): Promise<Piece | undefined> {
    const older = this.#olderSize > 0
    if (from >= (older ? this.#olderSize : this.#size)) return undefined
    const file = await open(older ? this.#older : this.#newer, 'r')
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(this.#pieceSize), 0, this.#pieceSize, from)
      return piece(buffer.subarray(0, bytesRead), from)
    } finally {
      await file.close()
    }
  }

  /** The file that was to be sent first goes: `read` has come to its end. */
  async sent(): Promise<void> {
    if (this.#olderSize > 0) {
      await rm(this.#older, { force: true })
      this.#olderSize = 0
    } else {
      await this.close()
      await rm(this.#newer, { force: true })
      this.#size = 0
      this.#torn = false
    }
    await syncFolder(this.#folder)
  }

  /** Keeps over a restart what has been lost; undefined: nothing that is not told in an entry. */
  async keepLost(lost: Lost | undefined): Promise<void> {
    if (lost) await writeFileAtomic(this.#lost, JSON.stringify(lost), { mode: 0o600 })
    else await rm(this.#lost, { force: true })
    await syncFolder(this.#folder)
  }

  async close(): Promise<void> {
    await this.#file?.close()
    this.#file = undefined
  }

  #length(item: Item | undefined): number {
    return item ? Buffer.byteLength(toLine(item)) + 1 : 0
  }

  /** One at least, so that an entry that is larger than a file is kept as well. */
  #fitting(items: readonly Item[]): readonly Item[] {
    let size = this.#size
    const end = items.findIndex((item, index) => {
      size += this.#length(item)
      return index > 0 && size > this.#fileSize
    })
    return end < 0 ? items : items.slice(0, end)
  }

  async #append(lines: string): Promise<void> {
    if (!this.#file) {
      this.#file = await open(this.#newer, 'a', 0o600)
      await syncFolder(this.#folder)
    }
    const text = this.#torn ? `\n${lines}` : lines
    // until it is known to be there: a full disk takes a part
    this.#torn = true
    try {
      await this.#file.appendFile(text)
      await this.#file.datasync()
      this.#torn = false
    } finally {
      this.#size = (await this.#file.stat()).size
    }
  }

  async #rotate(): Promise<void> {
    await this.close()
    await rename(this.#newer, this.#older)
    await syncFolder(this.#folder)
    this.#olderSize = this.#size
    this.#size = 0
    this.#torn = false
  }
}

/** The whole lines of a part of a file that begins at `from`. Pure. */
export const piece = (bytes: Buffer, from: number): Piece => {
  const whole = bytes.subarray(0, bytes.lastIndexOf('\n') + 1)
  // without a line's end there is none but a torn one
  if (whole.length === 0) return { items: [], damaged: 1, next: from + bytes.length }
  const lines = whole.toString('utf8').split('\n').filter(Boolean)
  const items = lines.map(fromLine)
  const readable = items.filter((item) => item !== undefined)
  return { items: readable, damaged: lines.length - readable.length, next: from + whole.length }
}

const absent = (error: NodeJS.ErrnoException): undefined => {
  if (error.code !== 'ENOENT') throw error
}

const sizeOf = async (path: string): Promise<number> => (await stat(path).catch(absent))?.size ?? 0

/** What was made, renamed or removed is durable only once its folder is synced. */
const syncFolder = async (path: string): Promise<void> => {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
