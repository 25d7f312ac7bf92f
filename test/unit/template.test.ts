import fc from 'fast-check'
import t from 'tap'
import { isFailure } from '../../process/failure.ts'
import { Budget, defaultLimits } from '../../sidecar/template/limits.ts'
import { compileRegexp, matches } from '../../sidecar/template/regexp.ts'
import { containerData, parseTemplate, renderTemplate } from '../../sidecar/template/template.ts'
import { failures, inspected, ofContainer, ofJson, refused } from '../data/templates.ts'

const render = (template: string, data: unknown = containerData(inspected)): string =>
  renderTemplate(parseTemplate(template), data)

t.test("a container's templates render as Go and the peer say", async (t) => {
  for (const [rule, template, output] of ofContainer)
    t.equal(render(template), output, `${rule}: ${template}`)
})

t.test('data without a type are maps', async (t) => {
  for (const [rule, template, data, output] of ofJson) t.equal(render(template, data), output, rule)
})

t.test('what is wrong is said, with the place', async (t) => {
  for (const [template, message] of [...failures, ...refused]) {
    t.throws(() => render(template), { name: 'Failure', kind: 'invalid', message }, template)
    t.throws(() => render(template), { message: /^template, (line \d+, )?column \d+: / }, template)
  }
})

t.test('what can be found before a container is there, is', async (t) => {
  // wrong names, numbers of arguments, and what the template says itself: a sidecar does not start with such
  const early = [
    '{{nosuch 1}}',
    '{{len}}',
    '{{toUpper 1}}',
    '{{printf "%f" .Name}}',
    '{{matchFirstElement "(" .Args}}',
  ]
  for (const template of early)
    t.throws(() => parseTemplate(template), { name: 'Failure', kind: 'invalid' }, template)
  // a field may be there or not: that shows in the data
  t.doesNotThrow(() => parseTemplate('{{.Nam}}'))
})

t.test('columns count characters, and lines where there are some', async (t) => {
  t.throws(() => parseTemplate('größe \u{1f600} {{nosuch}}'), { message: /^template, column 11: / })
  t.throws(() => parseTemplate('a\nb {{nosuch}}'), { message: /^template, line 2, column 5: / })
})

t.test('a rendering ends at its limits', async (t) => {
  const loop = '{{range .}}{{range $}}{{range $}}{{range $}}{{end}}{{end}}{{end}}{{end}}'
  const list = Array.from({ length: 100 }, (_, i) => `${i}`)
  t.throws(() => render(loop, list), { kind: 'invalid', message: /column \d+: takes more than 100000 steps/ })
  t.throws(() => render('{{range .}}{{range $}}{{join "," $}}{{end}}{{end}}', list), {
    message: /bytes|steps/,
  })
  const twice = (times: number) =>
    `{{$x := "aaaaaaaaaaaaaaaa"}}${'{{$x = print $x $x}}'.repeat(times)}{{len $x}}`
  t.equal(render(twice(12)), '65536', 'a text may be as long as the output')
  t.throws(() => render(twice(13)), { message: /column \d+: makes a text of more than 65536 bytes/ })
  t.throws(() => render(`${twice(12)}{{replace -1 "" $x $x}}`), { message: /bytes/ })
  t.throws(() => render(`${twice(12)}{{join $x (split "" $x)}}`), { message: /bytes|steps/ })
  t.throws(
    () =>
      render(
        '{{range .}}{{.}}{{end}}',
        Array.from({ length: 7000 }, () => '0123456789'),
      ),
    {
      message: /bytes/,
    },
  )
  const many = Array.from({ length: 50_000 }, () => 'a')
  t.throws(() => render('{{range .}}{{range $}}{{break}}{{end}}{{end}}', many), { message: /steps/ })
  const few = { steps: 10, bytes: 8 }
  t.equal(renderTemplate(parseTemplate('{{"12345678"}}'), {}, few), '12345678')
  t.throws(() => renderTemplate(parseTemplate('{{"123456789"}}'), {}, few), { message: /more than 8 bytes/ })
  t.throws(() => renderTemplate(parseTemplate('{{range .}}{{end}}'), list, { steps: 10 }), {
    message: /10 steps/,
  })
})

