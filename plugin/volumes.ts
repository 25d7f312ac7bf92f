import { randomUUID } from 'node:crypto'
import { pause } from '../process/backoff.ts'
import { explain, Failure, isFailure } from '../process/failure.ts'
import { KeyedLock } from '../process/keyed-lock.ts'
import type { Log } from '../process/log.ts'
import type { Target, Volume } from '../registry/records.ts'
import type { Engine } from './engine.ts'
import type { Initiators } from './initiators.ts'
import type { LocalCopy, LocalVolume } from './local-copy.ts'
import { addReference, dropReference, isReferenced } from './references.ts'
import type { Targets } from './targets.ts'
import { checkName, parseOptions } from './volume-options.ts'
import type { VolumeRecords } from './volume-records.ts'

/** The Engine gives up after 30 s; while it restores containers, after 120 s, as the other side may be booting too. */
const answerWithin = { usual: 25_000, restoring: 110_000 } as const

export interface VolumesParts {
  host: string
  local: LocalCopy
  records: VolumeRecords
  targets: Targets
  initiators: Initiators
  engine: Engine
  log: Log
  /** Resolves when the Engine has the VSM image; asked anew each time. */
  image: () => Promise<void>
  /** Something stands in the local copy that the store does not have yet. */
  changed: () => void
  /** True until the Engine has served its API once: it may be restoring containers, and waits for us. */
  restoring: () => boolean
}

type ReadyVolume = Omit<LocalVolume, 'target'> & {
  target: Target
  volume: Volume
  attachment?: LocalVolume['attachment']
}

/**
 * The life cycle of volumes on this host. One call at a time per volume; each step can be repeated, and what a crash
 * cut short is finished (a create that was claimed) or continued (a removal that was marked) by `converge`.
 *
 * create: claim volumes/<name> -> local record -> target container and LUN -> local record with target
 * remove: mark volumes/<name> absent -> local record -> initiator -> target and data -> store records -> local record
 */
export class Volumes {
  readonly #parts: VolumesParts
  readonly #lock = new KeyedLock()

  constructor(parts: VolumesParts) {
    this.#parts = parts
  }

