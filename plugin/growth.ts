import { z } from 'zod'
import { Failure } from '../process/failure.ts'
import type { KeyedLock } from '../process/keyed-lock.ts'
import type { Growth } from '../registry/growth.ts'
import { sizeOf } from '../registry/records.ts'
import { size } from '../registry/size.ts'
import type { Handler } from './requests.ts'
import { enlarging, type Growing, growing } from './volume-calls.ts'
import { parseNewSize } from './volume-options.ts'
import type { VolumeSteps } from './volume-steps.ts'

const Given = z.looseObject({ volume: z.string(), size: z.string() })

/** A request of kind "grow": the name of a volume of this host, and its new `size` as `docker volume create` takes it. */
export const growHandler =
  (steps: VolumeSteps, lock: KeyedLock): Handler =>
  async (given, progress) => {
    const parsed = Given.safeParse(given)
    if (!parsed.success)
      throw new Failure('invalid', `not a request to grow a volume: ${z.prettifyError(parsed.error)}`)
    const { volume } = parsed.data
    const wanted = parseNewSize(parsed.data.size)
    progress(`growing volume ${volume} to ${size(wanted)}`)
    return lock.hold(volume, () => grow(steps, volume, wanted))
  }

const grow = async (steps: VolumeSteps, name: string, wanted: number): Promise<Growth> => {
  const { volume, growth } = steps.ready(name)
  const before = sizeOf(volume)
  if (wanted < before)
    throw new Failure(
      'invalid',
      `volume ${name} has ${size(before)}, and ${size(wanted)} is less: shrinking is refused, as it would cut off data`,
    )
  const work: Growing = { volume, size: wanted }
  if (wanted > before) await steps.run('grow', enlarging, work)
  // also of a growth that is not finished
  if (wanted > before || growth) await steps.run('grow', growing, work)
  steps.parts.changed()
  steps.parts.log.info({ volume: name, before, size: wanted, waits: work.waits }, 'volume grown')
  return { volume: name, before, size: wanted, ...(work.waits !== undefined && { waits: work.waits }) }
}
