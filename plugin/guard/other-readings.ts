import { cut, unescaped } from './request-target.ts'

/**
 * The ways in which some server, proxy or library reads a path otherwise than the Engine: each takes one liberty. What
 * they leave as it is has one reading.
 */
const liberties: readonly ((path: string) => string)[] = [
  // tabs and newlines are dropped by browsers' rules, blanks at the ends by many
  (path) => path.replace(/[\p{Cc}&&\p{ASCII}]/gv, ''),
  (path) =>
    path
      .split('/')
      .map((segment) => segment.trim())
      .join('/'),
  // strings end at NUL in C, lines at a newline; a fragment and a query that were escaped begin once they are decoded
  (path) => path.split(/[\0\r\n?#]/, 1)[0] ?? '',
  // parameters of a segment
  (path) => path.replace(/;[^/]*/g, ''),
  (path) => path.replaceAll('\\', '/'),
  // decoded more than once
  unescaped,
  // ASCII in two bytes, which is no UTF-8
  (path) =>
    path.replace(/%c([01])%([89ab][0-9a-f])/gi, (_all, high: string, low: string) =>
      String.fromCharCode((Number(high) << 6) | (Number.parseInt(low, 16) & 0x3f)),
    ),
  (path) => cleaned(path),
  // a scheme with a host, in any number of slashes; a scheme alone; a host alone
  (path) => path.replace(/^[a-z][a-z0-9+.-]*:[/\\]*[^/\\]*/i, ''),
  (path) => path.replace(/^[a-z][a-z0-9+.-]*:/i, ''),
  (path) => path.replace(/^[/\\]{2,}[^/\\]*/, ''),
]

const cleaned = (path: string): string => {
  const kept: string[] = []
  for (const segment of path.split('/'))
    if (segment === '..') kept.pop()
    else if (segment !== '' && segment !== '.') kept.push(segment)
  return `/${kept.join('/')}`
}

/** More of them mean no good; a path of an endpoint has one or two. */
const mostReadings = 64

/** All decoded paths that a target is read as with any of the liberties, one after the other; undefined if they do not end. */
export const otherPaths = (uri: string): ReadonlySet<string> | undefined => {
  const paths = new Set([cut(uri, '?')[0]])
  for (const path of paths) {
    for (const liberty of liberties) paths.add(liberty(path))
    if (paths.size > mostReadings) return undefined
  }
  return new Set([...paths].map(unescaped))
}
