import { Failure, isFailure } from '../process/failure.ts'
import { decode, encode, keys } from '../registry/keys.ts'
import { type Attachment, sizeOf, type Target, type Volume } from '../registry/records.ts'
import { decodeSecret, encodeSecret } from '../registry/secrets.ts'
import type { Change, Entry, Revision, Store } from '../registry/store.ts'

/**
 * The durable records of volumes in the store: intent (volumes/, attachments/) is written by compare-and-put by any
 * plugin, targets/<host>/ by this host's plugin alone.
 */
export class VolumeRecords {
  readonly #store: Store
  readonly #host: string

  constructor(store: Store, host: string) {
    this.#store = store
    this.#host = host
  }

  async #find(key: string): Promise<Entry | undefined> {
    return (await this.#store.read(key)).entries.find((entry) => entry.key === key)
  }

  /** Claims the name in the whole cluster. Rejects with `conflict`, naming the host that has it. */
  async claim(volume: Volume): Promise<void> {
    const key = keys.volume(volume.name)
    try {
      await this.#store.apply([{ kind: 'put', key, value: encode('volumes', volume), guard: 'absent' }])
    } catch (error) {
      if (!isFailure(error, 'conflict')) throw error
      const other = await this.read(volume.name)
      if (!other) throw error
      throw new Failure(
        'conflict',
        `volume ${volume.name} exists already, on host ${other.placement.host}`,
        error,
      )
    }
  }

  async read(name: string): Promise<Volume | undefined> {
    const entry = await this.#find(keys.volume(name))
    return entry && decode('volumes', entry.key, entry.value)
  }

  /** All volumes of the cluster, and the revision to watch from. Unreadable records come by key, untouched. */
  async readAll(): Promise<{ volumes: Volume[]; unreadable: string[]; revision: Revision }> {
    const { entries, revision } = await this.#store.read('volumes/')
    const volumes: Volume[] = []
    const unreadable: string[] = []
    for (const { key, value } of entries)
      try {
        volumes.push(decode('volumes', key, value))
      } catch (error) {
        if (!isFailure(error, 'invalid')) throw error
        unreadable.push(key)
      }
    return { volumes, unreadable, revision }
  }

  watch(from: Revision, signal: AbortSignal) {
    return this.#store.watch('volumes/', from, signal)
  }

