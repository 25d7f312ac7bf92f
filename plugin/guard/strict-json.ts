import { visit } from 'jsonc-parser'
import { caseFolded } from './case-folding.ts'

/** What a body says, or why it cannot be judged, in a sentence for the user. */
export type StrictJson =
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'bad'; readonly reason: string }

/** A body's text as the Engine got it; '' where it sent none along. */
export type Body =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'bad'; readonly reason: string }

/** Bodies of the Engine's API are below ten. */
const deepest = 100

/**
 * Reads JSON that can be read in one way only. The Engine's decoder (Go's encoding/json) takes keys in any case, and of
 * keys that repeat the last, which JSON.parse hides: what is checked would not be what is done.
 */
export const readStrictJson = (text: string | undefined): StrictJson => {
  if (!text?.trim()) return bad('the body is missing, or the Engine sent none of it along')
  // first of all, as parsers recurse
  if (isTooDeep(text)) return bad(`the body is nested more than ${deepest} deep`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return bad('the body is not JSON, or something comes after it')
  }
  const key = repeatedKey(text)
  if (key === undefined) return { kind: 'value', value }
  const name = JSON.stringify(key.length > 60 ? `${key.slice(0, 60)}…` : key)
  return bad(`the body has the key ${name} twice in one object, perhaps in another case: give it once`)
}

/** Decodes a body: padded base64 without blanks, as Go writes it, of UTF-8. What is neither would be read in two ways. */
export const decodeBody = (base64: string | null | undefined): Body => {
  const bytes = Buffer.from(base64 ?? '', 'base64')
  // Node decodes what it can of anything
  if (bytes.toString('base64') !== (base64 ?? '')) return bad('the body came in broken base64')
  try {
    // Go does not skip a byte order mark
    return { kind: 'text', text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    return bad('the body is not UTF-8')
  }
}

/** An object's value at a key of any case, as the Engine finds it; undefined where there is none, or no object. */
export const field = (object: unknown, name: string): unknown => {
  if (typeof object !== 'object' || object === null || Array.isArray(object)) return undefined
  const folded = caseFolded(name)
  return Object.entries(object).find(([key]) => caseFolded(key) === folded)?.[1]
}

const bad = (reason: string): { kind: 'bad'; reason: string } => ({ kind: 'bad', reason })

/** Brackets outside of strings, which end at a quote that an even number of backslashes precedes. */
const isTooDeep = (text: string): boolean => {
  let depth = 0
  let quoted = false
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (quoted) {
      if (code === backslash) at++
      else if (code === quote) quoted = false
    } else if (code === quote) quoted = true
    else if (code === openBracket || code === openBrace) {
      if (++depth > deepest) return true
    } else if (code === closeBracket || code === closeBrace) depth--
  }
  return false
}

const [quote, backslash, openBracket, closeBracket, openBrace, closeBrace] = Buffer.from('"\\[]{}')

/** The first key of JSON that its object has already. */
const repeatedKey = (text: string): string | undefined => {
  const open: Set<string>[] = []
  let repeated: string | undefined
  visit(
    text,
    {
      onObjectBegin: () => {
        open.push(new Set())
      },
      onObjectEnd: () => {
        open.pop()
      },
      onObjectProperty: (key) => {
        const keys = open.at(-1)
        const folded = caseFolded(key)
        if (keys?.has(folded)) repeated ??= key
        keys?.add(folded)
      },
    },
    { disallowComments: true, allowTrailingComma: false },
  )
  return repeated
}
