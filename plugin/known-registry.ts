import { readFile } from 'node:fs/promises'
import writeFileAtomic from 'write-file-atomic'
import { z } from 'zod'
import { Failure } from '../process/failure.ts'
import { markOrigin, Origin, readOrigin } from '../registry/origin.ts'
import type { Store } from '../registry/store.ts'
import type { LocalCopy } from './local-copy.ts'
import type { VolumeRecords } from './volume-records.ts'

/**
 * Which registry this host's volumes are registered in, kept on the disk. An etcd that was wiped is empty and looks free: a
 * name claimed there may be that of a volume with data, on this host or another. So nothing new is claimed in a registry
 * that is not the known one, until an operator says that it is to be from now on (`adopt`).
 */
export class KnownRegistry {
  readonly #file: string
  readonly #store: Store
  readonly #registered: () => Promise<boolean>
  #known: Origin | undefined
  #isOther = false

  /**
   * `registered` is asked where none is known yet, as this version is the first to keep it: whether the store has records of
   * volumes of this host, or there are none here that it could lack.
   */
  constructor(file: string, store: Store, registered: () => Promise<boolean>) {
    this.#file = file
    this.#store = store
    this.#registered = registered
  }

  async load(): Promise<void> {
    try {
      this.#known = Origin.parse(JSON.parse(await readFile(this.#file, 'utf8')))
    } catch (error) {
      // damaged: as if it were not there, which the store's records must then speak against
      if (error instanceof SyntaxError || error instanceof z.ZodError) return
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }

  /** As of the last look. */
  get isOther(): boolean {
    return this.#isOther
  }

  /** Whether the store is the known registry; the first one that is met becomes it. Rejects as the store does. */
  async look(): Promise<boolean> {
    if (this.#known) {
      const { cluster, mark } = await readOrigin(this.#store)
      this.#isOther = cluster !== this.#known.cluster || mark !== this.#known.mark
    } else {
      this.#isOther = !(await this.#registered())
      if (!this.#isOther) await this.#learn()
    }
    return !this.#isOther
  }

  /** Rejects with `denied` where nothing may be claimed. */
  async permitClaim(): Promise<void> {
    if (await this.look()) return
    throw new Failure(
      'denied',
      `${this.#store.description} is not the registry that this host's volumes are in: it was wiped, replaced or set ` +
        'anew. No volume is made until you have looked (registrator doctor) and said that it is to be used ' +
        '(registrator doctor --adopt)',
    )
  }

  /** From now on the store, as it is, is the known registry. */
  async adopt(): Promise<void> {
    await this.#learn()
    this.#isOther = false
  }

  async #learn(): Promise<void> {
    const origin = await markOrigin(this.#store)
    await writeFileAtomic(this.#file, `${JSON.stringify(origin)}\n`)
    this.#known = origin
  }
}

/** Whether the store has a record of any volume that is here; where none is here, it lacks none. */
export const isRegistered = async (
  local: LocalCopy,
  records: VolumeRecords,
  host: string,
): Promise<boolean> => {
  const ours = local.all().filter(({ volume, target }) => target && volume.placement.host === host)
  if (ours.length === 0) return true
  const stored = new Set((await records.readAll()).volumes.map(({ uuid }) => uuid))
  return ours.some(({ volume }) => stored.has(volume.uuid))
}
