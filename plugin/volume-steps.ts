import { isDeepStrictEqual } from 'node:util'
import { explain, Failure, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { type Attachment, sizeOf, type Target, type Volume, type VolumeSpec } from '../registry/records.ts'
import type { Engine } from './engine.ts'
import type { Initiators } from './initiators.ts'
import type { KnownRegistry } from './known-registry.ts'
import type { LocalCopy, LocalVolume } from './local-copy.ts'
import type { Secrets } from './secrets.ts'
import type { Targets } from './targets.ts'
import {
  type Call,
  type Growing,
  type Provisioning,
  provisioning,
  removing,
  type Table,
} from './volume-calls.ts'
import { showOptions } from './volume-options.ts'
import type { VolumeRecords } from './volume-records.ts'

export interface VolumeParts {
  host: string
  local: LocalCopy
  records: VolumeRecords
  registry: KnownRegistry
  targets: Targets
  initiators: Initiators
  secrets: Secrets
  engine: Engine
  log: Log
  /** Resolves when the Engine has the images that this volume's containers are made of; asked anew each time. */
  images: (spec: Pick<VolumeSpec, 'image'>) => Promise<void>
  /** Something stands in the local copy that the store does not have yet. */
  changed: () => void
  /** Told of each step that is done, as `create:claim`. */
  reached: (step: string) => Promise<void>
}

/** A volume of this host that can be mounted. */
export type ReadyVolume = Omit<LocalVolume, 'target'> & {
  target: Target
  volume: Volume
  attachment?: LocalVolume['attachment']
  growth?: LocalVolume['growth']
  references: LocalVolume['references']
}

/**
 * The steps of which the life of a volume on this host consists. Each can be repeated after a crash, by the Engine's
 * call (volumes.ts) or at the next start (convergence.ts); both hold the volume's lock.
 */
export class VolumeSteps {
  readonly #parts: VolumeParts

  constructor(parts: VolumeParts) {
    this.#parts = parts
  }

  get parts(): VolumeParts {
    return this.#parts
  }

  /** Does the steps of a call, or of a part of it, one after the other. */
  async run<Work>(call: Call, table: Table<Work>, work: Work): Promise<void> {
    for (const [name, step] of Object.entries(table)) {
      await step(this, work)
      await this.#parts.reached(`${call}:${name}`)
    }
  }

  /** Claims the name in the cluster. A claim of this host that a crash cut off from its local record is taken up. */
  async claim(volume: Volume): Promise<{ volume: Volume; fresh: boolean }> {
    const { records, registry, host } = this.#parts
    await registry.permitClaim().catch((error: unknown) => {
      throw isFailure(error, 'unavailable') ? notClaimed(volume, error) : error
    })
    try {
      await records.claim(volume)
      return { volume, fresh: true }
    } catch (error) {
      if (isFailure(error, 'unavailable')) return this.#abandon(volume, error)
      const stored = isFailure(error, 'conflict') ? await records.read(volume.name) : undefined
      if (stored?.placement.host === host) return { volume: stored, fresh: false }
      throw error
    }
  }

  /** The store may still do what it did not confirm: the claim is taken back as soon as it answers. */
  async #abandon(volume: Volume, cause: unknown): Promise<never> {
    await this.#parts.local.put({ volume: { ...volume, wanted: 'absent' }, references: {} })
    this.#parts.changed()
    throw notClaimed(volume, cause)
  }

  /** Only what this very call has claimed is undone when it fails: an older claim may have data, and is tried again. */
  async provision(volume: Volume, { fresh }: { fresh: boolean }): Promise<void> {
    const work: Provisioning = { volume }
    try {
      await this.run('create', provisioning, work)
      this.#parts.log.info(
        { volume: volume.name, portal: work.target?.portal, size: volume.spec.size },
        'volume created',
      )
      this.#parts.changed()
    } catch (error) {
      if (fresh) await this.#undo(volume)
      throw error
    }
  }

  /** A create that failed leaves nothing: what cannot be removed now is marked here, and removed by `converge`. */
  async #undo(volume: Volume): Promise<void> {
    await this.#parts.local.put({ volume: { ...volume, wanted: 'absent' }, references: {} })
    try {
      await this.finishRemoval(volume)
    } catch (error) {
      this.#parts.log.warn(
        { volume: volume.name, reason: explain(error) },
        'a failed create is not undone yet',
      )
      this.#parts.changed()
    }
  }

  /** The local copy was lost (`docker plugin rm` erases it), or a crash came before it: the store knows the rest. */
  async adopt(volume: Volume): Promise<void> {
    const { local, records, log } = this.#parts
    const target = await records.readTarget(volume)
    log.info(
      { volume: volume.name, portal: target?.portal },
      'taking up a volume that was claimed for this host',
    )
    await local.put({ volume, ...(target && { target }), references: {} })
    if (volume.wanted === 'absent') await this.finishRemoval(volume)
    else if (target) await this.tell(volume.name)
    else await this.provision(volume, { fresh: false })
  }

  /** Has the target run, and the store know of it what other hosts need. */
  async tell(name: string): Promise<void> {
    const { records, secrets } = this.#parts
    const target = await this.ensureTarget(name)
    const { volume } = this.ready(name)
    const password = await secrets.recover(volume, target)
    if (password !== undefined) await records.putPassword(volume, target.epoch, password)
    await records.putTarget(target)
  }

  async finishRemoval(volume: Volume): Promise<void> {
    await this.run('remove', removing, volume)
    this.#parts.log.info({ volume: volume.name }, 'volume removed')
  }

  /** References outlive their containers when the Engine was killed. Throws `in-use` while a container really uses it. */
  async forgetStaleReferences(known: LocalVolume): Promise<void> {
    const { name } = known.volume
    const users = await this.#parts.engine.users(name)
    if (users.length > 0)
      throw new Failure(
        'in-use',
        `volume ${name} is mounted by ${users.map((id) => id.slice(0, 12)).join(', ')}: stop them first`,
      )
    this.#parts.log.warn(
      { volume: name, references: known.references },
      'references without a running container are dropped',
    )
  }

  ready(name: string): ReadyVolume {
    const known = this.#parts.local.get(name)
    if (!known)
      throw new Failure(
        'not-found',
        `no volume ${name}: create it with docker volume create -d openebs ${name}`,
      )
    this.checkPlacedHere(known.volume, 'mounted')
    if (known.volume.wanted === 'absent') throw new Failure('in-use', `volume ${name} is being removed`)
    if (!known.target)
      throw new Failure('unavailable', `volume ${name} is still being made: try again in a moment`)
    return { ...known, target: known.target }
  }

  async ensureTarget(name: string) {
    const { volume, target } = this.ready(name)
    const current = await this.#parts.targets.ensure(volume, target)
    if (current !== target) await this.update(name, (entry) => ({ ...entry, target: current }))
    return current
  }

  /**
   * The claim, where the local copy has none yet. It is kept there from then on, idle or not, until the volume is removed
   * or handed over: a later Mount does not need the store.
   */
  async claimAttachment(name: string): Promise<Attachment | undefined> {
    const { target, attachment } = this.ready(name)
    if (attachment?.epoch === target.epoch) return undefined
    const { host, registry } = this.#parts
    const claim = {
      volume: name,
      host,
      epoch: target.epoch,
      state: 'claimed' as const,
      since: new Date().toISOString(),
    }
    // another registry knows nothing of this volume, so nobody else can have it by that one; `--adopt` tells it of the claim
    if (!registry.isOther) await this.#parts.records.attach(claim)
    return claim
  }

  /** The volume is to have so many bytes, and its LUN has not got them yet. */
  async enlarge(name: string, size: number): Promise<void> {
    await this.update(name, (entry) => ({
      ...entry,
      volume: { ...entry.volume, grown: size },
      growth: { of: 'lun', from: sizeOf(entry.volume) },
    }))
  }

  /** Where there proves to be no space, what was recorded is taken back: the LUN is as it was. */
  async growLun({ volume: { name }, size }: Growing): Promise<void> {
    const { targets, records } = this.#parts
    const { volume, growth } = this.ready(name)
    const from = growth?.from ?? sizeOf(volume)
    try {
      await targets.growLun(volume, await this.ensureTarget(name), size)
    } catch (error) {
      if (!isFailure(error, 'invalid')) throw error
      await records.resize(volume, from)
      await this.shrinkBack(name)
      throw error
    }
    await this.update(name, (entry) => ({ ...entry, growth: { of: 'file-system', from } }))
  }

  /** A growth that was recorded, and of which nothing was done, is none. */
  async shrinkBack(name: string): Promise<void> {
    await this.update(name, ({ growth, ...entry }) => ({
      ...entry,
      volume: { ...entry.volume, grown: growth?.from },
    }))
  }

  /** Resolves with why the file system has to wait for the next attach, if it has to. */
  async growFileSystem({ volume: { name }, size }: Growing): Promise<string | undefined> {
    const { initiators, engine } = this.#parts
    const served = (await initiators.servedSince(name)) !== undefined
    const waits = served ? await initiators.resize(name, size) : 'it is not attached'
    if (waits === undefined) {
      await this.update(name, ({ growth, ...entry }) => entry)
      return undefined
    }
    await this.detachOutgrown(name, { uses: 0 })
    const users = await engine.holders(name)
    return users.length === 0
      ? 'no container uses it'
      : `${waits}, and it is in use by ${users.map((user) => user.name).join(', ')}`
  }

  /**
   * An initiator of before the LUN has grown goes, once no more than so many use the volume: the next one lets the file system
   * grow.
   */
  async detachOutgrown(name: string, most: { uses: number }): Promise<void> {
    const { volume, growth, references } = this.ready(name)
    const uses = Object.values(references).reduce((sum, count) => sum + count, 0)
    if (growth?.of !== 'file-system' || uses > most.uses) return
    await this.#parts.initiators.remove(volume)
    await this.update(name, ({ growth: _done, ...entry }) => entry)
  }

  async update(name: string, change: (entry: LocalVolume) => LocalVolume): Promise<LocalVolume> {
    const known = this.#parts.local.get(name)
    if (!known) throw new Failure('not-found', `no volume ${name}`)
    const next = change(known)
    await this.#parts.local.put(next)
    return next
  }

  checkPlacedHere(volume: Volume, what: string): void {
    if (volume.placement.host !== this.#parts.host)
      throw new Failure(
        'denied',
        `volume ${volume.name} is on host ${volume.placement.host}: it can only be ${what} there`,
      )
  }

  /** What stands there by that name is what a Create asks for. */
  checkCreated(volume: Volume, spec: VolumeSpec): void {
    const { host } = volume.placement
    if (host !== this.#parts.host)
      throw new Failure('conflict', `volume ${volume.name} exists already, on host ${host}`)
    if (volume.wanted === 'absent')
      throw new Failure('in-use', `volume ${volume.name} is being removed: try again in a moment`)
    // one that has grown is meant by the size of before and by that of now
    const asked = spec.size === sizeOf(volume) ? { ...spec, size: volume.spec.size } : spec
    // a record of before there was chap is one without it
    if (!isDeepStrictEqual({ chap: false, ...volume.spec }, { chap: false, ...asked }))
      throw new Failure(
        'conflict',
        `volume ${volume.name} exists already, with other options: ${showOptions(volume.spec)}`,
      )
  }
}

const notClaimed = ({ name }: Volume, cause: unknown): Failure =>
  new Failure(
    'unavailable',
    `volume ${name} is not made, as its name could not be claimed: repeat when this is over`,
    cause,
  )
