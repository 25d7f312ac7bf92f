import type { z } from 'zod'
import { Failure } from '../process/failure.ts'
import { Audit } from './audit.ts'
import * as records from './records.ts'
import { Request } from './requests.ts'

/**
 * Every kind of record and its key below the prefix (a setting, /openebs/v1). Parts are percent-encoded where they
 * hold a "/" or a "%", so that a name can never reach into another record's key.
 */
export const part = (text: string): string => text.replaceAll('%', '%25').replaceAll('/', '%2F')
const plain = (text: string): string => decodeURIComponent(text.replace(/%(?!25|2F)/gi, '%25'))

export const keys = {
  /** Of no record: what a writer rewrites to stop late writes of its own (stores/etcd/fence.ts). */
  fence: (writer: string) => `fences/${part(writer)}`,
  /** Of no collection: which registry this is (origin.ts). */
  origin: () => 'origin',
  /** Of no collection: what the guards of all hosts go by (policy.ts). */
  policy: () => 'policy',
  host: (host: string) => `hosts/${part(host)}`,
  alive: (host: string) => `alive/${part(host)}`,
  inventory: (host: string, kind: records.InventoryKind, id: string) =>
    `inventory/${part(host)}/${kind}/${part(id)}`,
  service: (s: Pick<records.Service, 'service' | 'host' | 'container' | 'exposedPort' | 'protocol'>) =>
    `services/${part(s.service)}/${part(serviceId(s))}`,
  vsm: (vsm: string, host: string) => `vsms/${part(vsm)}/${part(host)}`,
  volume: (volume: string) => `volumes/${part(volume)}`,
  target: (host: string, volume: string) => `targets/${part(host)}/${part(volume)}`,
  secret: (volume: string) => `secrets/${part(volume)}`,
  attachment: (volume: string) => `attachments/${part(volume)}`,
  /** Below it are the requests to a host. */
  requests: (host: string) => `requests/${part(host)}/`,
  request: (host: string, id: string) => `requests/${part(host)}/${part(id)}`,
  /** `nano`: nanoseconds since 1970 in decimal, fixed-width so that keys sort by time; `digest` tells events of one instant apart. */
  event: (host: string, nano: string, digest: string) =>
    `events/${part(host)}/${nano.padStart(19, '0')}-${digest}`,
  /** `time` in ms since 1970 and `seq` within it, both fixed-width: keys sort by time. */
  audit: (host: string, time: number, seq: number) =>
    `audit/${part(host)}/${String(time).padStart(14, '0')}-${String(seq).padStart(6, '0')}`,
} as const

/** What a host may be called: the name stands in keys and before the ":" of a service's instance. */
export const hostName = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$/

/** <host>:<container>:<port>[:udp], as registrator's users know it. */
export const serviceId = (
  s: Pick<records.Service, 'host' | 'container' | 'exposedPort' | 'protocol'>,
): string => `${s.host}:${s.container}:${s.exposedPort}${s.protocol === 'tcp' ? '' : `:${s.protocol}`}`

/** First part of the key -> schema of its records. */
export const schemas = {
  hosts: records.Host,
  alive: records.Alive,
  inventory: records.Inventory,
  services: records.Service,
  vsms: records.Vsm,
  volumes: records.Volume,
  targets: records.Target,
  attachments: records.Attachment,
  events: records.JournalEntry,
  audit: Audit,
  requests: Request,
} as const
export type Collection = keyof typeof schemas
export type RecordOf<C extends Collection> = z.infer<(typeof schemas)[C]>

/** The parts of a key, decoded: "vsms/a%2Fb/h1" -> ["vsms", "a/b", "h1"]. */
export const keyParts = (key: string): string[] => key.split('/').map(plain)

/**
 * Text of a record with a defined order of fields, so that equal records are equal texts. Refuses (`invalid`) what
 * its schema does not allow: nothing malformed is ever written.
 */
export const encode = <C extends Collection>(collection: C, record: RecordOf<C>): string => {
  const parsed = schemas[collection].safeParse(record)
  if (!parsed.success)
    throw new Failure('invalid', `a record for ${collection}/ does not fit its schema`, parsed.error)
  return toText(parsed.data)
}

/** A value as it stands in the store: JSON in one line, its fields in alphabetical order. */
export const toText = (value: unknown): string => JSON.stringify(sorted(value))

/** Reads a record back; `invalid` if a foreign hand or a newer version wrote what this version cannot read. */
export const decode = <C extends Collection>(collection: C, key: string, value: string): RecordOf<C> => {
  let json: unknown
  try {
    json = JSON.parse(value)
  } catch (error) {
    throw new Failure('invalid', `${key} holds no JSON`, error)
  }
  const parsed = schemas[collection].safeParse(json)
  if (!parsed.success)
    throw new Failure('invalid', `${key} does not fit the schema of ${collection}/`, parsed.error)
  return parsed.data as RecordOf<C>
}

const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted)
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value).filter(([, field]) => field !== undefined)
  return Object.fromEntries(
    entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, field]) => [name, sorted(field)]),
  )
}
