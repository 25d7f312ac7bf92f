import { createHash } from 'node:crypto'
import { Failure } from '../../process/failure.ts'
import { serviceId, toText } from '../keys.ts'
import type { Service } from '../records.ts'
import { checksOf } from './consul-checks.ts'
import { type Check, ownMeta, type Registration } from './consul-registration.ts'
import type { View } from './view.ts'

/**
 * Consul's agent: one registration a service instance. The key is its ID: SERVICE_ID, or <host>:<container>:<port>[:udp]; the value
 * is a Registration as JSON with its fields in alphabetical order. Fields are registrator's; Meta has all attributes of the service
 * that Consul can hold.
 */
export const consulView = (): View => ({
  instance: (service) => {
    const registration = registrationOf(service)
    return [[registration.ID, toText(registration)]]
  },
  owns: (key, host) => {
    if (!key.startsWith(`${host}:`)) return false
    return /^[^:]+:\d+(?::[a-z]+)?$/.test(key.slice(host.length + 1))
  },
})

/** Pure. Errors: `invalid` for what Consul would refuse. */
export const registrationOf = (service: Service): Registration => {
  const { id: given, ...attributes } = service.attributes
  const id = checkedId(given || serviceId(service))
  const { checks, beat } = checksOf(service, id)
  return {
    ID: id,
    Name: service.service,
    Address: service.address,
    Port: service.port,
    Tags: service.tags,
    Meta: metaOf(attributes, checks),
    Checks: checks,
    ...(beat && { Beat: beat }),
  }
}

/** Consul is asked about an ID as a part of a path, which it normalizes. */
const checkedId = (id: string): string => {
  const parts = id.split('/')
  if (parts.some((part, at) => part === '.' || part === '..' || (part === '' && at < parts.length - 1)))
    throw new Failure('invalid', `SERVICE_ID: Consul cannot be asked about ${JSON.stringify(id)}`)
  return id
}

/** What Consul takes: at most so many pairs, and of a certain form. */
const mostPairs = 64
const fits = ([key, value]: [string, string]): boolean =>
  /^[A-Za-z0-9_-]{1,128}$/.test(key) && !key.startsWith('consul-') && Buffer.byteLength(value) <= 512

/**
 * Attributes that Consul would refuse are left out, as the service is worth more than they are; of too many those of checks stay,
 * then the first by name.
 */
const metaOf = (attributes: Service['attributes'], checks: readonly Check[]): Record<string, string> => {
  const isCheck = (key: string) => key.startsWith('check_')
  const own = Object.values(ownMeta) as string[]
  const pairs = Object.entries(attributes)
    .filter((pair) => fits(pair) && !own.includes(pair[0]))
    .sort(([a], [b]) => Number(isCheck(b)) - Number(isCheck(a)) || Number(a > b) - Number(a < b))
    .slice(0, mostPairs - own.length)
  const kept = new Set(pairs.map(([key]) => key))
  // Consul does not tell what a check is: where Meta does not say it all, a digest does
  const untold = attributes.check_cmd || Object.keys(attributes).some((key) => isCheck(key) && !kept.has(key))
  return {
    ...Object.fromEntries(pairs),
    ...(untold &&
      checks.length > 0 && {
        [ownMeta.check]: createHash('sha256').update(toText(checks)).digest('hex').slice(0, 16),
      }),
  }
}
