import { createHash } from 'node:crypto'

const longest = 63

/**
 * A name as one label of DNS (RFC 1035, and "_" inside, which resolvers take): in lower case, as DNS does not tell cases apart. What
 * is no label gets "-" for what does not fit and a digest of the whole, so different names stay different, and one name is always the
 * same label. Pure.
 */
export const dnsLabel = (name: string): string => {
  const lower = name.toLowerCase()
  if (lower.length <= longest && /^[a-z0-9]([a-z0-9_-]*[a-z0-9_])?$/.test(lower)) return lower
  const readable = lower
    .replace(/[^a-z0-9_-]+/g, '-')
    .replace(/^[_-]+|-+$/g, '')
    .slice(0, 48)
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 10)
  return `${readable || 'x'}-${digest}`
}

/** Whether a text is a domain's name: labels of letters, digits, "-" and "_". */
export const isDomain = (text: string): boolean =>
  text.length <= 200 && /^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*$/.test(text)

/** "example.org" -> "org/example": labels from the root on, in lower case. */
export const reversed = (domain: string): string => domain.toLowerCase().split('.').reverse().join('/')
