import { explain, isFailure } from '../process/failure.ts'
import type { Attachment, Target, Volume } from '../registry/records.ts'
import type { LocalVolume } from './local-copy.ts'
import { addReference, dropReference, isReferenced } from './references.ts'
import type { VolumeSteps } from './volume-steps.ts'

/**
 * The Engine's calls as tables: each step by its name, in their order. A crash may come after any of them, so each can be
 * repeated; what is done then is in docs/architecture.md, and test/faults/crash-points.test.ts tries every one.
 */
export type Table<Work> = Readonly<Record<string, (steps: VolumeSteps, work: Work) => unknown>>

export interface Creation {
  volume: Volume
  /** This very call has claimed the name. */
  fresh: boolean
}

/** Create, of a volume that is not known here. */
export const claiming: Table<Creation> = {
  claim: async (steps, work) => {
    const { spec } = work.volume
    Object.assign(work, await steps.claim(work.volume))
    steps.checkCreated(work.volume, spec)
  },
  record: (steps, { volume, fresh }) =>
    fresh ? steps.parts.local.put({ volume, references: {} }) : steps.adopt(volume),
}

export interface Provisioning {
  volume: Volume
  target?: Target
}

/** Create, of a volume that has no target yet; convergence goes on from here. */
export const provisioning: Table<Provisioning> = {
  image: ({ parts }, { volume }) => parts.images(volume.spec),
  container: async ({ parts }, work) => {
    work.target = await parts.targets.start(work.volume, takenPorts(parts.local.all()))
  },
  lun: ({ parts }, work) => parts.targets.makeLun(work.volume, targetOf(work)),
  portal: ({ parts }, work) => parts.targets.awaitPortal(targetOf(work)),
  target: ({ parts }, work) =>
    parts.local.put({ volume: work.volume, target: targetOf(work), references: {} }),
}

export interface Mounting {
  volume: Volume
  id: string
  /** ms that containers and mount may take, and when they are over. */
  ms: number
  end: number
  claim?: Attachment | undefined
  /** What stands in the way of the containers. */
  obstacle?: unknown
}

/** Mount: what is counted off again when the rest of it fails. */
export const counting: Table<Mounting> = {
  count: (steps, { volume, id }) => steps.update(volume.name, (entry) => addReference(entry, id)),
}

/** Mount, once the use is counted. */
export const serving: Table<Mounting> = {
  claim: async (steps, work) => {
    work.claim = await steps.claimAttachment(work.volume.name)
  },
  attachment: (steps, { volume, claim }) =>
    claim && steps.update(volume.name, (entry) => ({ ...entry, attachment: claim })),
  containers: async (steps, work) => {
    const { volume, end } = work
    await steps.detachOutgrown(volume.name, { uses: 1 })
    work.obstacle = await steps.parts.initiators.make(volume, end, () => steps.ensureTarget(volume.name))
  },
  served: ({ parts }, work) => parts.initiators.awaitServed(work.volume, work),
}

export interface Use {
  name: string
  id: string
}

/** Unmount. The initiator stays warm: the volume is idle, and the next Mount only counts up. */
export const releasing: Table<Use> = {
  count: (steps, { name, id }) => steps.update(name, (entry) => dropReference(entry, id)),
  flush: ({ parts }, { name }) => {
    const known = parts.local.get(name)
    if (!known || isReferenced(known)) return
    parts.changed()
    parts.initiators.flush(name).catch((error: unknown) => {
      parts.log.warn({ volume: name, reason: explain(error) }, 'could not flush after the last unmount')
    })
  },
}

export interface Growing {
  volume: Volume
  /** Bytes that it is to have. */
  size: number
  /** Why the file system has to wait for the next attach. */
  waits?: string | undefined
}

/** What `registrator volumes grow` asks for: refused before anything is changed, or not at all. */
export const enlarging: Table<Growing> = {
  room: async (steps, { volume, size }) =>
    steps.parts.targets.checkGrowth(volume, await steps.ensureTarget(volume.name), size),
  record: async (steps, { volume, size }) => {
    await steps.parts.records.resize(volume, size)
    await steps.enlarge(volume.name, size)
  },
}

/** The rest of it; convergence goes on from here. */
export const growing: Table<Growing> = {
  lun: (steps, work) => steps.growLun(work),
  'file-system': async (steps, work) => {
    work.waits = await steps.growFileSystem(work)
  },
}

/** Remove: from `mark` on it goes on whatever crashes. */
export const marking: Table<LocalVolume> = {
  unused: async (steps, known) => {
    if (isReferenced(known)) await steps.forgetStaleReferences(known)
  },
  mark: ({ parts }, { volume }) => parts.records.markAbsent(volume),
  record: ({ parts }, known) =>
    parts.local.put({ ...known, references: {}, volume: { ...known.volume, wanted: 'absent' } }),
}

/** Remove, of a volume that is marked absent; convergence goes on from here. */
export const removing: Table<Volume> = {
  initiator: ({ parts }, volume) => parts.initiators.remove(volume),
  target: ({ parts }, volume) => parts.targets.remove(volume),
  data: async ({ parts }, volume) => {
    const provisioned = parts.local.get(volume.name)?.target !== undefined
    await parts.targets.erase(volume).catch((error: unknown) => {
      // a create that met a folder which is not its own: there is nothing of this volume to erase
      if (provisioned || !isFailure(error, 'invalid')) throw error
      parts.log.warn(
        { volume: volume.name, reason: explain(error) },
        'a folder that is not of this volume is left alone',
      )
    })
  },
  secret: ({ parts }, volume) => parts.secrets.forget(volume),
  records: ({ parts }, volume) => parts.records.forget(volume),
  forgotten: ({ parts }, volume) => parts.local.delete(volume.name),
}

const of = (...tables: object[]): string[] => tables.flatMap((table) => Object.keys(table))

/** The steps of each call, in their order. */
export const calls = {
  create: of(claiming, provisioning),
  mount: of(counting, serving),
  unmount: of(releasing),
  grow: of(enlarging, growing),
  remove: of(marking, removing),
} as const
export type Call = keyof typeof calls

const targetOf = ({ volume, target }: Provisioning): Target => {
  if (!target) throw new Error(`volume ${volume.name}: step container comes first`)
  return target
}

const takenPorts = (volumes: readonly LocalVolume[]): Set<number> =>
  new Set(volumes.flatMap(({ target }) => (target ? [Number(target.portal.split(':').at(-1))] : [])))
