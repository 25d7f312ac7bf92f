import { createHash } from 'node:crypto'

/** Octets of a label, and of a whole name as people write it (RFC 1035, 2.3.4). */
export const longestLabel = 63
export const longestName = 253

/** The shortest that any text can be made to: "x-" and a digest. */
export const shortestLabel = 12

/**
 * A name as one label of DNS (RFC 1035, and "_" inside, which resolvers take): in lower case, as DNS does not tell cases apart. What
 * is no label of at most `longest` octets gets "-" for what does not fit and a digest of the whole, so different names stay different,
 * and one name is always the same label. "any" is a wildcard to CoreDNS, hence none. Pure.
 */
export const dnsLabel = (name: string, longest = longestLabel): string => {
  const lower = name.toLowerCase()
  return isLabel(lower, longest) ? lower : digested(name, longest)
}

/** The same, but names that differ in case alone have different labels: for what tells keys apart and nobody asks for. */
export const exactLabel = (name: string, longest = longestLabel): string =>
  isLabel(name, longest) ? name : digested(name, longest)

const isLabel = (text: string, longest: number): boolean =>
  text.length <= longest && text !== 'any' && /^[a-z0-9]([a-z0-9_-]*[a-z0-9_])?$/.test(text)

const digested = (name: string, longest: number): string => {
  const readable = name
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, '-')
    .replace(/^[_-]+|-+$/g, '')
    .slice(0, Math.max(0, Math.min(48, longest - 11)))
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 10)
  return `${readable || 'x'}-${digest}`
}

/** Whether a text is a domain's name: labels of letters, digits, "-" and "_". */
export const isDomain = (text: string): boolean =>
  text.length <= 200 && /^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*$/.test(text)

/** "example.org" -> "org/example": labels from the root on, in lower case. */
export const reversed = (domain: string): string => domain.toLowerCase().split('.').reverse().join('/')
