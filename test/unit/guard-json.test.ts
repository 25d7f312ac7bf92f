import fc from 'fast-check'
import t from 'tap'
import { decodeBody, field, readBody } from '../../plugin/guard/body.ts'
import { caseFolded } from '../../process/case-folding.ts'
import { readStrictJson } from '../../process/strict-json.ts'

const base64 = (text: string | Uint8Array): string => Buffer.from(text).toString('base64')

t.test('what is no JSON in one reading only is bad, and the reason names the key', async (t) => {
  const table: [string | undefined, RegExp][] = [
    [undefined, /^the body is missing, or the Engine sent none of it along$/],
    ['', /^the body is missing/],
    [' \n', /^the body is missing/],
    ['{', /^the body is not JSON/],
    ['{}{}', /^the body is not JSON, or something comes after it$/],
    ['{} x', /^the body is not JSON/],
    ['{"a":1,}', /^the body is not JSON/],
    ['{/**/"a":1}', /^the body is not JSON/],
    ["{'a':1}", /^the body is not JSON/],
    ['{"a":NaN}', /^the body is not JSON/],
    ['{"a":01}', /^the body is not JSON/],
    ['\ufeff{}', /^the body is not JSON/],
    ['{"a":"\n"}', /^the body is not JSON/],
    ['{"Binds":[],"Binds":null}', /the key "Binds" twice in one object/],
    ['{"Binds":[],"BINDS":[]}', /the key "BINDS" twice in one object, perhaps in another case: give it once/],
    ['[{"x":{"Binds":[],"bind\\u0073":[]}}]', /the key "binds" twice/],
    ['{"Binds":[],"bindſ":[]}', /the key "bindſ" twice/],
    ['{"NetworkMode":"","Networ\u212aMode":""}', /twice/],
    ['{"\\ud800":1,"\\ufffd":1}', /twice/],
    [`{"${'x'.repeat(99)}":1,"${'x'.repeat(99)}":1}`, /the key "x{60}…" twice/],
    [`${'['.repeat(101)}${']'.repeat(101)}`, /^the body is nested more than 100 deep$/],
    [`["\\\\",${'['.repeat(100)}`, /nested/],
    ['['.repeat(5_000_000), /nested/],
  ]
  for (const [text, reason] of table)
    t.match(readBody(base64(text ?? '')), { kind: 'bad', reason }, JSON.stringify(text?.slice(0, 60)))
})

t.test('what has one reading is a value', async (t) => {
  const texts = [
    'null',
    '0',
    ' {"HostConfig": {"Binds": ["/a:/b"]}, "Env": null}\r\n',
    '{"a":{"b":1},"b":{"a":1}}',
    '[{"a":1},{"A":1}]',
    '{"ß":1,"ss":1,"ı":1,"i":1}',
    '{"a":"{\\"a\\":1,\\"a\\":2}[[[\\\\"}',
    '{"__proto__":{"a":1}}',
    `${'['.repeat(100)}${']'.repeat(100)}`,
    `["\\"${'['.repeat(200)}"]`,
  ]
  for (const text of texts)
    t.strictSame(readBody(base64(text)), { kind: 'value', value: JSON.parse(text) }, text)
})

t.test('bodies come in base64, of UTF-8', async (t) => {
  t.strictSame(decodeBody(base64('{"ä":"😀"}')), { kind: 'text', text: '{"ä":"😀"}' })
  for (const none of [undefined, null, '']) t.strictSame(decodeBody(none), { kind: 'text', text: '' })
  for (const broken of ['e', 'e30', 'e30=\n', 'e3 0=', 'e31=', '{}', 'e30=e30=', '-_8='])
    t.strictSame(decodeBody(broken), { kind: 'bad', reason: 'the body came in broken base64' }, broken)
  for (const bytes of [[0xff], [0x22, 0xc0, 0xaf, 0x22], [0xed, 0xa0, 0x80], [0xe2, 0x84]])
    t.strictSame(decodeBody(base64(Uint8Array.from(bytes))), { kind: 'bad', reason: 'the body is not UTF-8' })
  const marked = decodeBody(base64('\ufeff{}'))
  t.equal(marked.kind === 'text' && readBody(base64(marked.text)).kind, 'bad', 'Go skips no byte order mark')
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const body = decodeBody(base64(text))
      return body.kind === 'text' && body.text === text
    }),
  )
})

t.test('a field is found however it is cased', async (t) => {
  t.equal(field({ HostConfig: 1 }, 'HostConfig'), 1)
  t.equal(field({ a: 0, hOSTcONFIG: 1 }, 'HostConfig'), 1)
  t.equal(field({ Networ\u212aMode: 'host' }, 'NetworkMode'), 'host')
  t.equal(field({ Moun\u0074\u017f: 1 }, 'Mounts'), 1)
  t.equal(field({ Host: 1 }, 'HostConfig'), undefined)
  for (const none of [undefined, null, 1, 'x', ['x']]) t.equal(field(none, '0'), undefined)
})

