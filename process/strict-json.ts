import { visit } from 'jsonc-parser'
import { z } from 'zod'
import { caseFolded } from './case-folding.ts'
import { Failure } from './failure.ts'

/** What JSON says, or why it is refused, as a sentence goes on: "the body" + " is not JSON". */
export type StrictJson =
  | { readonly kind: 'value'; readonly value: unknown }
  /** `excerpt`: where it stands, with a piece of the text, which may hold secrets. */
  | { readonly kind: 'bad'; readonly reason: string; readonly excerpt?: string }

/** What people and the Engine's clients write is below ten. */
const deepest = 100

/**
 * Reads JSON that can be read in one way only. JSON.parse takes of keys that repeat the last, and hides the others; other
 * decoders (Go's encoding/json) take keys in any case: what is checked would not be what is done, or meant.
 */
export const readStrictJson = (text: string): StrictJson => {
  // first of all, as parsers recurse
  if (isTooDeep(text)) return bad(`is nested more than ${deepest} deep`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return { ...bad('is not JSON, or something comes after it'), excerpt: error.message }
  }
  const key = repeatedKey(text)
  if (key === undefined) return { kind: 'value', value }
  const name = JSON.stringify(key.length > 60 ? `${key.slice(0, 60)}…` : key)
  return bad(`has the key ${name} twice in one object, perhaps in another case: give it once`)
}

/**
 * Reads what a person wrote, such as a file. `what` names it in errors: "the policy". Errors: `invalid`, with each thing
 * that is wrong and where it stands.
 */
export const parseStrict = <T extends z.ZodType>(what: string, schema: T, text: string): z.infer<T> => {
  const read = readStrictJson(text)
  if (read.kind === 'bad')
    throw new Failure('invalid', [`${what} ${read.reason}`, read.excerpt ?? []].flat().join(': '))
  const parsed = schema.safeParse(read.value)
  if (!parsed.success) throw new Failure('invalid', `${what} is refused:\n${z.prettifyError(parsed.error)}`)
  return parsed.data
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
