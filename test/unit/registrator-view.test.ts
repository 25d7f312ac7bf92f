import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { isFailure } from '../../process/failure.ts'
import type { Service } from '../../registry/records.ts'
import { registratorView, skydns2View } from '../../registry/views/registrator.ts'
import type { View, ViewEntry } from '../../registry/views/view.ts'
import recordings from '../data/peer-recordings.json' with { type: 'json' }
import { hostRecord, webInstance } from '../support/records.ts'

const host = hostRecord({ address: '10.9.9.9' })
const service = (more: Partial<Service> = {}): Service =>
  webInstance({ address: '10.9.9.9', port: 18080, ...more })
const made = (view: View, one: Service): readonly ViewEntry[] =>
  view.instance?.(one, { host, labels: {} }) ?? []
const refusal = (view: View, one: Service): string => {
  try {
    return `not refused: ${JSON.stringify(made(view, one))}`
  } catch (error) {
    if (!isFailure(error, 'invalid')) throw error
    return error.message
  }
}

/** Cases of the recordings, under -ip 10.9.9.9, by the services that their containers have. */
const cases: Record<string, Partial<Service>[]> = {
  'one-port': [{}],
  'two-ports': [{ service: 'multi-80' }, { service: 'multi-443', exposedPort: 443, port: 18443 }],
  'service-name': [{ service: 'api' }],
  id: [{ attributes: { id: 'my-id' } }],
  'port-id': [
    { service: 'multi-80', attributes: { id: 'id80' } },
    { service: 'multi-443', exposedPort: 443, port: 18443 },
  ],
  udp: [{ service: 'bare', exposedPort: 53, port: 15353, protocol: 'udp', tags: ['udp'] }],
  'name-with-slash': [{ service: 'team/api' }],
  'name-upper': [{ service: 'API' }],
  'name-equals-in-value': [{ service: 'a=b' }],
}
const views = {
  '-ip 10.9.9.9 etcd': [registratorView(), '/services/'],
  '-ip 10.9.9.9 skydns2': [skydns2View('openebs.local'), '/skydns/'],
} as const

for (const [variant, [view, root]] of Object.entries(views))
  t.test(`as recorded: ${variant}`, async (t) => {
    const recorded = recordings.variants[variant as keyof typeof views] as Record<string, object>
    for (const [name, services] of Object.entries(cases)) {
      const entries = services.flatMap((more) => made(view, service(more)))
      const keys = entries.map(([key, value]) => [`${root}${key.replace('h1:', '<host>:')}`, value])
      t.strictSame(Object.fromEntries(keys), recorded[name], name)
    }
  })

t.test('what the recordings do not have', async (t) => {
  const view = registratorView()
  t.strictSame(made(view, service({ address: 'fd00::1' })), [['web/h1:c1:80', '[fd00::1]:18080']])
  t.strictSame(made(view, service({ protocol: 'sctp' })), [['web/h1:c1:80:sctp', '10.9.9.9:18080']])
  t.strictSame(
    made(view, service({ attributes: { id: '' } }))[0]?.[0],
    'web/h1:c1:80',
    'an empty SERVICE_ID is none',
  )
  t.strictSame(made(view, service({ service: 'my web' }))[0]?.[0], 'my+web/h1:c1:80', 'a space is a "+"')
  t.strictSame(
    made(skydns2View('example.org'), service({ address: 'fd00::1' })),
    [['org/example/web/h1:c1:80', '{"host":"fd00::1","port":18080}']],
    'a message has the bare address',
  )
})

t.test('SERVICE_NAME with slashes, spaces, 300 characters, Unicode', async (t) => {
  const etcd = registratorView()
  const dns = skydns2View('example.org')
  const keyOf = (view: View, name: string) => made(view, service({ service: name }))[0]?.[0]
  t.equal(keyOf(etcd, 'a/b/c'), 'a/b/c/h1:c1:80')
  t.equal(keyOf(dns, 'a/b/c'), 'org/example/a/b/c/h1:c1:80')
  t.equal(keyOf(etcd, 'a b c'), 'a+b+c/h1:c1:80')
  t.equal(keyOf(dns, 'a b c'), 'org/example/a+b+c/h1:c1:80')
  t.equal(keyOf(etcd, 'x'.repeat(300)), `${'x'.repeat(300)}/h1:c1:80`)
  t.match(refusal(dns, service({ service: 'x'.repeat(300) })), /^"x{60}…" is no name in DNS: .*63 octets/)
  t.match(refusal(dns, service({ service: Array(40).fill('longer').join('/') })), /253 in all/)
  t.equal(keyOf(etcd, 'büro/日本'), 'büro/日本/h1:c1:80')
  t.equal(keyOf(dns, 'büro'), 'org/example/büro/h1:c1:80')
  for (const name of ['/a/b', 'a/b/', 'a//b']) t.equal(keyOf(etcd, name), 'a/b/h1:c1:80', name)
  for (const name of ['..', 'a/../b', '.', 'a/./b', '/', 'a\nb', 'a\0b']) {
    const why = /"(.|\\.)+" (is no path below its folder|has control characters)/
    t.match(refusal(etcd, service({ service: name })), why, JSON.stringify(name))
    t.match(refusal(dns, service({ service: name })), /^SERVICE_NAME /, JSON.stringify(name))
    t.match(refusal(etcd, service({ attributes: { id: name } })), /^SERVICE_ID /, JSON.stringify(name))
  }
  for (const name of ['a\\b', 'a..b', '.a'])
    t.match(refusal(dns, service({ service: name })), /is no name in DNS/, name)
})

