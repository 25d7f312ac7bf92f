import fc from 'fast-check'
import t from 'tap'
import { readCall } from '../../plugin/guard/api-call.ts'
import { endpoints } from '../../plugin/guard/endpoints.ts'

const guarded = fc.constantFrom(...endpoints.filter(({ guard }) => guard))
const name = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,20}$/)
/** A guarded call with a name in its path. */
const guardedCall = fc
  .record({ endpoint: guarded, name, version: fc.constantFrom('', '/v1.24', '/v1.55') })
  .map(({ endpoint, name, version }) => ({
    endpoint,
    name,
    path: version + endpoint.path.replace(/\{.*?\}/g, name),
  }))

/** Where in a path to do something to it, its beginning and its escapes left whole. */
const place = fc.nat({ max: 99 })
const parts = (text: string): string[] => text.match(/(?:%[0-9a-f]{2})+|./gis) ?? []
const inserted = (text: string, place: number, what: string): string => {
  const all = parts(text)
  return all.toSpliced(1 + (place % all.length), 0, what).join('')
}
const changed = (text: string, place: number, change: (part: string) => string): string => {
  const all = parts(text)
  const at = 1 + (place % (all.length - 1))
  return all.with(at, change(all[at] ?? '')).join('')
}
/** Something in place of a slash, but for the first: what comes before that is another matter. */
const slash = (path: string, place: number, put: string): string => {
  const slashes = [...path.matchAll(/(?<=.)\//gs)].map(({ index }) => index)
  const index = slashes[place % slashes.length]
  return index === undefined ? path : path.slice(0, index) + put + path.slice(index + 1)
}
const escaped = (character: string): string =>
  `%${character.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`

/** Each keeps what some server would take a path for. */
const distortions: readonly ((path: string, place: number) => string)[] = [
  (path, place) => slash(path, place, '//'),
  (path, place) => slash(path, place, '/./'),
  (path, place) => slash(path, place, '/y/../'),
  (path, place) => slash(path, place, '/y/%2E%2e/'),
  (path, place) => slash(path, place, '\\'),
  (path, place) => slash(path, place, ';a=b/'),
  (path, place) => slash(path, place, '%c0%af'),
  (path, place) => slash(path, place, '%252f'),
  (path, place) => inserted(path, place, '\t'),
  (path, place) => inserted(path, place, '%0A'),
  (path) => `${path}/`,
  (path) => `${path}%00`,
  (path) => `${path}#a`,
  (path) => `${path}%3Fa`,
  (path) => `${path};a=b`,
  (path) => path.replace(/v?[a-z]+/, (word) => word.toUpperCase()),
  // escaped twice
  (path, place) =>
    changed(path, place, (part) => (part.length > 1 ? part : escaped('%') + escaped(part).slice(1))),
]

t.test('a guarded call in plain form is found, and so is it with anything escaped once', async () => {
  fc.assert(
    fc.property(guardedCall, fc.infiniteStream(fc.boolean()), ({ endpoint, name, path }, coin) => {
      const uri = [...path].map((one, at) => (at > 0 && coin.next().value ? escaped(one) : one)).join('')
      const call = readCall({ method: endpoint.method, uri })
      return (
        call.kind === 'call' &&
        call.endpoint === endpoint &&
        Object.values(call.parameters).every((value) => value === name)
      )
    }),
    { numRuns: 1_000 },
  )
})

t.test('a guarded call in no odd form is free', async () => {
  const distortion = fc.tuple(fc.constantFrom(...distortions), place)
  const origin = fc.constantFrom(
    '',
    '',
    'http://host:1',
    '//host',
    '///host',
    'x:',
    'x://host',
    'http:\\\\host',
  )
  const spelling = fc.constantFrom(String, (method: string) => method.toLowerCase())
  fc.assert(
    fc.property(
      guardedCall,
      fc.array(distortion, { minLength: 1, maxLength: 4 }),
      origin,
      spelling,
      ({ endpoint, path }, steps, origin, spell) => {
        const uri = origin + steps.reduce((path, [distort, place]) => distort(path, place), path)
        const call = readCall({ method: spell(endpoint.method), uri })
        return call.kind === 'refused' || call.endpoint?.guard === endpoint.guard
      },
    ),
    { numRuns: 3_000 },
  )
})

t.test('nothing makes the reading of a call throw or take long', async () => {
  const token = fc.constantFrom(
    '/',
    '//',
    '..',
    '%',
    '%2',
    '%2f',
    '%25',
    '?',
    '#',
    ';',
    '=',
    '&',
    ':',
    '\\',
    '\0',
  )
  const word = fc.constantFrom('http:', '//host', 'v1.41', 'containers', 'x', 'stop', '\ud800', 'é', '%ff')
  const uri = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(fc.oneof(token, word), { maxLength: 200 }).map((parts) => parts.join('')),
  )
  fc.assert(
    fc.property(fc.oneof(fc.constantFrom('GET', 'POST', 'DELETE'), fc.string()), uri, (method, uri) => {
      const call = readCall({ method, uri })
      return call.kind === 'call' || /^["a-zA-Z].{10,}$/su.test(call.reason)
    }),
    { numRuns: 2_000 },
  )
})
