import { Failure } from '../../../process/failure.ts'
import { type FieldKind, fields, type Part, type Protocol, protocols } from './fields.ts'

/** One field as it stands in etcd, below <protocol>/<part>/<name>/: "tls/domains/0/main"; of a list one each. */
export type Field = readonly [path: string, value: string]

/** What the labels say of one protocol: by name, fields in the order of their paths. */
export type Section = Readonly<Record<Part, ReadonlyMap<string, readonly Field[]>>>
export type Configuration = Readonly<Record<Protocol, Section>>

/**
 * What a router, service or middleware may be called. No "@", as Traefik says, no "." (a label could not hold it), and
 * not only digits, which are an index in etcd.
 */
export const isName = (text: string): boolean => /^[A-Za-z0-9_-]{1,200}$/.test(text) && !/^\d+$/.test(text)

/** The label traefik.enable, whose name counts in any case; undefined where there is none. Errors: `invalid`. */
export const enabled = (labels: Readonly<Record<string, string>>): boolean | undefined => {
  const found = Object.keys(labels).find((label) => label.toLowerCase() === 'traefik.enable')
  return found === undefined ? undefined : readBoolean(found, labels[found] ?? '')
}

/**
 * Reads the labels as Traefik's Docker provider does: names in any case, parts separated by ".", indexes in brackets.
 * Labels that are not of traefik.http, .tcp and .udp do not count, as there. Errors: `invalid` for a field that the
 * table does not have, and for a value that Traefik could not read: either would cost Traefik all it has from etcd.
 */
export const readLabels = (labels: Readonly<Record<string, string>>): Configuration => {
  const found = Object.fromEntries(protocols.map((one) => [one, emptySection()])) as Record<
    Protocol,
    Record<Part, Map<string, Field[]>>
  >
  const seen = new Map<string, string>()
  // the first spelling of a name is the one that counts: always the same one
  for (const label of Object.keys(labels).sort()) {
    const read = readLabel(label, labels[label] ?? '')
    if (!read) continue
    const { protocol, part, name, path, kind, value } = read
    const known = found[protocol][part]
    const spelled = [...known.keys()].find((one) => one.toLowerCase() === name.toLowerCase()) ?? name
    const place = `${protocol}/${part}/${spelled}/${path}`.toLowerCase()
    const twin = seen.get(place)
    if (twin !== undefined) throw new Failure('invalid', `the labels ${twin} and ${label} say the same thing`)
    seen.set(place, label)
    known.set(spelled, [...(known.get(spelled) ?? []), ...readValue(label, path, kind, value)])
  }
  return found
}

const emptySection = (): Record<Part, Map<string, Field[]>> => ({
  routers: new Map(),
  services: new Map(),
  middlewares: new Map(),
})

interface Read {
  readonly protocol: Protocol
  readonly part: Part
  readonly name: string
  readonly path: string
  readonly kind: FieldKind
  readonly value: string
}

/** Undefined for a label that is none of Traefik's routing. */
const readLabel = (label: string, value: string): Read | undefined => {
  const [root = '', first = '', second = '', name = '', ...rest] = label.split('.')
  const protocol = protocols.find((one) => one === first.toLowerCase())
  if (root.toLowerCase() !== 'traefik' || !protocol) return undefined
  const part = (['routers', 'services', 'middlewares'] as const).find((one) => one === second.toLowerCase())
  if (!part) throw new Failure('invalid', `${label}: expected routers, services or middlewares`)
  if (!isName(name))
    throw new Failure('invalid', `${label}: a name must be letters, digits, "_" and "-", not digits alone`)
  const segments = rest.flatMap((one) => splitIndex(one))
  const match = Object.entries(fields[protocol][part]).find(([pattern]) => matches(pattern, segments))
  if (!match) throw new Failure('invalid', `${label}: not an option that can be carried into etcd`)
  const [pattern, kind] = match
  return { protocol, part, name, path: spell(pattern, segments), kind, value }
}

/** "domains[0]" -> ["domains", "[0]"]. */
const splitIndex = (segment: string): string[] => {
  const indexed = /^([^[\]]+)(\[\d{1,9}\])$/.exec(segment)
  return indexed ? [indexed[1] ?? '', indexed[2] ?? ''] : [segment]
}

const matches = (pattern: string, segments: readonly string[]): boolean => {
  const wanted = pattern.split('/')
  return wanted.length === segments.length && wanted.every((one, at) => fits(one, segments[at] ?? ''))
}

const fits = (wanted: string, segment: string): boolean => {
  if (wanted === '#') return /^\[\d{1,9}\]$/.test(segment)
  if (wanted === '*') return isName(segment)
  return wanted.toLowerCase() === segment.toLowerCase()
}

/** The path as the table spells it, whatever the label does: all hosts must write the same key. */
const spell = (pattern: string, segments: readonly string[]): string =>
  pattern
    .split('/')
    .map((one, at) => (one === '*' ? segments[at] : one === '#' ? Number(segments[at]?.slice(1, -1)) : one))
    .join('/')

const readValue = (label: string, path: string, kind: FieldKind, value: string): Field[] => {
  if (kind !== 'list') return [[path, readScalar(label, kind, value)]]
  const members = value.split(',').map((one) => one.trim())
  if (members.includes('')) throw new Failure('invalid', `${label}: a list with an empty member`)
  // Traefik sorts keys as texts: of one width they stay in their order
  const width = String(members.length - 1).length
  return members.map((one, at) => [`${path}/${String(at).padStart(width, '0')}`, one])
}

const readScalar = (label: string, kind: Exclude<FieldKind, 'list'>, value: string): string => {
  const wrong = (expected: string) => new Failure('invalid', `${label}: expected ${expected}`)
  switch (kind) {
    case 'text':
      return value
    case 'name':
      if (value.trim() === '') throw wrong('a value')
      return value
    case 'boolean':
    case 'switch':
      return String(readBoolean(label, value))
    case 'integer':
      if (!/^[+-]?\d{1,18}$/.test(value)) throw wrong('a whole number')
      return value
    case 'duration':
      if (!isDuration(value)) throw wrong('a duration such as 10s or 1m30s')
      return value
  }
}

/** As Go's strconv.ParseBool, by which Traefik reads. */
const readBoolean = (label: string, value: string): boolean => {
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(value)) return true
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(value)) return false
  throw new Failure('invalid', `${label}: expected true or false`)
}

/** As Go's time.ParseDuration, or a number of seconds; up to some 10 years, so that nothing overflows there. */
const isDuration = (value: string): boolean =>
  /^[+-]?\d{1,9}$/.test(value) || /^[+-]?(\d{1,5}(\.\d{1,9})?(ns|us|µs|ms|s|m|h)){1,8}$/.test(value)
