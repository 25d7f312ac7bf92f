import { Failure } from '../../process/failure.ts'
import type { Func } from './function.ts'
import type { Budget } from './limits.ts'
import { countOf, format, print } from './print.ts'
import { compareBytes, Dictionary, isList, isTrue, typeOf, type Value } from './values.ts'

const fail = (what: string): never => {
  throw new Failure('invalid', what)
}

/** fmt.Sprint: a space between two of which none is a string; or fmt.Sprintln: between all. */
const sprint = (values: readonly Value[], budget: Budget, everywhere: boolean): string => {
  const text = budget.text()
  for (const [i, value] of values.entries()) {
    const apart = everywhere || (typeof value !== 'string' && typeof values[i - 1] !== 'string')
    print(value, i > 0 && apart ? text.add(' ') : text)
  }
  return text.toString()
}

const length = (value: Value): bigint => {
  if (typeof value === 'string') return BigInt(Buffer.byteLength(value))
  if (isList(value)) return BigInt(value.length)
  return value instanceof Dictionary
    ? BigInt(value.entries.size)
    : fail(`len of a value of type ${typeOf(value)}`)
}

const element = (value: Value, key: Value): Value => {
  if (value instanceof Dictionary) {
    if (typeof key !== 'string')
      return fail(`index: a map takes a string, not a value of type ${typeOf(key)}`)
    return value.entries.has(key) ? value.entries.get(key) : value.zero
  }
  if (!isList(value) && typeof value !== 'string')
    return fail(`index: cannot index a value of type ${typeOf(value)}`)
  const items = typeof value === 'string' ? Buffer.from(value) : value
  const at = position(key, BigInt(items.length) - 1n, 'index')
  const item = items[at]
  return typeof item === 'number' && typeof value === 'string' ? BigInt(item) : item
}

/** A key that is 0 to `most`. */
const position = (key: Value, most: bigint, by: string): number => {
  if (typeof key !== 'bigint') return fail(`${by}: expected an integer, not a value of type ${typeOf(key)}`)
  return key < 0n || key > most
    ? fail(`${by}: ${key} is out of range: there are ${by === 'index' ? most + 1n : most}`)
    : Number(key)
}

const slice = ([value, ...ends]: readonly Value[]): Value => {
  if (typeof value !== 'string' && !isList(value))
    return fail(`slice: cannot slice a value of type ${typeOf(value)}`)
  if (typeof value === 'string' && ends.length > 2) return fail('slice: a string takes two ends at most')
  const items = typeof value === 'string' ? Buffer.from(value) : value
  const [from = 0, to = items.length, most = items.length] = ends.map((end) =>
    position(end, BigInt(items.length), 'slice'),
  )
  if (from > to || to > most) return fail(`slice: ${from} to ${to} is no range`)
  return Buffer.isBuffer(items) ? items.subarray(from, to).toString() : items.slice(from, to)
}

/** Go's basic kinds of what can be compared. */
const isBasic = (value: Value): boolean => ['boolean', 'bigint', 'number', 'string'].includes(typeof value)

const isNil = (value: Value): value is null | undefined => value === undefined || value === null

const equal = (a: Value, b: Value): boolean => {
  if (isNil(a) || isNil(b)) return isNil(a) && isNil(b)
  for (const value of [a, b]) if (!isBasic(value)) fail(`cannot compare a value of type ${typeOf(value)}`)
  return typeof a === typeof b ? a === b : fail(`cannot compare ${typeOf(a)} with ${typeOf(b)}`)
}

/** Negative: a is less. */
const compare = (a: Value, b: Value): number => {
  if (typeof a === 'string' && typeof b === 'string') return compareBytes(a, b)
  if (typeof a === 'bigint' && typeof b === 'bigint') return a < b ? -1 : Number(a > b)
  if (typeof a === 'number' && typeof b === 'number') return a - b
  return fail(
    isBasic(a) && isBasic(b) && typeof a !== typeof b
      ? `cannot compare ${typeOf(a)} with ${typeOf(b)}`
      : `values of type ${typeOf(isBasic(a) && typeof a !== 'boolean' ? b : a)} have no order`,
  )
}

const ordered = (holds: (order: number) => boolean): Func => ({
  takes: ['any', 'any'],
  call: ([a, b]) => holds(compare(a, b)),
})

/** url.QueryEscape. */
const queryEscape = (text: string): string =>
  encodeURIComponent(text.toWellFormed())
    .replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+')

/** Go's own functions, as package text/template documents them; `and` and `or` stop at the argument that decides. */
export const builtins: Readonly<Record<string, Func>> = {
  and: { takes: ['any'], rest: 'any', stops: (arg) => !isTrue(arg), call: (args) => args.at(-1) },
  or: { takes: ['any'], rest: 'any', stops: isTrue, call: (args) => args.at(-1) },
  not: { takes: ['any'], call: ([value]) => !isTrue(value) },
  eq: { takes: ['any', 'any'], rest: 'any', call: ([a, ...others]) => others.some((b) => equal(a, b)) },
  ne: { takes: ['any', 'any'], call: ([a, b]) => !equal(a, b) },
  lt: ordered((order) => order < 0),
  le: ordered((order) => order <= 0),
  gt: ordered((order) => order > 0),
  ge: ordered((order) => order >= 0),
  len: { takes: ['any'], call: ([value]) => length(value) },
  index: { takes: ['any'], rest: 'any', call: ([value, ...keys]) => keys.reduce(element, value) },
  slice: {
    takes: ['any'],
    rest: 'any',
    call: (args) => (args.length > 4 ? fail('slice takes three ends at most') : slice(args)),
  },
  print: { takes: [], rest: 'any', call: (args, budget) => sprint(args, budget, false) },
  println: { takes: [], rest: 'any', call: (args, budget) => `${sprint(args, budget, true)}\n` },
  printf: {
    takes: ['string'],
    rest: 'any',
    call: ([form, ...values], budget) => format(String(form), values, budget),
    check: (form) => countOf(String(form)),
  },
  urlquery: {
    takes: [],
    rest: 'any',
    call: (args, budget) => {
      // what is not there is a text already
      const values = args.map((arg) => (isNil(arg) ? '<no value>' : arg))
      return budget
        .text()
        .add(queryEscape(sprint(values, budget, false)))
        .toString()
    },
  },
}