t.test('no template exhausts the stack', async (t) => {
  for (const deep of [
    `{{${'('.repeat(4000)}1${')'.repeat(4000)}}}`,
    '{{if true}}'.repeat(1400),
    `{{if true}}${'{{else if true}}'.repeat(900)}{{end}}`,
    `{{matchFirstElement "${'('.repeat(4000)}" .Args}}`,
  ])
    t.throws(() => parseTemplate(deep), { kind: 'invalid', message: /more than 50 levels/ })
  t.throws(() => parseTemplate('a'.repeat(16 * 1024 + 1)), { kind: 'invalid', message: /longer than/ })
  const cycle: { a?: unknown } = {}
  cycle.a = cycle
  t.throws(() => render('', cycle), { kind: 'invalid', message: /levels deep/ })
})

t.test('a container has the fields of its Go type, whatever the Engine leaves out', async (t) => {
  const bare = containerData({
    Id: 'a',
    Config: null,
    NetworkSettings: { IPAddress: '' },
    HostConfig: { Dns: ['1.1.1.1'] },
  })
  t.equal(render('{{.ID}}{{.Id}}', containerData({ ID: 'a', Id: 'b' })), 'ab', 'none is lost')
  t.throws(() => render('{{.Id}}', bare), { message: /no field Id here: there are ID/ })
  t.equal(render('[{{.Config.Hostname}}{{.Name}}{{.State.Pid}}{{.State.Running}}]', bare), '[0false]')
  t.equal(
    render('{{.HostConfig.DNS}}{{range .NetworkSettings.Networks}}a{{else}}b{{end}}', bare),
    '[1.1.1.1]b',
  )
  t.equal(render('{{if .Config.Healthcheck}}a{{else}}b{{end}}', bare), 'b', 'a pointer is nil')
  t.throws(() => render('{{.Config.Healthcheck.Retries}}', bare), {
    message: /type nil has no field Retries/,
  })
  t.equal(
    render('{{.Platform}} {{.New.Field}}', containerData({ Platform: 'linux', New: { Field: 1 } })),
    'linux 1',
  )
  t.equal(render('{{.Name}}', containerData({ Name: 5, Config: [] })), '5', 'of another type it is as it is')
  for (const data of [undefined, null, 'a', []])
    t.throws(() => containerData(data), { name: 'Failure', kind: 'invalid' })
})

const budget = () => new Budget(defaultLimits)

t.test('a regular expression matches as that of JavaScript where the two agree', async () => {
  const atom = fc.constantFrom(
    'a',
    'b',
    '.',
    '[ab]',
    '[^a-c]',
    '\\d',
    '\\w',
    '\\b',
    '^',
    '$',
    '(?:a|bc)',
    '()',
    'ab',
  )
  const piece = fc.tuple(atom, fc.constantFrom('', '', '*', '+', '?', '{2}', '{1,}', '{0,2}', '*?'))
  const pattern = fc
    .array(piece, { maxLength: 5 })
    .map((pieces) => pieces.map((parts) => parts.join('')).join(''))
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '1', ' '), maxLength: 8 })
  fc.assert(
    fc.property(pattern, text, (pattern, text) => {
      // JavaScript takes no repetition of a place
      const js = RegExp(pattern.replace(/(\\b|\^|\$)(?=[*+?{])/g, '(?:$1)'))
      return matches(compileRegexp(pattern), text, budget()) === js.test(text)
    }),
    { numRuns: 1000 },
  )
})

