import { randomUUID } from 'node:crypto'
import { pause } from '../process/backoff.ts'
import { explain, Failure } from '../process/failure.ts'
import type { KeyedLock } from '../process/keyed-lock.ts'
import type { Volume } from '../registry/records.ts'
import type { LocalVolume } from './local-copy.ts'
import { dropReference } from './references.ts'
import {
  type Creation,
  claiming,
  counting,
  type Mounting,
  marking,
  releasing,
  serving,
} from './volume-calls.ts'
import { checkName, parseOptions } from './volume-options.ts'
import type { VolumeParts, VolumeSteps } from './volume-steps.ts'

/** The Engine gives up after 30 s; while it restores containers, after 120 s, as the other side may be booting too. */
const answerWithin = { usual: 25_000, restoring: 110_000 } as const
/** What a Mount needs beside waiting for the mount itself, in ms. */
const margin = 500

/**
 * The Engine's calls on the life cycle of volumes on this host, one at a time per volume. Their steps are in
 * volume-calls.ts. What a crash cuts short is finished or undone by convergence.ts.
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
      const work: Creation = { volume: known?.volume ?? this.#plan(name, spec), fresh: false }
      if (known) this.#steps.checkCreated(known.volume, spec)
      else await this.#steps.run('create', claiming, work)
      if (!this.#parts.local.get(name)?.target) await this.#steps.provision(work.volume, work)
    })
  }

  async remove(name: string): Promise<void> {
    await this.#locked(name, `remove volume ${name}`, answerWithin.usual, async () => {
      const known = this.#parts.local.get(name)
      if (!known) return
      this.#steps.checkPlacedHere(known.volume, 'removed')
      await this.#steps.run('remove', marking, known)
      await this.#steps.finishRemoval(known.volume)
    })
  }

  /**
   * Answers with the folder for containers. The Engine sends no Unmount for a Mount that failed, or whose answer came
   * too late: its reference goes again.
   */
  async mount(name: string, id: string): Promise<string> {
    const ms = this.#restoring() ? answerWithin.restoring : answerWithin.usual
    const end = performance.now() + ms - margin
    return this.#locked(name, `mount volume ${name}`, ms, async (isLate) => {
      if (isLate()) return ''
      const { volume } = this.#steps.ready(name)
      const work: Mounting = { volume, id, ms: end - performance.now(), end }
      this.#onMount(name, id)
      await this.#steps.run('mount', counting, work)
      try {
        await this.#steps.run('mount', serving, work)
      } catch (error) {
        await this.#steps.update(name, (entry) => dropReference(entry, id))
        throw error
      }
      if (isLate()) await this.#steps.update(name, (entry) => dropReference(entry, id))
      this.#parts.changed()
      return this.#parts.initiators.mountpoint(name)
    })
  }

  async unmount(name: string, id: string): Promise<void> {
    await this.#locked(name, `unmount volume ${name}`, answerWithin.usual, async () => {
      if (this.#parts.local.get(name)) await this.#steps.run('unmount', releasing, { name, id })
    })
  }

  /** As the Engine is to see it. */
  find(name: string): LocalVolume | undefined {
    const known = this.#parts.local.get(name)
    return known && this.#isVolume(known) ? known : undefined
  }

  all(): LocalVolume[] {
    return this.#parts.local.all().filter((known) => this.#isVolume(known))
  }

  /**
   * A create that failed and is still being undone is no volume. Nor is one that is being made right now: the Engine takes a
   * volume that it is told of for created, so a repeated create would succeed before, and also without, the first one. What a
   * crash cut short and could not be finished yet is one: it can be removed.
   */
  #isVolume({ volume, target }: LocalVolume): boolean {
    if (target !== undefined) return true
    const isBeingMade = volume.placement.host === this.#parts.host && this.#lock.isHeld(volume.name)
    return volume.wanted === 'present' && !isBeingMade
  }

  mountpoint(name: string): string {
    return this.#parts.initiators.mountpoint(name)
  }

  #plan(name: string, spec: Volume['spec']): Volume {
    const { host } = this.#parts
    const created = new Date().toISOString()
    return { name, uuid: randomUUID(), spec, placement: { host }, wanted: 'present', created }
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
