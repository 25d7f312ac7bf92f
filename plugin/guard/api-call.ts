import { type Endpoint, findEndpoint } from './endpoints.ts'
import { otherPaths } from './other-readings.ts'
import { readQuery } from './query.ts'
import { cut, engineTarget, isOlder, versioned } from './request-target.ts'

/** A call as the Engine reads it. */
export interface ApiCall {
  readonly kind: 'call'
  readonly method: string
  /** Absent where the path has none: the newest of the Engine. It may be one that the Engine does not speak. */
  readonly version?: string
  /** The decoded path after the version; empty for what comes to no route. */
  readonly segments: readonly string[]
  /**
   * What the URI says. In a POST or PUT the Engine puts a form in the body (application/x-www-form-urlencoded), which
   * no plugin sees, before it: what a query says allows nothing there.
   */
  readonly query: URLSearchParams
  /** Absent where the Engine has none: it answers 404. */
  readonly endpoint?: Endpoint
  /** What the path says in place of the endpoint's "{id}" and the like, as it is: "x/" is not "x". */
  readonly parameters: Record<string, string>
}

/** A call that cannot be judged; the reason is a sentence for the user. */
export interface Refusal {
  readonly kind: 'refused'
  readonly reason: string
}

/** One way to read a path. */
interface Reading {
  readonly version?: string
  readonly segments: readonly string[]
  readonly endpoint?: Endpoint
  readonly parameters: Record<string, string>
}

/** The names of an image and its registry have 255 characters at most. */
const longestPath = 4_096

/**
 * What call is this?
 *
 * 1. What the Engine takes to one of its endpoints is read exactly as the Engine reads it: anything else would guard
 *    another container than the one that is stopped.
 * 2. What can be read otherwise too, and by any of its readings is guarded, is refused. The Engine itself would answer
 *    most of it 400, 301 or 404 without asking; but another version of it, or a proxy before it, may not, and who means
 *    well has no need of it.
 * 3. What is odd and harmless by all its readings passes, as the Engine reads it.
 * 4. Before API 1.24 calls meant other things: a start could change the container's binds. None of those is guarded.
 */
export const readCall = ({ method, uri }: { method: string; uri: string }): ApiCall | Refusal => {
  if (!method || !uri) return refused('the request came without its method or path: repeat it')
  const [address, rest] = cut(uri, '?')
  if (address.length > longestPath) return refused(`the path has more than ${longestPath} characters`)

  const target = engineTarget(uri)
  const engine = target ? reading(method, target.path) : nothing
  const others = otherReadings(method, address)
  if (!others) return refused(`${shown(address)} can be read in too many ways: write it plainly`)
  const ambiguous = others.some((other) => !isSame(engine, other))
  const guarded = [engine, ...others].find(isGuarded)
  if (ambiguous && guarded)
    return refused(
      `${shown(`${method} ${address}`)} can be read in more than one way, one of which is "${guarded.endpoint?.action}" ` +
        `of ${guarded.segments[0]?.toLowerCase()}: write method and path plainly`,
    )
  if (guarded && isOlder(guarded.version, guardedSince))
    return refused(
      `API version ${guarded.version} is too old to be guarded: use ${guardedSince.join('.')} or newer`,
    )
  const query = readQuery(target?.query ?? rest)
  if (guarded && query.odd) return refused(query.odd)
  return { kind: 'call', method, query: query.parameters, ...engine }
}

const guardedSince = [1, 24] as const

const isGuarded = ({ endpoint, version }: Reading): boolean =>
  endpoint?.guard !== undefined ||
  (endpoint?.path === '/containers/{id:.*}/start' && isOlder(version, guardedSince))

const nothing: Reading = { segments: [], parameters: {} }

const reading = (method: string, path: string, caseless = false): Reading => {
  const { version, segments } = versioned(path, caseless)
  const found = findEndpoint(method, segments, caseless)
  return { ...nothing, ...(version ? { version } : {}), segments, ...found }
}

/** Methods are of exact case to the Engine, and HEAD is not GET; to others they are not, and it is. */
const otherReadings = (method: string, address: string): readonly Reading[] | undefined => {
  // the one address with a host that all servers know
  const paths = otherPaths(address.replace(/^https?:\/\/[^/\\#]+(?=\/)/i, ''))
  if (!paths) return undefined
  const plain = method.trim().toUpperCase()
  const methods = plain === 'HEAD' ? ['HEAD', 'GET'] : [plain]
  return methods.flatMap((each) => [...paths].map((path) => reading(each, path, true)))
}

const isSame = (one: Reading, other: Reading): boolean => {
  const [a, b] = [Object.entries(one.parameters), Object.entries(other.parameters)]
  return (
    one.endpoint === other.endpoint &&
    a.length === b.length &&
    a.every(([name, value]) => other.parameters[name] === value)
  )
}

const refused = (reason: string): Refusal => ({ kind: 'refused', reason })

const shown = (text: string): string => JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text)
