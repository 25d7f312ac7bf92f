import { Failure } from '../../process/failure.ts'
import type { VolumeParts, VolumeSteps } from '../volume-steps.ts'
import { type DoctorPlace, releaseLoopContainer, releaseMountContainer } from './bodies.ts'
import type { Remedy } from './found.ts'

/** ms that a container may take to end by itself, and a volume to be mounted. */
const patience = { stop: 40_000, mount: 60_000 } as const

export interface MendParts {
  parts: VolumeParts
  steps: VolumeSteps
  place: DoctorPlace
}

/** One small step; whoever calls it holds the lock of the volume, and has just seen that it is still called for. */
type Mend = { [K in Remedy['kind']]: (of: Extract<Remedy, { kind: K }>, by: MendParts) => Promise<void> }

const mends: Mend = {
  'remove-container': async ({ name, uuid }, { parts }) => {
    await parts.engine.remove({ name, body: { Labels: { 'openebs.uuid': uuid } } }, patience.stop)
  },
  'make-target': async ({ volume }, { parts, steps }) => {
    const { spec } = steps.ready(volume).volume
    await parts.images(spec)
    await steps.ensureTarget(volume)
    parts.changed()
  },
  'make-initiator': async ({ volume: name }, { parts, steps }) => {
    const { volume } = steps.ready(name)
    await parts.images(volume.spec)
    const ms = patience.mount
    const end = performance.now() + ms
    const obstacle = await parts.initiators.make(volume, end, () => steps.ensureTarget(name))
    await parts.initiators.awaitServed(volume, { ms, end, obstacle })
    parts.changed()
  },
  'release-mount': async ({ volume }, { parts, place }) => {
    await parts.images({})
    await parts.engine.runOnce(
      releaseMountContainer(volume, place),
      `unmount what is left of volume ${volume}`,
    )
  },
  'detach-loop': async ({ loop }, { parts, place }) => {
    await parts.images({})
    await parts.engine.runOnce(releaseLoopContainer(loop, place), `detach ${loop}`)
  },
  register: async ({ volume }, { parts, steps }) => {
    const known = steps.ready(volume)
    const password = await parts.secrets.recover(known.volume, known.target)
    await parts.records.register(known, password)
    parts.changed()
  },
  'adopt-registry': async (_, { parts }) => {
    await parts.registry.adopt()
    parts.changed()
  },
}

/** Rejects with the Failure of what stood in the way. May be repeated. */
export const mend = async <K extends Remedy['kind']>(
  remedy: Extract<Remedy, { kind: K }>,
  by: MendParts,
): Promise<void> => {
  const step = mends[remedy.kind] as Mend[K] | undefined
  if (!step) throw new Failure('invalid', `no step mends ${remedy.kind}`)
  await step(remedy, by)
}
