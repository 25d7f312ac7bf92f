/** Whether a character, given by its number, is one of a class. */
export type Test = (code: number) => boolean

export const between =
  (from: number, to: number): Test =>
  (code) =>
    code >= from && code <= to
export const isOneOf = (characters: string): Test => {
  const codes = new Set(Array.from(characters, (one) => one.codePointAt(0)))
  return (code) => codes.has(code)
}
export const either =
  (...tests: Test[]): Test =>
  (code) =>
    tests.some((test) => test(code))
export const not =
  (test: Test): Test =>
  (code) =>
    !test(code)

const digit = between(0x30, 0x39)
const upper = between(0x41, 0x5a)
const lower = between(0x61, 0x7a)
const word = either(digit, upper, lower, isOneOf('_'))
export const classes: Readonly<Record<string, Test>> = {
  d: digit,
  D: not(digit),
  w: word,
  W: not(word),
  s: isOneOf('\t\n\f\r '),
  S: not(isOneOf('\t\n\f\r ')),
}
export const named: Readonly<Record<string, Test>> = {
  alnum: either(digit, upper, lower),
  alpha: either(upper, lower),
  ascii: between(0, 0x7f),
  blank: isOneOf('\t '),
  cntrl: either(between(0, 0x1f), between(0x7f, 0x7f)),
  digit,
  graph: between(0x21, 0x7e),
  lower,
  print: between(0x20, 0x7e),
  punct: either(between(0x21, 0x2f), between(0x3a, 0x40), between(0x5b, 0x60), between(0x7b, 0x7e)),
  space: isOneOf('\t\n\v\f\r '),
  upper,
  word,
  xdigit: either(digit, between(0x41, 0x46), between(0x61, 0x66)),
}
export const controls: Readonly<Record<string, number>> = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 }

/** Signs that are these letters too, where case does not count: Kelvin, the long s, Angstrom. */
export const others: Readonly<Record<string, string>> = { k: '\u212a', s: '\u017f', å: '\u212b' }

const isWord = (code: number | undefined): boolean => code !== undefined && word(code)
export const places = {
  begin: (before: number | undefined) => before === undefined,
  end: (_: number | undefined, after: number | undefined) => after === undefined,
  beginLine: (before: number | undefined) => before === undefined || before === 10,
  endLine: (_: number | undefined, after: number | undefined) => after === undefined || after === 10,
  edge: (before: number | undefined, after: number | undefined) => isWord(before) !== isWord(after),
  noEdge: (before: number | undefined, after: number | undefined) => isWord(before) === isWord(after),
}
