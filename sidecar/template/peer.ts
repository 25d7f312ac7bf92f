import { Failure } from '../../process/failure.ts'
import type { Func } from './function.ts'
import type { Budget } from './limits.ts'
import { compileRegexp, matches } from './regexp.ts'
import type { Value } from './values.ts'

// Registrator's own functions. What they are applied to comes last, so that a pipe can bring it; of strSlice alone it comes
// first. The arguments are of the kinds that `takes` names: that is checked before a call.

/** Of the bytes from one to another, or to the end; all of it where the string is shorter. */
const strSlice = (text: string, ends: readonly number[]): string => {
  const bytes = Buffer.from(text)
  const [from = 0, to] = ends
  if (ends.length === 0 || ends.length > 2 || ends.some((end) => end > bytes.length)) return text
  // an end before the start counts only after a start of 0
  const until = to === undefined || (from !== 0 && to < from) ? bytes.length : to
  if (from < 0 || until < 0) throw new Failure('invalid', `strSlice: ${from < 0 ? from : until} is negative`)
  return bytes.subarray(from, until).toString()
}

/** Negative: from the end. Beyond either end: the one there. */
const elementAt = (list: readonly string[], at: bigint): string => {
  const found =
    at < 0n ? list.at(Number(-at < BigInt(list.length) ? at : 0n)) : (list[Number(at)] ?? list.at(-1))
  if (found === undefined) throw new Failure('invalid', 'the list is empty, it has no element')
  return found
}

/** Go's cases map a character to one; "ß" stays. */
const mapped = (text: string, toCase: (character: string) => string): string =>
  Buffer.byteLength(text) === text.length
    ? toCase(text)
    : Array.from(text, (one) => ([...toCase(one)].length === 1 ? toCase(one) : one)).join('')

/** The first `most` of them, all where it is negative. An empty `old` is found before each character and at the end. */
const replace = (text: string, old: string, by: string, most: bigint, budget: Budget): string => {
  const parts = old === '' ? ['', ...text, ''] : text.split(old)
  const result = budget.text()
  for (const [i, part] of parts.entries()) {
    if (i > 0) result.add(most < 0n || BigInt(i) <= most ? by : old)
    result.add(part)
  }
  return result.toString()
}

const split = (text: string, by: string): string[] => (by === '' ? [...text] : text.split(by))

const matching = (pattern: string, list: readonly string[], budget: Budget, most: number): string[] => {
  const regexp = compileRegexp(pattern)
  const found: string[] = []
  for (const one of list) {
    if (found.length === most) break
    if (matches(regexp, one, budget)) found.push(one)
  }
  return found
}

const onePattern: Pick<Func, 'takes' | 'check'> = {
  takes: ['string', 'strings'],
  check: (pattern) => compileRegexp(String(pattern)),
}

const texts = (list: Value): readonly string[] => list as readonly string[]

export const peerFunctions: Readonly<Record<string, Func>> = {
  strSlice: {
    takes: ['string'],
    rest: 'int',
    call: ([text, ...ends]) => strSlice(String(text), ends.map(Number)),
  },
  sIndex: { takes: ['int', 'strings'], call: ([at, list]) => elementAt(texts(list), at as bigint) },
  mIndex: {
    takes: ['string', 'labels'],
    call: ([key, map]) => (map as { entries: ReadonlyMap<string, Value> }).entries.get(String(key)) ?? '',
  },
  toUpper: { takes: ['string'], call: ([text]) => mapped(String(text), (one) => one.toUpperCase()) },
  toLower: { takes: ['string'], call: ([text]) => mapped(String(text), (one) => one.toLowerCase()) },
  replace: {
    takes: ['int', 'string', 'string', 'string'],
    call: ([most, old, by, text], budget) =>
      replace(String(text), String(old), String(by), most as bigint, budget),
  },
  join: {
    takes: ['string', 'strings'],
    call: ([by, list], budget) => {
      const text = budget.text()
      for (const [i, part] of texts(list).entries()) text.add(i === 0 ? part : `${by}${part}`)
      return text.toString()
    },
  },
  split: { takes: ['string', 'string'], call: ([by, text]) => split(String(text), String(by)) },
  splitIndex: {
    takes: ['int', 'string', 'string'],
    call: ([at, by, text]) => elementAt(split(String(text), String(by)), at as bigint),
  },
  matchFirstElement: {
    ...onePattern,
    call: ([pattern, list], budget) => matching(String(pattern), texts(list), budget, 1)[0] ?? '',
  },
  matchAllElements: {
    ...onePattern,
    call: ([pattern, list], budget) =>
      matching(String(pattern), texts(list), budget, Number.POSITIVE_INFINITY),
  },
}