t.test(
  'an id that is no name in DNS is left out of the target, so that all others can be sent',
  async (t) => {
    const view = skydns2View('example.org')
    const sent = (more: Partial<Service>) => made(view, service(more))[0]?.[1]
    const plain = '{"host":"10.9.9.9","port":18080}'
    t.equal(sent({ container: 'c'.repeat(63 - 'h1::80'.length) }), plain)
    t.equal(sent({ container: 'c'.repeat(64 - 'h1::80'.length) }), plain.replace('}', ',"targetstrip":1}'))
    t.equal(sent({ container: 'stack.1.abc' }), plain)
    t.equal(sent({ container: 'stack..1' }), plain.replace('}', ',"targetstrip":3}'))
  },
)

t.test('domains', async (t) => {
  for (const domain of ['', '.', 'a..b', 'a.', 'a/b', 'x'.repeat(64), 'a b.c\td'])
    t.throws(() => skydns2View(domain), { kind: 'invalid', message: /expected a domain/ }, domain)
})

t.test('whose a key is', async (t) => {
  const zoned = skydns2View('example.org')
  const inZone = { owns: (key: string, host: string) => zoned.owns(`org/example/${key}`, host) }
  t.notOk(zoned.owns('org/other/web/h1:c1:80', 'h1'), 'another domain is not its own')
  t.notOk(registratorView().owns('openebs/v1/services/web/h1:c1:80', 'h1'), 'nor is the registry')
  for (const view of [registratorView(), inZone]) {
    for (const key of ['web/h1:c1:80', 'a/b/h1:c_1.x-y:53:udp', 'web/h1:c1:80:sctp'])
      t.equal(view.owns(key, 'h1'), true, key)
    for (const key of [
      ...[
        'web/h10:c1:80',
        'web/h:c1:80',
        'h1:c1:80/my-id',
        'web/my-id',
        'web/h1:mine',
        'web/h1',
        'web/h1::80',
      ],
      ...['web/h1:c1:80:tcp', 'web/h1:c1:80:udp:x', 'web/h1:c1:x', 'web/xh1:c1:80', ''],
    ])
      t.equal(view.owns(key, 'h1'), false, key)
  }
})

t.test('any record gives a key that is its own, or is refused', async () => {
  const name = fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[a-z./ +\\]{0,80}$/))
  const record = fc.record({
    service: name,
    container: fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,80}$/),
    exposedPort: fc.integer({ min: 1, max: 65535 }),
    protocol: fc.constantFrom('tcp' as const, 'udp' as const, 'sctp' as const),
    address: fc.oneof(fc.ipV4(), fc.ipV6()),
    attributes: fc.oneof(fc.constant({}), fc.record({ id: name })),
  })
  for (const [view, depth] of [
    [registratorView(), 2],
    [skydns2View('example.org'), 4],
  ] as const)
    fc.assert(
      fc.property(record, (more) => {
        let entries: readonly ViewEntry[]
        try {
          entries = made(view, service(more))
        } catch (error) {
          assert(isFailure(error, 'invalid'), String(error))
          return
        }
        assert.equal(entries.length, 1)
        const [key = '', value = ''] = entries[0] ?? []
        const parts = key.split('/')
        assert(parts.length >= depth && !parts.some((part) => ['', '.', '..'].includes(part)), key)
        if (!('id' in more.attributes && more.attributes.id)) assert(view.owns(key, 'h1'), key)
        assert.equal(view.owns(key, 'h2') && key.includes('h1:'), false)
        if (depth === 4) assert.equal(JSON.parse(value).host, more.address)
        else assert.match(value, /^(\d+\.\d+\.\d+\.\d+|\[[^\]]*:[^\]]*\]):18080$/)
      }),
    )
})
