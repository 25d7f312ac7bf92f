import { hasBrokenEscape, unescaped } from './request-target.ts'

/** A query's parameters; `odd` is a sentence for the user where others than the Engine may read it otherwise. */
export interface Query {
  readonly parameters: URLSearchParams
  readonly odd?: string
}

/**
 * What the Engine reads of the query in calls that are guarded, in lower case. Of other names nothing follows, and clients
 * that repeat the create body in the query (dockerode) give "Env" and the like many times.
 */
const meant = new Set(
  `checkpoint checkpoint-dir condition container copyuidgid detachkeys filters force link logs name nooverwritedirnondir noprune options
  path platform platforms registryauthfrom remote rollback signal stderr stdin stdout stream t timeout v version`.split(
    /\s+/,
  ),
)

/** What may be given more than once: it is a list. */
const lists = new Set(['platforms'])

/**
 * Reads a query as Go does: names are of exact case, the first of a name counts, and a pair with a bare ";" or a broken
 * escape is left out (before Go 1.17 a ";" was as good as a "&").
 */
export const readQuery = (text: string): Query => {
  const pairs: [string, string][] = []
  let odd: string | undefined = text.includes('#') ? 'the query has a bare "#": write %23' : undefined
  for (const pair of text.split('&')) {
    if (pair === '') continue
    if (pair.includes(';')) odd ??= 'the query has a bare ";": write %3B'
    else if (hasBrokenEscape(pair)) odd ??= 'the query has a "%" that escapes nothing: write %25'
    else {
      const [name = '', ...value] = pair.replaceAll('+', ' ').split('=')
      pairs.push([unescaped(name), unescaped(value.join('='))])
    }
  }
  odd ??= repeated(pairs.map(([name]) => name))
  return { parameters: new URLSearchParams(pairs), ...(odd ? { odd } : {}) }
}

const repeated = (names: readonly string[]): string | undefined => {
  const seen = new Map<string, string>()
  for (const name of names) {
    const folded = name.toLowerCase()
    if (!meant.has(folded)) continue
    const first = seen.get(folded)
    if (first !== undefined && !(first === name && lists.has(name)))
      return `the query gives ${JSON.stringify(name.slice(0, 60))} more than once: give it once`
    seen.set(folded, name)
  }
  return undefined
}
