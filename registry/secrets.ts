import { z } from 'zod'
import { Failure } from '../process/failure.ts'

/**
 * secrets/<volume>, durable, compare-and-put: what an initiator proves itself with to the volume's target (CHAP), for hosts
 * that serve or attach the volume. It is in no collection: no command and no answer of ours shows it.
 */
export const Secret = z.looseObject({
  volume: z.string(),
  uuid: z.uuid(),
  epoch: z.number().int().min(1),
  password: z.string().min(12),
})
export type Secret = z.infer<typeof Secret>

export const encodeSecret = (secret: Secret): string => JSON.stringify(Secret.parse(secret))

/** `invalid` where this version cannot read it. What stands there is not repeated. */
export const decodeSecret = (key: string, value: string): Secret => {
  try {
    return Secret.parse(JSON.parse(value))
  } catch {
    throw new Failure('invalid', `${key} cannot be read`)
  }
}
