/** A route, and what the path says in place of its "{id}" and the like. */
export interface Found<Route> {
  readonly endpoint: Route
  readonly parameters: Record<string, string>
}

/**
 * Matches as the Engine's router does (gorilla/mux): the first route of that method whose pattern is the whole path.
 * "{id}" is "[^/]+", "{id:.*}" what it says. The router knows slashes only in the decoded path, so "a%2Fb" are two segments.
 */
export const createRoutes = <Route extends { readonly method: string; readonly path: string }>(
  routes: readonly Route[],
): ((method: string, segments: readonly string[], caseless?: boolean) => Found<Route> | undefined) => {
  const patterns = routes.map((route) => {
    const source = `^${route.path.replaceAll('.', '\\.').replace(parameter, group)}$`
    return { route, exact: new RegExp(source), caseless: new RegExp(source, 'i') }
  })
  return (method, segments, caseless = false) => {
    const path = `/${segments.join('/')}`
    for (const { route, ...pattern } of patterns) {
      const match = route.method === method && pattern[caseless ? 'caseless' : 'exact'].exec(path)
      if (match) return { endpoint: route, parameters: { ...match.groups } }
    }
    return undefined
  }
}

const parameter = /\{(?<name>\w+)(?::\\(?<any>\.[*+]))?\}/g

/** Go's dot takes all but the newline; JavaScript's leaves out more. */
const group = (_whole: string, name: string, any: string | undefined): string =>
  `(?<${name}>${any ? `[^\\n]${any.slice(1)}` : '[^/]+'})`
