import type { z } from 'zod'
import { isFailure } from '../process/failure.ts'
import { sizeOf } from '../registry/records.ts'
import type { LocalVolume } from './local-copy.ts'
import type { Observer, Seen } from './observer.ts'
import type { Answers, requests, VolumeEntry } from './protocol.ts'
import { isReferenced } from './references.ts'
import { extraOptions } from './volume-options.ts'
import type { Volumes } from './volumes.ts'

type Request<K extends keyof typeof requests> = z.infer<(typeof requests)[K]>

/** The volume driver's calls on the life cycle of volumes. Get, List and Path are answered from memory. */
export class VolumeDriver {
  readonly #volumes: Volumes
  readonly #observer: Observer
  readonly #firstLook: () => Promise<void>

  /** `firstLook` ends when the store's records are known, or have not been to be had for some time. */
  constructor(volumes: Volumes, observer: Observer, firstLook: () => Promise<void>) {
    this.#volumes = volumes
    this.#observer = observer
    this.#firstLook = firstLook
  }

  async create({ Name, Opts }: Request<'create'>): Promise<Answers['create']> {
    await this.#volumes.create(Name, Opts)
    return {}
  }

  async remove({ Name }: Request<'remove'>): Promise<Answers['remove']> {
    await this.#volumes.remove(Name)
    return {}
  }

  async mount({ Name, ID }: Request<'mount'>): Promise<Answers['mount']> {
    const Mountpoint = await this.#volumes.mount(Name, ID)
    this.#observer.look(Name)
    return { Mountpoint }
  }

  async unmount({ Name, ID }: Request<'unmount'>): Promise<Answers['unmount']> {
    await this.#volumes.unmount(Name, ID)
    return {}
  }

  path({ Name }: Request<'path'>): Answers['path'] | undefined {
    const found = this.#volumes.find(Name)
    return found && { Mountpoint: this.#entry(found).Mountpoint ?? '' }
  }

  /**
   * Undefined when there is no such volume: the Engine then forgets what it knew of it. So a plugin that was installed
   * anew, with an empty local copy, looks at the store first.
   */
  async get({ Name }: Request<'get'>): Promise<Answers['get'] | undefined> {
    if (!this.#volumes.find(Name)) await this.#firstLook()
    const found = this.#volumes.find(Name)
    return found && { Volume: { ...this.#entry(found), Status: status(found, this.#observer.seen(Name)) } }
  }

  list(): Answers['list'] {
    return { Volumes: this.#volumes.all().map((found) => this.#entry(found)) }
  }

  #entry(found: LocalVolume): VolumeEntry {
    const { name, created } = found.volume
    return {
      Name: name,
      CreatedAt: created,
      ...(isReferenced(found) ? { Mountpoint: this.#volumes.mountpoint(name) } : {}),
    }
  }
}

/** What `docker volume inspect` shows under Status. */
const status = (
  { volume, target, attachment, references }: LocalVolume,
  seen: Seen,
): Record<string, unknown> => ({
  phase: volume.wanted === 'absent' ? 'removing' : (target?.phase ?? 'creating'),
  host: volume.placement.host,
  size: sizeOf(volume),
  fs: volume.spec.fs,
  chap: volume.spec.chap ?? false,
  ...extraOptions(volume.spec),
  vsm: target?.container,
  portal: target?.portal,
  iqn: target?.iqn,
  epoch: target?.epoch,
  attached: attachment?.host,
  uses: Object.values(references).reduce((sum, count) => sum + count, 0),
  // of an earlier volume of this name, otherwise
  ...(attachment && seen),
})

/** A Get that cannot know must not answer at all: any error means "gone" to the Engine. */
export const mustNotAnswer = (error: unknown): boolean => isFailure(error, 'unavailable')