t.test(
  'a regular expression of Go has what that of JavaScript has not, and the other way round',
  async (t) => {
    const cases: [pattern: string, text: string, expected: boolean][] = [
      ['(?i)straße', 'STRAßE', true],
      ['(?i:A)b', 'ab', true],
      ['(?i:A)b', 'aB', false],
      ['(?P<name>a)', 'a', true],
      ['^[[:alpha:]]+$', 'abc', true],
      ['^[^[:digit:]]$', '1', false],
      ['(?m)^b$', 'a\nb\nc', true],
      ['^b$', 'a\nb\nc', false],
      ['a.b', 'a\nb', false],
      ['(?s)a.b', 'a\nb', true],
      ['\\Aa\\z', 'a\n', false],
      ['^\\x{1f600}$', '\u{1f600}', true],
      ['^.$', '\u{1f600}', true],
      ['a{,2}', 'a{,2}', true],
      ['[]a]', ']', true],
      ['\\w', 'é', false],
      ['^(a+)+$', `${'a'.repeat(5000)}b`, false],
    ]
    for (const [pattern, text, expected] of cases)
      t.equal(matches(compileRegexp(pattern), text, budget()), expected, `${pattern} on ${text.slice(0, 20)}`)
    for (const bad of [
      '(?=a)',
      '(?<!a)',
      '(?P=a)',
      '(a)\\1',
      'a**',
      '*a',
      '{2}',
      'a{2,1}',
      'a{1001}',
      '[b-a]',
      '[a',
      'a)',
      '\\',
      '\\pL',
      '[[:no:]]',
      '(?x)a',
      '((a{900}){900}){900}',
    ])
      t.throws(() => compileRegexp(bad), { kind: 'invalid', message: /regular expression/ }, bad)
    t.throws(() => matches(compileRegexp('(a|b|c|d|e){200}$'), 'a'.repeat(60000), budget()), {
      message: /steps/,
    })
  },
)

/** Texts that are near to templates. */
const nearly = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ...ofContainer.map(([, template]) => template),
        ...failures.map(([template]) => template),
      ),
      fc.constantFrom(
        '{{',
        '}}',
        '{{- ',
        ' -}}',
        '/*',
        '*/',
        '(',
        ')',
        '|',
        '.',
        '$',
        '$x',
        ':=',
        '=',
        ',',
        '"',
        '`',
        "'",
      ),
      fc.constantFrom(
        'if ',
        'else ',
        'end',
        'range ',
        'with ',
        'break',
        'nil',
        'print ',
        'index ',
        'len ',
        '.Config',
        ' . ',
      ),
      fc.string({ unit: 'binary', maxLength: 4 }),
    ),
    { maxLength: 8 },
  )
  .chain((parts) => fc.tuple(fc.constant(parts.join('')), fc.nat(300), fc.nat(5)))
  .map(([text, at, length]) => text.slice(0, at) + text.slice(at + length))

t.test('any text is a template or a Failure, and any rendering ends as one or the other', async () => {
  const data = containerData(inspected)
  const failed = (step: () => unknown): unknown => {
    try {
      return step()
    } catch (error) {
      if (!isFailure(error, 'invalid')) throw error
      return error
    }
  }
  fc.assert(
    fc.property(nearly, (text) => {
      const template = failed(() => parseTemplate(text))
      if (isFailure(template)) return /^template/.test(template.message)
      const limits = { steps: 2000, bytes: 2000 }
      const output = failed(() => renderTemplate(parseTemplate(text), data, limits))
      return isFailure(output) || (typeof output === 'string' && Buffer.byteLength(output) <= limits.bytes)
    }),
    { numRuns: 3000 },
  )
})

t.test('text without an action is its own output', async () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => text.includes('{{') || render(text) === text),
  )
})

t.test('a string literal gives what it says', async () => {
  const quoted = fc.string({ unit: 'grapheme' })
  fc.assert(fc.property(quoted, (text) => render(`{{${JSON.stringify(text)}}}`) === text.toWellFormed()))
})
