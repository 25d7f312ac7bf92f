import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { z } from 'zod'
import { Failure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Attachment, Target, Volume } from '../registry/records.ts'

/** What this host knows of one volume. `target` only where the volume is placed, `attachment` only where it is attached. */
export const LocalVolume = z.looseObject({
  volume: Volume,
  target: Target.optional(),
  attachment: Attachment.optional(),
  /** What of a growth is still to be done: the LUN and all that follows, or its file system at the next attach; and the bytes it had. */
  growth: z
    .looseObject({ of: z.enum(['lun', 'file-system']), from: z.number().int().nonnegative() })
    .optional(),
  /** Uses by id of the Engine's Mount calls. A counter, as `docker cp` mounts again under its container's id. */
  references: z.record(z.string(), z.number().int().positive()).default({}),
})
export type LocalVolume = z.infer<typeof LocalVolume>

const suffix = '.json'

/**
 * The durable local copy of the records that concern this host: Get, List and Path are answered from it, so
 * that they never fail because etcd is away, and never call the Engine. Only an empty one is filled from the store first. One file per volume; a write is on
 * disk (file and folder) before it is seen in memory.
 */
export class LocalCopy {
  readonly #folder: string
  readonly #log: Log
  readonly #volumes = new Map<string, LocalVolume>()
  readonly #unreadable = new Set<string>()
  #loaded: Promise<void> | undefined

  constructor(folder: string, log: Log) {
    this.#folder = folder
    this.#log = log
  }

  /** Reads all files, once. Until then no call is answered. */
  load(): Promise<void> {
    this.#loaded ??= this.#read()
    return this.#loaded
  }

  async #read(): Promise<void> {
    await mkdir(this.#folder, { recursive: true })
    for (const file of await readdir(this.#folder)) {
      if (!file.endsWith(suffix)) continue
      const name = file.slice(0, -suffix.length)
      try {
        this.#volumes.set(
          name,
          LocalVolume.parse(JSON.parse(await readFile(join(this.#folder, file), 'utf8'))),
        )
      } catch (error) {
        this.#unreadable.add(name)
        this.#log.error(
          { volume: name, file, error },
          'local record cannot be read: calls for this volume stay unanswered',
        )
      }
    }
  }

  /**
   * Undefined when there is no such volume. Throws `unavailable` when that cannot be known (its file is damaged):
   * the caller must then not answer at all, as the Engine takes any error from Get for "gone".
   */
  get(name: string): LocalVolume | undefined {
    if (this.#unreadable.has(name))
      throw new Failure('unavailable', `the local record of volume ${name} cannot be read`)
    return this.#volumes.get(name)
  }

  all(): LocalVolume[] {
    return [...this.#volumes.values()]
  }

  /** Names of those whose file is damaged. */
  damaged(): string[] {
    return [...this.#unreadable]
  }

  async put(entry: LocalVolume): Promise<void> {
    const { name } = entry.volume
    await writeFileAtomic(
      join(this.#folder, name + suffix),
      `${JSON.stringify(LocalVolume.parse(entry), null, 1)}\n`,
    )
    await this.#syncFolder()
    this.#volumes.set(name, entry)
    this.#unreadable.delete(name)
  }

  async delete(name: string): Promise<void> {
    await rm(join(this.#folder, name + suffix), { force: true })
    await this.#syncFolder()
    this.#volumes.delete(name)
  }

  /** A rename is durable only once its folder is synced; write-file-atomic syncs the file alone. */
  async #syncFolder(): Promise<void> {
    const folder = await open(this.#folder, 'r')
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  }
}
