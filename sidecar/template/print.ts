import { Failure } from '../../process/failure.ts'
import type { Budget, Text } from './limits.ts'
import { Dictionary, isList, Struct, typeOf, type Value } from './values.ts'

/** A value among others, as Go's %v has it: [a b], map[k:v], <nil>. Throws Failure `invalid` for an object. */
export const print = (value: Value, text: Text): Text => printNested(value, text, printScalar)

/** Of a whole pipeline: what is not there prints "<no value>". */
export const printResult = (value: Value, text: Text): Text =>
  value === undefined || value === null ? text.add('<no value>') : print(value, text)

type Scalar = Exclude<Value, readonly Value[] | Dictionary | Struct>

/** A list and a map by their elements, each of them as `scalar` says. */
const printNested = (value: Value, text: Text, scalar: (value: Scalar) => string): Text => {
  if (value instanceof Struct)
    throw new Failure(
      'invalid',
      `cannot print an object: name one of its fields, ${[...value.fields.keys()].join(', ')}`,
    )
  if (isList(value)) {
    text.add('[')
    for (const [i, element] of value.entries()) printNested(element, i === 0 ? text : text.add(' '), scalar)
    return text.add(']')
  }
  if (!(value instanceof Dictionary)) return text.add(scalar(value))
  text.add('map[')
  for (const [i, [key, element]] of value.sorted().entries())
    printNested(element, text.add(`${i === 0 ? '' : ' '}${scalar(key)}:`), scalar)
  return text.add(']')
}

const printScalar = (value: Scalar): string => {
  if (value === undefined || value === null) return '<nil>'
  return typeof value === 'number' ? printFloat(value) : String(value)
}

/** The shortest digits that tell the number, with an exponent below 1e-04 and from 1e+06 on. */
const printFloat = (value: number): string => {
  const [digits = '', exponent = '0'] = value.toExponential().split('e')
  const power = Number(exponent)
  if (power >= -4 && power < 6) return Object.is(value, -0) ? '-0' : plain(value)
  return `${digits}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`
}

/** Without an exponent: JavaScript writes one below 1e-6. */
const plain = (value: number): string => {
  const text = String(value)
  return text.includes('e') ? value.toFixed(20).replace(/0+$/, '') : text
}

/** A format is text, and %, flags, width, precision and a verb in between. */
const directive = /%([-+ 0#]*)(\d*)(?:\.(\d*))?(.)?/gsu

const verbs = '%s %d %v %q %t %x %X %%'

const flagsOf = (verb: string): string => ({ d: '-+0 ', x: '-0', X: '-0' })[verb] ?? '-'

/** How many values a format takes. Throws Failure `invalid` for one that is not supported. */
export const countOf = (format: string): number => {
  const found = [...format.matchAll(directive)]
  for (const [whole, flags, width, precision, verb] of found) {
    if (!verb || !'sdvqtxX%'.includes(verb))
      throw new Failure('invalid', `printf does not support ${whole}: expected one of ${verbs}`)
    const odd = [...(flags ?? '')].find((flag) => !flagsOf(verb).includes(flag))
    if (odd !== undefined || (precision !== undefined && !'sq'.includes(verb)))
      throw new Failure(
        'invalid',
        `printf does not support ${whole}: all verbs take a width and -, %d also + 0 and a space, %x also 0, %s and %q a precision`,
      )
    if (Number(width) > 1000 || Number(precision ?? 0) > 1000)
      throw new Failure('invalid', `printf ${whole} is wider than 1000`)
  }
  return found.filter(([, , , , verb]) => verb !== '%').length
}

/**
 * Sprintf. Where Go's text would say %!, as for a verb that does not fit its value or too few values, it throws Failure
 * `invalid`.
 */
export const format = (form: string, values: readonly Value[], budget: Budget): string => {
  const count = countOf(form)
  if (count !== values.length)
    throw new Failure(
      'invalid',
      `printf ${JSON.stringify(form)} takes ${count} values, and has ${values.length}`,
    )
  const text = budget.text()
  let at = 0
  let next = 0
  for (const match of form.matchAll(directive)) {
    const [whole, flags = '', width = '', precision, verb = ''] = match
    text.add(form.slice(at, match.index))
    at = match.index + whole.length
    if (verb === '%') text.add('%')
    else {
      const by = { whole, flags, width: Number(width), precision, verb }
      printNested(values[next++], text, (value) => formatScalar(value, by))
    }
  }
  return text.add(form.slice(at)).toString()
}

interface Directive {
  readonly whole: string
  readonly flags: string
  readonly width: number
  readonly precision: string | undefined
  readonly verb: string
}

const formatScalar = (value: Scalar, by: Directive): string => {
  const body = bodyOf(value, by)
  if (body === undefined)
    throw new Failure(
      'invalid',
      `printf ${by.whole} of a value of type ${typeOf(value)}: %d is for int, %t for bool, %s %q for string, %x for both, %v for all`,
    )
  const signed = by.flags.includes('+') ? '+' : by.flags.includes(' ') ? ' ' : ''
  const text = typeof value === 'bigint' && value >= 0n && signed ? `${signed}${body}` : body
  const missing = by.width - [...text].length
  if (missing <= 0) return text
  if (by.flags.includes('-')) return text + ' '.repeat(missing)
  if (!by.flags.includes('0')) return ' '.repeat(missing) + text
  const sign = typeof value !== 'string' && /^[-+ ]/.test(text) ? text.slice(0, 1) : ''
  return sign + '0'.repeat(missing) + text.slice(sign.length)
}

/** Undefined where verb and value do not fit. */
const bodyOf = (value: Scalar, { verb, precision }: Directive): string | undefined => {
  if (verb === 'v') return printScalar(value)
  if (typeof value === 'string') {
    if (verb === 's') return cut(value, precision)
    if (verb === 'q') return quote(cut(value, precision))
    return verb === 'x' || verb === 'X' ? cased(Buffer.from(value).toString('hex'), verb) : undefined
  }
  if (typeof value === 'bigint') {
    if (verb === 'd') return String(value)
    return verb === 'x' || verb === 'X' ? cased(value.toString(16), verb) : undefined
  }
  return typeof value === 'boolean' && verb === 't' ? String(value) : undefined
}

const cased = (hex: string, verb: string): string => (verb === 'X' ? hex.toUpperCase() : hex)

/** To as many characters as the precision says. */
const cut = (text: string, precision: string | undefined): string =>
  precision === undefined ? text : [...text].slice(0, Number(precision)).join('')

const short: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '"': '\\"',
  '\\': '\\\\',
}

/** A Go string in double quotes: what cannot be seen is escaped. */
const quote = (text: string): string => {
  const escaped = (character: string): string => {
    const code = character.codePointAt(0) ?? 0
    const hex = code.toString(16)
    if (code < 0x80) return short[character] ?? `\\x${hex.padStart(2, '0')}`
    return code > 0xffff ? `\\U${hex.padStart(8, '0')}` : `\\u${hex.padStart(4, '0')}`
  }
  return `"${text.replace(/["\\]|[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, escaped)}"`
}
