import { Failure } from '../../process/failure.ts'
import { numberOf, unescaped } from './literals.ts'
import { located, wrong } from './place.ts'

/** What a template is made of. `at` is the offset in it; `spaced`: white space stands before it. */
export type Token =
  | { readonly kind: 'text'; readonly text: string; readonly at: number; readonly spaced: false }
  | (Inner & { readonly at: number; readonly spaced: boolean })

type Inner =
  | { readonly kind: 'open' | 'close' | 'dot' }
  | { readonly kind: 'sign'; readonly text: '|' | '(' | ')' | ',' | ':=' | '=' }
  | { readonly kind: 'literal'; readonly value: string | bigint | number }
  /** .name, without the dot; $name, with the $; a keyword or the name of a function. */
  | { readonly kind: 'field' | 'variable' | 'word'; readonly text: string }

const opening = /\{\{(?:-(?=[ \t\r\n]))?/g
const comment = /[ \t\r\n]*\/\*/y
const closing = /[ \t\r\n]+-\}\}|[ \t\r\n]*\}\}/y

/** The tokens of a template, texts trimmed as `{{- ` and ` -}}` say. Throws Failure `invalid` with the place. */
export const lex = (template: string): Token[] => {
  const tokens: Token[] = []
  let at = 0
  let trim = false
  for (;;) {
    opening.lastIndex = at
    const open = opening.exec(template)
    const text = template.slice(at, open?.index)
    const left = trim ? text.replace(/^[ \t\r\n]+/, '') : text
    const kept = open?.[0] === '{{-' ? left.replace(/(?<![ \t\r\n])[ \t\r\n]+$/, '') : left
    if (kept) tokens.push({ kind: 'text', text: kept, at, spaced: false })
    if (!open) return tokens
    const start = open.index + open[0].length
    const end = isComment(template, start) ? skipComment(template, start) : lexAction(template, open, tokens)
    trim = /^[ \t\r\n]-\}\}$/.test(template.slice(end - 4, end))
    at = end
  }
}

const isComment = (template: string, start: number): boolean =>
  // white space before it only after a trim mark, as in Go
  template.startsWith('/*', start) ||
  (template[start - 1] === '-' && sticky(comment, template, start) !== undefined)

const skipComment = (template: string, start: number): number => {
  const end = template.indexOf('*/', template.indexOf('/*', start) + 2)
  if (end < 0) throw wrong(template, start, 'a comment without an end: expected */}}')
  const close = /^(\}\}|[ \t\r\n]-\}\})/.exec(template.slice(end + 2, end + 6))
  if (!close) throw wrong(template, end, 'a comment ends with */}} or with */ -}}, and stands alone')
  return end + 2 + close[0].length
}

const lexAction = (template: string, open: RegExpExecArray, tokens: Token[]): number => {
  tokens.push({ kind: 'open', at: open.index, spaced: false })
  let at = open.index + open[0].length
  for (;;) {
    const close = sticky(closing, template, at)
    if (close !== undefined) {
      tokens.push({ kind: 'close', at, spaced: false })
      return at + close.length
    }
    const space = sticky(/[ \t\r\n]*/y, template, at) ?? ''
    at += space.length
    if (at >= template.length)
      throw wrong(template, open.index, 'an action without an end: expected }} after it')
    const start = at
    const [inner, length] = located(template, start, () => lexInner(template, start))
    tokens.push({ ...inner, at, spaced: space !== '' })
    at += length
  }
}

/** The token at an offset, and its length. */
const lexInner = (template: string, at: number): [Inner, number] => {
  for (const [pattern, make] of patterns) {
    const found = sticky(pattern, template, at)
    if (found !== undefined) return [make(found), found.length]
  }
  const rest = template.slice(at)
  if (/^["'`]/.test(rest)) throw new Failure('invalid', `a ${rest[0]} without the ${rest[0]} that ends it`)
  throw new Failure(
    'invalid',
    `unexpected character ${JSON.stringify(String.fromCodePoint(rest.codePointAt(0) ?? 0))}`,
  )
}

const patterns: readonly [RegExp, (found: string) => Inner][] = [
  [/:=|[|(),=]/y, (found) => ({ kind: 'sign', text: found as '|' })],
  [/"(?:\\.|[^"\\\n])*"/uy, (found) => ({ kind: 'literal', value: unescaped(found.slice(1, -1), '"') })],
  [/`[^`]*`/y, (found) => ({ kind: 'literal', value: found.slice(1, -1).replaceAll('\r', '') })],
  [/'(?:\\.|[^'\\\n])*'/uy, (found) => ({ kind: 'literal', value: characterOf(found.slice(1, -1)) })],
  [/[+-]?\.?\d(?:[eEpP][+-]|[\w.])*/y, (found) => ({ kind: 'literal', value: numberOf(found) })],
  [/\.[\p{L}_][\p{L}\p{Nd}_]*/uy, (found) => ({ kind: 'field', text: found.slice(1) })],
  [/\./y, () => ({ kind: 'dot' })],
  [/\$[\p{L}\p{Nd}_]*/uy, (found) => ({ kind: 'variable', text: found })],
  [/[\p{L}_][\p{L}\p{Nd}_]*/uy, (found) => ({ kind: 'word', text: found })],
]

/** Of 'a' Go takes the number of the character. */
const characterOf = (inner: string): bigint => {
  const [one, ...more] = unescaped(inner, "'")
  if (one === undefined || more.length > 0)
    throw new Failure('invalid', `'${inner}' is not one character: a string is in "double quotes"`)
  return BigInt(one.codePointAt(0) ?? 0)
}

const sticky = (pattern: RegExp, text: string, at: number): string | undefined => {
  pattern.lastIndex = at
  return pattern.exec(text)?.[0]
}
