/** What the Engine makes of a request's target: the decoded path that it asks its routes for, and the query as it came. */
export interface Target {
  readonly path: string
  readonly query: string
}

/**
 * Reads a target as the Engine does: Go's url.ParseRequestURI, then the router (gorilla/mux, which uses the decoded path,
 * cleans it, and has no strict slash). Undefined for what comes to no route: Go answers 400 to what it cannot read, the
 * router 301 to a path that is not clean. Neither asks the guard, so that such a call is here at all is odd.
 */
export const engineTarget = (uri: string): Target | undefined => {
  if (controls.test(uri)) return undefined
  const scheme = /^[a-z][a-z0-9+.-]*:/i.exec(uri)?.[0] ?? ''
  // a "#" ends nothing: there are no fragments in requests
  const [address, query] = cut(uri.slice(scheme.length), '?')
  // "//host" is a host after a scheme only; "x:/containers" has a scheme and no host, where browsers take "containers" for one
  const raw = scheme && address.startsWith('//') ? address.replace(/^\/\/[^/]*/, '') : address
  if (!raw.startsWith('/') || hasBrokenEscape(raw)) return undefined
  const path = unescaped(raw)
  return isClean(path) ? { path, query } : undefined
}

const controls = /[\p{Cc}&&\p{ASCII}]/v

/** Neither empty segments but the last, nor "." or "..": cleaned after decoding, so "%2e%2e" goes the same way. */
const isClean = (path: string): boolean =>
  path
    .split('/')
    .slice(1)
    .every(
      (segment, at, all) => segment !== '.' && segment !== '..' && (segment !== '' || at === all.length - 1),
    )

/** A "%" that no two hexadecimal digits follow. */
export const hasBrokenEscape = (text: string): boolean => /%(?![0-9a-f]{2})/i.test(text)

/** Decoded once; broken escapes stay, bytes that are not UTF-8 become U+FFFD (which no name has). */
export const unescaped = (text: string): string =>
  text.replace(/(?:%[0-9a-f]{2})+/gi, (run) => Buffer.from(run.replaceAll('%', ''), 'hex').toString('utf8'))

/** What is before and after the first separator. */
export const cut = (text: string, separator: string): [before: string, after: string] => {
  const at = text.indexOf(separator)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)]
}

/** The version that a path begins with, digits and dots as the router wants them, and the segments after it. */
export const versioned = (
  path: string,
  caseless = false,
): { version?: string; segments: readonly string[] } => {
  const match = (caseless ? /^\/v([0-9.]+)(?=\/)/i : /^\/v([0-9.]+)(?=\/)/).exec(path)
  const segments = path
    .slice(match?.[0].length ?? 0)
    .split('/')
    .slice(1)
  return { ...(match?.[1] ? { version: match[1] } : {}), segments }
}

/** Compares as the Engine does: by the numbers, however they are written ("1.024", "1.24.7"). No version is the newest. */
export const isOlder = (version: string | undefined, than: readonly [number, number]): boolean => {
  const [major = 0, minor = 0] = version?.split('.').map(Number) ?? [Number.POSITIVE_INFINITY]
  return major < than[0] || (major === than[0] && minor < than[1])
}
