import { z } from 'zod'
import { Failure } from '../../../process/failure.ts'
import { toText } from '../../keys.ts'
import { type Check, ownMeta, type Registration } from '../../views/consul-registration.ts'

/** What we read of Consul's answers. Lists that are empty may come as null. */
const list = z
  .array(z.string())
  .nullish()
  .transform((one) => one ?? [])
const StoodService = z.looseObject({
  ID: z.string(),
  Service: z.string(),
  Address: z.string(),
  Port: z.number(),
  Tags: list,
  Meta: z
    .record(z.string(), z.string())
    .nullish()
    .transform((one) => one ?? {}),
})
export type StoodService = z.infer<typeof StoodService>
export const StoodServices = z.record(z.string(), StoodService)

const StoodCheck = z.looseObject({
  CheckID: z.string(),
  ServiceID: z.string(),
  Status: z.string(),
  Output: z.string(),
  /** http, script, ttl, tcp, grpc …; absent in Consul before 1.7. */
  Type: z.string().optional(),
})
export type StoodCheck = z.infer<typeof StoodCheck>
export const StoodChecks = z.record(z.string(), StoodCheck)

export const StoodPairs = z.array(
  z.looseObject({
    Key: z.string(),
    /** In base64; null for nothing. */
    Value: z.string().nullable(),
    /** Of whoever holds it. */
    Session: z.string().optional(),
  }),
)

/** An answer by its schema. Errors: `unavailable`, as what does not speak like Consul may be a proxy's page. */
export const read = <S extends z.ZodType>(schema: S, answer: unknown, what: string): z.infer<S> => {
  const parsed = schema.safeParse(answer)
  if (!parsed.success)
    throw new Failure('unavailable', `what Consul says of ${what} is not what it should be`, parsed.error)
  return parsed.data
}

/** A value that a view made. */
export const registrationIn = (value: string): Registration => JSON.parse(value) as Registration

/** What we say of a check with a TTL, as far as it tells registrations apart: `unsaid` is not known yet to be said by us. */
type Said = 'critical' | 'unsaid' | undefined

/** What is compared of a registration: all that Consul tells of it, and what we are to say of its check. */
export const shownOf = (service: StoodService, checks: readonly string[], said: Said): string => {
  const { [ownMeta.host]: _, ...meta } = service.Meta
  return toText({
    name: service.Service,
    address: service.Address,
    port: service.Port,
    // registrator has them in another order
    tags: [...service.Tags].sort(),
    meta,
    checks: [...checks].sort(),
    ...(said && { said }),
  })
}

/** The same of a registration that is wanted. */
export const shownOfWanted = (wanted: Registration): string =>
  shownOf(
    { ...wanted, Service: wanted.Name, Tags: [...wanted.Tags], Meta: { ...wanted.Meta } },
    wanted.Checks.map(({ CheckID }) => CheckID),
    wanted.Beat?.Status === 'critical' ? 'critical' : undefined,
  )

/** A check's kind, in Consul's words. */
export const typeOf = (check: Check): string => {
  if (check.HTTP !== undefined) return 'http'
  if (check.Args !== undefined) return 'script'
  if (check.TTL !== undefined) return 'ttl'
  return check.TCP !== undefined ? 'tcp' : 'grpc'
}
