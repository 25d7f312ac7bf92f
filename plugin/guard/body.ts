import { caseFolded } from '../../process/case-folding.ts'
import { readStrictJson, type StrictJson } from '../../process/strict-json.ts'

/** A body's text as the Engine got it; '' where it sent none along. */
export type Body =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'bad'; readonly reason: string }

/** What a body says, or a sentence that tells why it cannot be judged. */
export const readBody = (base64: string | null | undefined): StrictJson => {
  const body = decodeBody(base64)
  if (body.kind === 'bad') return body
  if (!body.text.trim()) return bad('the body is missing, or the Engine sent none of it along')
  const read = readStrictJson(body.text)
  return read.kind === 'bad' ? bad(`the body ${read.reason}`) : read
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