t.test("letters fold as by Unicode's simple case folding", async (t) => {
  const letters: string[] = []
  for (let code = 0x80; code < 0x20000; code++)
    if (code < 0xd800 || code > 0xdfff) letters.push(String.fromCodePoint(code))
  for (let code = 0; code < 0x80; code++) letters.push(String.fromCodePoint(code))
  // what regular expressions take for the same letter, by that very folding
  const same = (letter: string) => new RegExp(`\\u{${letter.codePointAt(0)?.toString(16)}}`, 'giu')
  t.strictSame(
    letters.filter((letter) => caseFolded(letter) !== letter && !same(letter).test(caseFolded(letter))),
    [],
    'no two fold to one that are not the same',
  )
  const cased = letters.filter((one) => one.toLowerCase() !== one || one.toUpperCase() !== one)
  t.ok(cased.length > 2_000)
  const all = cased.join('')
  const apart = cased.filter((one) =>
    all.match(same(one))?.some((other) => caseFolded(other) !== caseFolded(one)),
  )
  t.strictSame(apart, [], 'all fold to one that are the same')
  t.equal(caseFolded('ΟΣ Σ'), caseFolded('ος ς'), "a sigma at a word's end is one")
})

const key = fc.oneof(
  fc.string({ maxLength: 5 }),
  fc.constantFrom('Binds', 'binds', 'BINDS', 'Mounts', 'k', '\u212a'),
)
const { json } = fc.letrec<{ json: unknown }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 4 },
    fc.oneof(fc.integer(), fc.boolean(), fc.constant(null), fc.string({ unit: 'grapheme' })),
    fc.array(tie('json'), { maxLength: 4 }),
    fc.dictionary(key, tie('json'), { maxKeys: 4, noNullPrototype: true }),
  ),
}))

/** All keys in a value, and whether an object has two that differ in case alone. */
const keysOf = (value: unknown): { count: number; unique: boolean } => {
  if (typeof value !== 'object' || value === null) return { count: 0, unique: true }
  const names = Array.isArray(value) ? [] : Object.keys(value).map(caseFolded)
  const inner = Object.values(value).map(keysOf)
  return {
    count: inner.reduce((sum, { count }) => sum + count, names.length),
    unique: new Set(names).size === names.length && inner.every(({ unique }) => unique),
  }
}
/** How many keys a text has, which are the strings before a colon; the text is JSON. */
const keysIn = (text: string): number =>
  [...text.matchAll(/"(?:[^"\\]|\\.)*"\s*(?<colon>:?)/gs)].filter(({ groups }) => groups?.colon).length

/** Whether a text is read as it should be, whatever it is. */
const isRight = (text: string): boolean => {
  const read = readStrictJson(text)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return read.kind === 'bad'
  }
  const { count, unique } = keysOf(value)
  if (!unique || count !== keysIn(text)) return read.kind === 'bad' && read.reason.includes('twice')
  return read.kind === 'value' && JSON.stringify(read.value) === JSON.stringify(value)
}

t.test('JSON is a value if its keys are unique, however it is mutated', async () => {
  fc.assert(
    fc.property(json, (value) => isRight(JSON.stringify(value))),
    { numRuns: 1_000 },
  )
  const token = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '/',
    '"Binds":1,',
    '"bindS":1,',
    ' ',
    '0',
    'é',
  )
  const mutation = fc.tuple(fc.nat(), fc.nat({ max: 3 }), token)
  fc.assert(
    fc.property(json, fc.array(mutation, { minLength: 1, maxLength: 4 }), (value, mutations) => {
      const text = mutations.reduce((text, [place, dropped, added]) => {
        const at = place % (text.length + 1)
        return text.slice(0, at) + added + text.slice(at + dropped)
      }, JSON.stringify(value))
      return isRight(text)
    }),
    { numRuns: 5_000 },
  )
})

t.test('a large body takes no time to speak of', async (t) => {
  const size = 6 * 2 ** 20
  const bodies = [
    `{${Array.from({ length: size / 12 }, (_, at) => `"k${at}":0`).join(',')}}`,
    `{"a":"${'\\n'.repeat(size / 2)}"}`,
    `[${'{"a":1},'.repeat(size / 8)}0]`,
  ]
  for (const body of bodies) {
    const began = process.cpuUsage().user
    t.equal(readStrictJson(body).kind, 'value')
    // a second or less, several where tests run side by side; a quadratic one takes minutes
    t.ok(process.cpuUsage().user - began < 10_000_000)
  }
})
