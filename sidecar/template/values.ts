import { Failure } from '../../process/failure.ts'

/**
 * A value of a template. Integers are bigint and other numbers are number, as Go holds them apart. `undefined` is what a map
 * without the key gives ("no value"), `null` is nil.
 */
export type Value =
  | undefined
  | null
  | boolean
  | bigint
  | number
  | string
  | readonly Value[]
  | Dictionary
  | Struct

/** A Go map whose keys are strings; `zero` is what `index` gives for a key that it has not. */
export class Dictionary {
  readonly entries: ReadonlyMap<string, Value>
  readonly zero: Value
  #sorted: readonly (readonly [string, Value])[] | undefined

  constructor(entries: Iterable<readonly [string, Value]>, zero?: Value) {
    this.entries = new Map(entries)
    this.zero = zero
  }

  /** In the order of the keys' bytes, as Go prints a map and goes over it. */
  sorted(): readonly (readonly [string, Value])[] {
    this.#sorted ??= [...this.entries].sort(([a], [b]) => compareBytes(a, b))
    return this.#sorted
  }
}

/** A Go struct: asking for a field that it has not is an error. */
export class Struct {
  readonly fields: ReadonlyMap<string, Value>

  constructor(fields: ReadonlyMap<string, Value>) {
    this.fields = fields
  }
}

/** Deeper data are not a container's, or have no end. */
const deepest = 64

/** Of JSON as Go decodes it without a type: objects are maps. Whole numbers are integers. Throws Failure `invalid` for data too deep. */
export const toValue = (data: unknown, depth = 0): Value => {
  if (data instanceof Dictionary || data instanceof Struct) return data
  if (depth > deepest) throw new Failure('invalid', `data of a template: more than ${deepest} levels deep`)
  if (typeof data === 'number')
    return Number.isInteger(data) && Math.abs(data) < 2 ** 63 ? BigInt(data) : data
  if (Array.isArray(data)) return data.map((one) => toValue(one, depth + 1))
  if (isPlain(data))
    return new Dictionary(Object.entries(data).map(([key, value]) => [key, toValue(value, depth + 1)]))
  return isScalar(data) ? data : undefined
}

/** An object of JSON. */
export const isPlain = (data: unknown): data is Record<string, unknown> =>
  typeof data === 'object' && data !== null && !Array.isArray(data)

const isScalar = (data: unknown): data is null | boolean | bigint | string =>
  data === null || ['boolean', 'bigint', 'string'].includes(typeof data)

export const isList = (value: Value): value is readonly Value[] => Array.isArray(value)

/** Go's truth: false, 0, nil, and what is empty are false; a struct is true. */
export const isTrue = (value: Value): boolean => {
  if (isList(value)) return value.length > 0
  return value instanceof Dictionary ? value.entries.size > 0 : Boolean(value)
}

/** For messages. */
export const typeOf = (value: Value): string => {
  if (value === undefined || value === null) return 'nil'
  if (isList(value)) return 'list'
  if (value instanceof Dictionary) return 'map'
  if (value instanceof Struct) return 'object'
  return { boolean: 'bool', bigint: 'int', number: 'float', string: 'string' }[
    typeof value as 'boolean' | 'bigint' | 'number' | 'string'
  ]
}

/** The order of Go's strings, which are bytes. */
export const compareBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))