  async create(name: string, options: Record<string, string> | null | undefined): Promise<void> {
    checkName(name)
    const spec = parseOptions(options)
    await this.#locked(name, `create volume ${name}`, answerWithin.usual, async () => {
      const known = this.#parts.local.get(name)
      const { volume, fresh } = known ? { volume: known.volume, fresh: false } : await this.#claim(name, spec)
      this.#checkCreated(volume, spec)
      if (!known && !fresh) return this.#adopt(volume)
      if (!known) await this.#parts.local.put({ volume, references: {} })
      if (!known?.target) await this.#provision(volume, { fresh })
    })
  }

  async remove(name: string): Promise<void> {
    await this.#locked(name, `remove volume ${name}`, answerWithin.usual, async () => {
      const known = this.#parts.local.get(name)
      if (!known) return
      this.#checkPlacedHere(known.volume, 'removed')
      if (isReferenced(known)) await this.#forgetStaleReferences(known)
      await this.#parts.records.markAbsent(known.volume)
      await this.#parts.local.put({ ...known, references: {}, volume: { ...known.volume, wanted: 'absent' } })
      await this.#finishRemoval(known.volume)
    })
  }

  /** Answers with the folder for containers. A failed Mount gets no Unmount from the Engine: its reference goes again. */
  async mount(name: string, id: string): Promise<string> {
    const ms = this.#parts.restoring() ? answerWithin.restoring : answerWithin.usual
    return this.#locked(name, `mount volume ${name}`, ms + 2_000, async () => {
      const { volume } = this.#ready(name)
      await this.#update(name, (entry) => addReference(entry, id))
      try {
        await this.#claimAttachment(name)
        await this.#parts.initiators.attach(volume, ms, () => this.#ensureTarget(name))
      } catch (error) {
        await this.#update(name, (entry) => dropReference(entry, id))
        throw error
      }
      this.#parts.changed()
      return this.#parts.initiators.mountpoint(name)
    })
  }

  /** The initiator stays warm: the volume is idle, and the next Mount only counts up. */
  async unmount(name: string, id: string): Promise<void> {
    await this.#locked(name, `unmount volume ${name}`, answerWithin.usual, async () => {
      const known = this.#parts.local.get(name)
      if (!known) return
      const next = await this.#update(name, (entry) => dropReference(entry, id))
      if (isReferenced(next)) return
      this.#parts.changed()
      this.#flush(name)
    })
  }

  /** As the Engine is to see it: a create that failed and is still being undone is no volume. */
  find(name: string): LocalVolume | undefined {
    const known = this.#parts.local.get(name)
    return known && isVolume(known) ? known : undefined
  }

  all(): LocalVolume[] {
    return this.#parts.local.all().filter(isVolume)
  }

  /** Names of all that this host has something of, also what is being undone. */
  here(): string[] {
    return this.#parts.local
      .all()
      .flatMap(({ volume }) => (volume.placement.host === this.#parts.host ? [volume.name] : []))
  }

  mountpoint(name: string): string {
    return this.#parts.initiators.mountpoint(name)
  }

  /** Brings one volume of this host to what its records want, and the store to what this host has. */
  async converge(name: string): Promise<void> {
    await this.#lock.hold(name, async () => {
      const { local, records, host } = this.#parts
      const stored = await records.read(name)
      const known = local.get(name)
      if (!known) {
        if (stored?.placement.host === host) await this.#adopt(stored)
        return
      }
      const absent =
        known.volume.wanted === 'absent' || (stored?.uuid === known.volume.uuid && stored.wanted === 'absent')
      if (absent) return this.#continueRemoval(known)
      if (!stored) {
        this.#parts.log.warn(
          { volume: name },
          'the store has lost the record of this volume: it is served on, but not registered',
        )
        return
      }
      if (stored.uuid !== known.volume.uuid)
        throw new Failure(
          'conflict',
          `volume ${name}: the store's record has uuid ${stored.uuid}, the data here ${known.volume.uuid}`,
        )
      if (!known.target) return this.#provision(known.volume, { fresh: false })
      await records.putTarget(await this.#ensureTarget(name))
      const { attachment } = this.#ready(name)
      if (attachment) await records.attach(attachment)
    })
  }

  /** Takes over what the store says of volumes of other hosts. */
  async follow(volumes: readonly Volume[]): Promise<void> {
    const { local, host } = this.#parts
    for (const volume of volumes) {
      if (volume.placement.host === host) continue
      const known = local.get(volume.name)
      if (JSON.stringify(known?.volume) !== JSON.stringify(volume))
        await local.put({ volume, references: known?.references ?? {} })
    }
    const names = new Set(volumes.map(({ name }) => name))
    for (const { volume } of local.all())
      if (volume.placement.host !== host && !names.has(volume.name)) await local.delete(volume.name)
  }

  /** Claims the name in the cluster. A claim of this host that a crash cut off from its local record is taken up. */
  async #claim(name: string, spec: Volume['spec']): Promise<{ volume: Volume; fresh: boolean }> {
    const { records, host } = this.#parts
    const created = new Date().toISOString()
    const volume: Volume = { name, uuid: randomUUID(), spec, placement: { host }, wanted: 'present', created }
    try {
      await records.claim(volume)
      return { volume, fresh: true }
    } catch (error) {
      if (isFailure(error, 'unavailable')) return this.#abandon(volume, error)
      const stored = isFailure(error, 'conflict') ? await records.read(name) : undefined
      if (stored?.placement.host === host) return { volume: stored, fresh: false }
      throw error
    }
  }

  /** The store may still do what it did not confirm: the claim is taken back as soon as it answers. */
  async #abandon(volume: Volume, cause: unknown): Promise<never> {
    await this.#parts.local.put({ volume: { ...volume, wanted: 'absent' }, references: {} })
    this.#parts.changed()
    throw new Failure(
      'unavailable',
      `volume ${volume.name} is not made, as its name could not be claimed: repeat when this is over`,
      cause,
    )
  }

  #checkCreated(volume: Volume, spec: Volume['spec']): void {
    this.#checkPlacedHere(volume, 'created')
    if (volume.wanted === 'absent')
      throw new Failure('in-use', `volume ${volume.name} is being removed: try again in a moment`)
    if (volume.spec.size !== spec.size || volume.spec.fs !== spec.fs)
      throw new Failure(
        'conflict',
        `volume ${volume.name} exists already, with size ${volume.spec.size} and fs ${volume.spec.fs}`,
      )
  }

  #checkPlacedHere(volume: Volume, what: string): void {
    if (volume.placement.host !== this.#parts.host)
      throw new Failure(
        'denied',
        `volume ${volume.name} is on host ${volume.placement.host}: it can only be ${what} there`,
      )
  }

  /** Only what this very call has claimed is undone when it fails: an older claim may have data, and is tried again. */
  async #provision(volume: Volume, { fresh }: { fresh: boolean }): Promise<void> {
    const { local, targets } = this.#parts
    try {
      await this.#parts.image()
      const target = await targets.provision(volume, this.#takenPorts())
      await local.put({ volume, target, references: {} })
      this.#parts.log.info(
        { volume: volume.name, portal: target.portal, size: volume.spec.size },
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
      await this.#finishRemoval(volume)
    } catch (error) {
      this.#parts.log.warn(
        { volume: volume.name, reason: explain(error) },
        'a failed create is not undone yet',
      )
      this.#parts.changed()
    }
  }

  /** The local copy was lost (`docker plugin rm` erases it), or a crash came before it: the store knows the rest. */
  async #adopt(volume: Volume): Promise<void> {
    const { local, records, log } = this.#parts
    const target = await records.readTarget(volume)
    log.info(
      { volume: volume.name, portal: target?.portal },
      'taking up a volume that was claimed for this host',
    )
    await local.put({ volume, ...(target && { target }), references: {} })
    if (volume.wanted === 'absent') await this.#finishRemoval(volume)
    else if (target) await records.putTarget(await this.#ensureTarget(volume.name))
    else await this.#provision(volume, { fresh: false })
  }

  async #continueRemoval(known: LocalVolume): Promise<void> {
    if (isReferenced(known)) await this.#forgetStaleReferences(known)
    await this.#parts.local.put({ ...known, references: {}, volume: { ...known.volume, wanted: 'absent' } })
    await this.#finishRemoval(known.volume)
  }

  async #finishRemoval(volume: Volume): Promise<void> {
    const { initiators, targets, records, local, log } = this.#parts
    await initiators.remove(volume)
    await targets.remove(volume)
    await records.forget(volume)
    await local.delete(volume.name)
    log.info({ volume: volume.name }, 'volume removed')
  }

  /** References outlive their containers when the Engine was killed. Throws `in-use` while a container really uses it. */
  async #forgetStaleReferences(known: LocalVolume): Promise<void> {
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

  #ready(name: string): ReadyVolume {
    const known = this.#parts.local.get(name)
    if (!known)
      throw new Failure(
        'not-found',
        `no volume ${name}: create it with docker volume create -d openebs ${name}`,
      )
    this.#checkPlacedHere(known.volume, 'mounted')
    if (known.volume.wanted === 'absent') throw new Failure('in-use', `volume ${name} is being removed`)
    if (!known.target)
      throw new Failure('unavailable', `volume ${name} is still being made: try again in a moment`)
    return { ...known, target: known.target }
  }

  async #ensureTarget(name: string) {
    const { volume, target } = this.#ready(name)
    const current = await this.#parts.targets.ensure(volume, target)
    if (current !== target) await this.#update(name, (entry) => ({ ...entry, target: current }))
    return current
  }

  /** Kept from then on, idle or not, until the volume is removed or handed over: a later Mount does not need the store. */
  async #claimAttachment(name: string): Promise<void> {
    const { target, attachment } = this.#ready(name)
    if (attachment?.epoch === target.epoch) return
    const { host } = this.#parts
    const claim = {
      volume: name,
      host,
      epoch: target.epoch,
      state: 'claimed' as const,
      since: new Date().toISOString(),
    }
    await this.#parts.records.attach(claim)
    await this.#update(name, (entry) => ({ ...entry, attachment: claim }))
  }

  async #update(name: string, change: (entry: LocalVolume) => LocalVolume): Promise<LocalVolume> {
    const known = this.#parts.local.get(name)
    if (!known) throw new Failure('not-found', `no volume ${name}`)
    const next = change(known)
    await this.#parts.local.put(next)
    return next
  }

  #flush(name: string): void {
    this.#parts.initiators.flush(name).catch((error: unknown) => {
      this.#parts.log.warn({ volume: name, reason: explain(error) }, 'could not flush after the last unmount')
    })
  }

  #takenPorts(): Set<number> {
    return new Set(
      this.#parts.local
        .all()
        .flatMap(({ target }) => (target ? [Number(target.portal.split(':').at(-1))] : [])),
    )
  }

  /** The answer comes in time; the work goes on, and a repeated call waits for it. */
  #locked<T>(name: string, doing: string, ms: number, work: () => Promise<T>): Promise<T> {
    const working = this.#lock.hold(name, work)
    working.catch(() => undefined)
    const done = new AbortController()
    const late = pause(ms, done.signal).then(() => {
      if (!done.signal.aborted)
        throw new Failure(
          'unavailable',
          `${doing}: not done after ${ms / 1000} s, still at it: repeat the command`,
        )
      return working
    })
    return Promise.race([working, late]).finally(() => done.abort())
  }
}

const isVolume = ({ volume, target }: LocalVolume): boolean =>
  volume.wanted === 'present' || target !== undefined