  /** From here on the volume is to be removed, whatever crashes. Nothing happens where it is gone already. */
  async markAbsent(volume: Volume): Promise<void> {
    await this.#change(volume, (current) =>
      current.wanted === 'absent' ? current : { ...current, wanted: 'absent' },
    )
  }

  /** The volume is to have so many bytes from here on. Nothing happens where that stands there. */
  async resize(volume: Volume, size: number): Promise<void> {
    await this.#change(volume, (current) =>
      sizeOf(current) === size ? current : { ...current, grown: size },
    )
  }

  /** Rewrites the record of this very volume, unless it stands there so. Nothing happens where it is gone. */
  async #change(volume: Volume, change: (current: Volume) => Volume): Promise<void> {
    const key = keys.volume(volume.name)
    const entry = await this.#find(key)
    if (!entry) return
    const current = decode('volumes', key, entry.value)
    if (current.uuid !== volume.uuid)
      throw new Failure(
        'conflict',
        `volume ${volume.name} was made anew by another hand: ${current.uuid}, not ${volume.uuid}`,
      )
    const changed = change(current)
    if (changed === current) return
    const value = encode('volumes', changed)
    await this.#store.apply([{ kind: 'put', key, value, guard: { revision: entry.revision } }])
  }

  /** Deletes the records of a volume of ours whose data are gone; those of another volume by that name stay. */
  async forget(volume: Volume): Promise<void> {
    const changes: Change[] = []
    for (const key of [
      keys.attachment(volume.name),
      keys.secret(volume.name),
      keys.target(this.#host, volume.name),
      keys.volume(volume.name),
    ]) {
      const entry = await this.#find(key)
      if (!entry) continue
      if (key === keys.volume(volume.name) && decode('volumes', key, entry.value).uuid !== volume.uuid) return
      changes.push({ kind: 'delete', key, guard: { revision: entry.revision } })
    }
    if (changes.length > 0) await this.#store.apply(changes)
  }

  /**
   * Writes the records of a volume of this host into a store that lacks them, all in one transaction. Rejects with `conflict`
   * where another volume has the name by now; nothing happens where it is registered.
   */
  async register(
    { volume, target, attachment }: { volume: Volume; target: Target; attachment?: Attachment | undefined },
    password: string | undefined,
  ): Promise<void> {
    const stored = await this.read(volume.name)
    if (stored?.uuid === volume.uuid) return
    if (stored)
      throw new Failure(
        'conflict',
        `volume ${volume.name}: host ${stored.placement.host} has claimed this name meanwhile, for another volume`,
      )
    const { name, uuid } = volume
    const records: [string, string][] = [
      [keys.volume(name), encode('volumes', volume)],
      [keys.target(this.#host, name), encode('targets', target)],
      ...(attachment ? [[keys.attachment(name), encode('attachments', attachment)] as [string, string]] : []),
      ...(password === undefined
        ? []
        : [
            [keys.secret(name), encodeSecret({ volume: name, uuid, epoch: target.epoch, password })] as [
              string,
              string,
            ],
          ]),
    ]
    const { entries } = await this.#store.readKeys(records.map(([key]) => key))
    const revisions = new Map(entries.map(({ key, revision }) => [key, revision]))
    await this.#store.apply(
      records.map(([key, value]) => {
        // what stands there without its volume's record is a leftover of the same name
        const revision = key === keys.volume(name) ? undefined : revisions.get(key)
        return { kind: 'put', key, value, guard: revision ? { revision } : 'absent' } as const
      }),
    )
  }

  /** What this host has applied for the volume, as far as the store knows. */
  async readTarget(volume: Volume): Promise<Target | undefined> {
    const entry = await this.#find(keys.target(this.#host, volume.name))
    const target = entry && decode('targets', entry.key, entry.value)
    return target?.uuid === volume.uuid ? target : undefined
  }

  /** Writes what this host has applied, unless it stands there. */
  async putTarget(target: Target): Promise<void> {
    await this.#putIfChanged(keys.target(this.#host, target.volume), encode('targets', target))
  }

  /** The CHAP password of that epoch, as far as the store knows. */
  async readPassword(volume: Pick<Volume, 'name' | 'uuid'>, epoch: number): Promise<string | undefined> {
    const entry = await this.#find(keys.secret(volume.name))
    const secret = entry && decodeSecret(entry.key, entry.value)
    return secret?.uuid === volume.uuid && secret.epoch === epoch ? secret.password : undefined
  }

  async putPassword(volume: Pick<Volume, 'name' | 'uuid'>, epoch: number, password: string): Promise<void> {
    const secret = { volume: volume.name, uuid: volume.uuid, epoch, password }
    await this.#putIfChanged(keys.secret(volume.name), encodeSecret(secret))
  }

  /**
   * Claims the volume for this host, or renews our own claim. Rejects with `in-use`, naming the other host, when
   * another one has it: handing over is that host's decision.
   */
  async attach(attachment: Attachment): Promise<void> {
    const key = keys.attachment(attachment.volume)
    const entry = await this.#find(key)
    if (entry) {
      const current = decode('attachments', key, entry.value)
      if (current.host !== attachment.host)
        throw new Failure(
          'in-use',
          `volume ${attachment.volume} is attached by host ${current.host}: stop what uses it there first`,
        )
      if (current.epoch > attachment.epoch)
        throw new Failure(
          'conflict',
          `attachment of ${attachment.volume} is at epoch ${current.epoch}, ours at ${attachment.epoch}`,
        )
    }
    await this.#write(key, encode('attachments', attachment), entry)
  }

  async #putIfChanged(key: string, value: string): Promise<void> {
    await this.#write(key, value, await this.#find(key))
  }

  async #write(key: string, value: string, entry: Entry | undefined): Promise<void> {
    if (entry?.value === value) return
    await this.#store.apply([
      { kind: 'put', key, value, guard: entry ? { revision: entry.revision } : 'absent' },
    ])
  }
}
