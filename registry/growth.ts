import { z } from 'zod'

/** What a plugin answers to a request of kind "grow". Sizes are bytes. */
export const Growth = z.looseObject({
  volume: z.string(),
  before: z.number().int(),
  size: z.number().int(),
  /** Why its file system grows at the next attach only; absent where it has grown. */
  waits: z.string().optional(),
})
export type Growth = z.infer<typeof Growth>
