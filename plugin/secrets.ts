import { mkdir, open, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { Failure } from '../process/failure.ts'
import type { Target, Volume } from '../registry/records.ts'
import { newPassword } from '../vsm/chap.ts'

type Owner = Pick<Volume, 'name' | 'uuid' | 'spec'>

/** Where else than in its own file a password may be found. */
export interface SecretSources {
  /** In the store. Rejects with `unavailable` while it is away. */
  stored(volume: Owner, epoch: number): Promise<string | undefined>
  /** On the disk of the target, which runs here. */
  served(target: Target): Promise<string | undefined>
}

/**
 * The CHAP passwords of this host's volumes: a folder per volume (its UUID: a name can be used again), which its initiator
 * has read-only, with a file per epoch. Only root reads them. They are on the disk before anybody is told them.
 */
export class Secrets {
  readonly #folder: string
  readonly #sources: SecretSources

  constructor(folder: string, sources: SecretSources) {
    this.#folder = folder
    this.#sources = sources
  }

  /** Undefined for a volume without CHAP. One that was made before a crash is the one. */
  async make(volume: Owner, epoch: number): Promise<string | undefined> {
    if (!volume.spec.chap) return undefined
    return (await this.#read(volume.uuid, epoch)) ?? this.#write(volume.uuid, epoch, newPassword())
  }

  /** Has the initiator find it. Its file is lost where the plugin was removed and installed anew; store and target have it. */
  async recover(volume: Owner, target: Target): Promise<string | undefined> {
    if (!volume.spec.chap) return undefined
    const { name, uuid } = volume
    const { epoch } = target
    const kept = await this.#read(uuid, epoch)
    if (kept !== undefined) return kept
    // the target's own comes first: it is what the target asks for
    const found = (await this.#sources.served(target)) ?? (await this.#sources.stored(volume, epoch))
    if (found === undefined)
      throw new Failure(
        'unavailable',
        `the CHAP password of volume ${name} (epoch ${epoch}) is neither here, nor on its disk, nor in the store`,
      )
    return this.#write(uuid, epoch, found)
  }

  async forget({ uuid }: Owner): Promise<void> {
    await rm(join(this.#folder, uuid), { recursive: true, force: true })
  }

  async #read(uuid: string, epoch: number): Promise<string | undefined> {
    try {
      return await readFile(join(this.#folder, uuid, String(epoch)), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  async #write(uuid: string, epoch: number, password: string): Promise<string> {
    const folder = join(this.#folder, uuid)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await writeFileAtomic(join(folder, String(epoch)), password, { mode: 0o600 })
    await using handle = await open(folder, 'r')
    await handle.sync()
    return password
  }
}
