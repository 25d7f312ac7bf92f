import { Failure } from '../process/failure.ts'
import type { KeyedLock } from '../process/keyed-lock.ts'
import { keys } from '../registry/keys.ts'
import { sizeOf, type Volume } from '../registry/records.ts'
import type { LocalVolume } from './local-copy.ts'
import { forgetReference, isReferenced } from './references.ts'
import { growing } from './volume-calls.ts'
import type { VolumeParts, VolumeSteps } from './volume-steps.ts'

/**
 * Brings this host in line with the records, whatever a crash cut short: a create that was claimed is finished, a
 * removal that was marked is continued, what this host has is told to the store.
 */
export class Convergence {
  readonly #parts: VolumeParts
  readonly #steps: VolumeSteps
  readonly #lock: KeyedLock
  /** Uses that an earlier run of this process counted: their Unmount may never come. */
  readonly #inherited: ReadonlyMap<string, Set<string>>
  /** What was said already of a volume, not to say it at every pass. */
  readonly #said = new Map<string, string>()

  /** The local copy must be loaded. */
  constructor(parts: VolumeParts, steps: VolumeSteps, lock: KeyedLock) {
    this.#parts = parts
    this.#steps = steps
    this.#lock = lock
    this.#inherited = new Map(
      parts.local.all().map(({ volume, references }) => [volume.name, new Set(Object.keys(references))]),
    )
  }

  /** Names of all that this host has something of, also what is being undone. */
  here(): string[] {
    return this.#parts.local
      .all()
      .flatMap(({ volume }) => (volume.placement.host === this.#parts.host ? [volume.name] : []))
  }

  /** Brings one volume of this host to what its records want, and the store to what this host has. */
  async converge(name: string): Promise<void> {
    await this.#lock.hold(name, async () => {
      const { local, records, registry, host } = this.#parts
      const stored = await records.read(name)
      const known = local.get(name)
      if (!known) {
        // of another registry it may be a name of long ago, whose data are gone
        if (stored?.placement.host === host && !registry.isOther) await this.#steps.adopt(stored)
        return
      }
      const absent =
        known.volume.wanted === 'absent' || (stored?.uuid === known.volume.uuid && stored.wanted === 'absent')
      if (absent) return this.#continueRemoval(known)
      if (!stored) {
        this.#warnOnce(
          name,
          'the store has lost the record of this volume: it is served on, but not registered (registrator doctor)',
        )
        if (known.target) await this.#steps.ensureTarget(name)
        return
      }
      if (stored.uuid !== known.volume.uuid)
        throw new Failure(
          'conflict',
          `volume ${name}: the store's record has uuid ${stored.uuid}, the data here ${known.volume.uuid}`,
        )
      if (!known.target) return this.#steps.provision(known.volume, { fresh: false })
      await this.#dropStaleReferences(known)
      await this.#continueGrowth(known, stored)
      await this.#steps.tell(name)
      const { attachment } = this.#steps.ready(name)
      if (!attachment) return
      await records.attach(attachment)
      await this.#parts.initiators.tend(known.volume)
      await this.#parts.initiators.learn(name)
      await this.#parts.initiators.showAgain(name)
    })
  }

  /** Takes over what the store says of volumes of other hosts; what of it cannot be read stays as it was. */
  async follow(volumes: readonly Volume[], unreadable: readonly string[]): Promise<void> {
    const { local, registry, host } = this.#parts
    // what another registry lacks is not gone: the Engine would forget options and labels of those volumes
    if (registry.isOther) return
    for (const volume of volumes) {
      if (volume.placement.host === host) continue
      const known = local.get(volume.name)
      // the store was wiped, and the name made anew elsewhere: this host's data are not given up for that
      if (known?.volume.placement.host === host) {
        this.#warnOnce(
          volume.name,
          `this volume of ours stands in the store as one of host ${volume.placement.host}`,
        )
        continue
      }
      if (JSON.stringify(known?.volume) !== JSON.stringify(volume))
        await local.put({ volume, references: {} })
    }
    const stand = new Set([...volumes.map(({ name }) => keys.volume(name)), ...unreadable])
    for (const { volume } of local.all())
      if (volume.placement.host !== host && !stand.has(keys.volume(volume.name)))
        await local.delete(volume.name)
  }

  /** The Engine mounts it now under this id, which an earlier run may have counted too: its Unmount will come. */
  seen(name: string, id: string): void {
    this.#inherited.get(name)?.delete(id)
  }

  #warnOnce(name: string, problem: string): void {
    if (this.#said.get(name) === problem) return
    this.#said.set(name, problem)
    this.#parts.log.warn({ volume: name }, problem)
  }

  async #continueRemoval(known: LocalVolume): Promise<void> {
    if (isReferenced(known)) await this.#steps.forgetStaleReferences(known)
    await this.#parts.local.put({ ...known, references: {}, volume: { ...known.volume, wanted: 'absent' } })
    await this.#steps.finishRemoval(known.volume)
  }

  /** The record says how large the volume is to be, but for one that a store of before lacks: what has grown stays so. */
  async #continueGrowth({ volume, growth }: LocalVolume, stored: Volume): Promise<void> {
    const { name } = volume
    const [here, wanted] = [sizeOf(volume), sizeOf(stored)]
    if (wanted > here) await this.#steps.enlarge(name, wanted)
    else if (wanted < here && growth?.of === 'lun') await this.#steps.shrinkBack(name)
    else if (wanted < here) await this.#parts.records.resize(volume, here)
    const known = this.#steps.ready(name)
    if (known.growth?.of === 'lun')
      await this.#steps.run('grow', growing, { volume: known.volume, size: sizeOf(known.volume) })
    else await this.#steps.detachOutgrown(name, { uses: 0 })
  }

  /** When the Engine was killed no Unmount comes: what an earlier run counted goes once no container runs on it. */
  async #dropStaleReferences(known: LocalVolume): Promise<void> {
    const { name } = known.volume
    const inherited = this.#inherited.get(name)
    const ids = Object.keys(known.references)
    if (ids.length === 0 || !ids.every((id) => inherited?.has(id))) return
    if ((await this.#parts.engine.users(name)).length > 0) return
    await this.#steps.update(name, (entry) => ids.reduce(forgetReference, entry))
    this.#parts.log.info(
      { volume: name, ids },
      'uses of an earlier run are dropped: no container runs on the volume',
    )
  }
}
