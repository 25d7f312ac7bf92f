import { isDeepStrictEqual } from 'node:util'
import { pause } from '../process/backoff.ts'
import { explain, Failure } from '../process/failure.ts'
import type { KeyedLock } from '../process/keyed-lock.ts'
import type { Volume, VolumeSpec } from '../registry/records.ts'
import type { LocalVolume } from './local-copy.ts'
import { addReference, dropReference, isReferenced } from './references.ts'
import { checkName, parseOptions, showOptions } from './volume-options.ts'
import type { VolumeParts, VolumeSteps } from './volume-steps.ts'

/** The Engine gives up after 30 s; while it restores containers, after 120 s, as the other side may be booting too. */
const answerWithin = { usual: 25_000, restoring: 110_000 } as const
/** What a Mount needs beside waiting for the mount itself, in ms. */
const margin = 500

/**
 * The Engine's calls on the life cycle of volumes on this host, one at a time per volume. What a crash cuts short is
 * finished or undone by convergence.ts.
 *
 * create: claim volumes/<name> -> local record -> target container and LUN -> local record with target
 * remove: mark volumes/<name> absent -> local record -> initiator -> target and data -> store records -> local record
 */
export class Volumes {
  readonly #parts: VolumeParts
  readonly #steps: VolumeSteps
  readonly #lock: KeyedLock
  readonly #restoring: () => boolean
  readonly #onMount: (name: string, id: string) => void

  /**
   * `restoring` holds until the Engine has served its API once: it may be restoring containers, and waits for us.
   * `onMount` is told of each use before it is counted.
   */
  constructor(
    parts: VolumeParts,
    steps: VolumeSteps,
    lock: KeyedLock,
    { restoring, onMount }: { restoring: () => boolean; onMount: (name: string, id: string) => void },
  ) {
    this.#parts = parts
    this.#steps = steps
    this.#lock = lock
    this.#restoring = restoring
    this.#onMount = onMount
  }

  async create(name: string, options: Record<string, string> | null | undefined): Promise<void> {
    checkName(name)
    const spec = parseOptions(options)
    await this.#locked(name, `create volume ${name}`, answerWithin.usual, async () => {
      const known = this.#parts.local.get(name)
      const { volume, fresh } = known
        ? { volume: known.volume, fresh: false }
        : await this.#steps.claim(name, spec)
      this.#checkCreated(volume, spec)
      if (!known && !fresh) return this.#steps.adopt(volume)
      if (!known) await this.#parts.local.put({ volume, references: {} })
      if (!known?.target) await this.#steps.provision(volume, { fresh })
    })
  }

  async remove(name: string): Promise<void> {
    await this.#locked(name, `remove volume ${name}`, answerWithin.usual, async () => {
      const known = this.#parts.local.get(name)
      if (!known) return
      this.#steps.checkPlacedHere(known.volume, 'removed')
      if (isReferenced(known)) await this.#steps.forgetStaleReferences(known)
      await this.#parts.records.markAbsent(known.volume)
      await this.#parts.local.put({ ...known, references: {}, volume: { ...known.volume, wanted: 'absent' } })
      await this.#steps.finishRemoval(known.volume)
    })
  }

  /**
   * Answers with the folder for containers. The Engine sends no Unmount for a Mount that failed, or whose answer came
   * too late: its reference goes again.
   */
  async mount(name: string, id: string): Promise<string> {
    const ms = this.#restoring() ? answerWithin.restoring : answerWithin.usual
    const end = performance.now() + ms
    return this.#locked(name, `mount volume ${name}`, ms, async (isLate) => {
      if (isLate()) return ''
      const { volume } = this.#steps.ready(name)
      this.#onMount(name, id)
      await this.#steps.update(name, (entry) => addReference(entry, id))
      try {
        await this.#steps.claimAttachment(name)
        const left = end - performance.now() - margin
        await this.#parts.initiators.attach(volume, left, () => this.#steps.ensureTarget(name))
      } catch (error) {
        await this.#steps.update(name, (entry) => dropReference(entry, id))
        throw error
      }
      if (isLate()) await this.#steps.update(name, (entry) => dropReference(entry, id))
      this.#parts.changed()
      return this.#parts.initiators.mountpoint(name)
    })
  }

  /** The initiator stays warm: the volume is idle, and the next Mount only counts up. */
  async unmount(name: string, id: string): Promise<void> {
    await this.#locked(name, `unmount volume ${name}`, answerWithin.usual, async () => {
      const known = this.#parts.local.get(name)
      if (!known) return
      const next = await this.#steps.update(name, (entry) => dropReference(entry, id))
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

  mountpoint(name: string): string {
    return this.#parts.initiators.mountpoint(name)
  }

  #checkCreated(volume: Volume, spec: VolumeSpec): void {
    const { host } = volume.placement
    if (host !== this.#parts.host)
      throw new Failure('conflict', `volume ${volume.name} exists already, on host ${host}`)
    if (volume.wanted === 'absent')
      throw new Failure('in-use', `volume ${volume.name} is being removed: try again in a moment`)
    // a record of before there was chap is one without it
    if (!isDeepStrictEqual({ chap: false, ...volume.spec }, { chap: false, ...spec }))
      throw new Failure(
        'conflict',
        `volume ${volume.name} exists already, with other options: ${showOptions(volume.spec)}`,
      )
  }

  #flush(name: string): void {
    this.#parts.initiators.flush(name).catch((error: unknown) => {
      this.#parts.log.warn({ volume: name, reason: explain(error) }, 'could not flush after the last unmount')
    })
  }

  /** The answer comes in time; the work goes on, and a repeated call waits for it. */
  #locked<T>(
    name: string,
    doing: string,
    ms: number,
    work: (isLate: () => boolean) => Promise<T>,
  ): Promise<T> {
    let isLate = false
    const done = new AbortController()
    const working = this.#lock.hold(name, () => work(() => isLate))
    const late = pause(ms, done.signal).then(() => {
      if (done.signal.aborted) return working
      isLate = true
      working.catch((error: unknown) =>
        this.#parts.log.warn({ reason: explain(error) }, `${doing}: failed after its answer`),
      )
      throw new Failure(
        'unavailable',
        `${doing}: not done after ${ms / 1000} s, still at it: repeat the command`,
      )
    })
    return Promise.race([working, late]).finally(() => done.abort())
  }
}

const isVolume = ({ volume, target }: LocalVolume): boolean =>
  volume.wanted === 'present' || target !== undefined
