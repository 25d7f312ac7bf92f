import assert from 'node:assert/strict'
import { isIPv4 } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { isFailure } from '../../process/failure.ts'
import type { Host, Service, Vsm } from '../../registry/records.ts'
import { dnsLabel, exactLabel } from '../../registry/views/dns-label.ts'
import { skydnsView } from '../../registry/views/skydns.ts'
import type { ViewEntry } from '../../registry/views/view.ts'
import { hostRecord, vsmRecord, webInstance } from '../support/records.ts'

const view = skydnsView({ domain: 'openebs.local' })

const host = (more: Partial<Host> = {}): Host => hostRecord({ address: '10.1.2.1', ...more })
const service = (more: Partial<Service> = {}): Service => webInstance({ address: '10.1.2.1', ...more })
const vsm = (more: Partial<Vsm> = {}): Vsm =>
  vsmRecord({
    targets: [{ iqn: 'iqn.2016-09.com.openebs:vsm1', luns: [{ lun: 1, size: 2 ** 30 }] }],
    ...more,
  })
const ofService = (more: Partial<Service> = {}, one = view) =>
  one.instance?.(service(more), { host: host(), labels: {} }) ?? []
const ofVsm = (more: Partial<Vsm> = {}, at = host()) => view.vsm?.(vsm(more), { host: at, labels: {} }) ?? []
const ofHost = (more: Partial<Host> = {}) => view.host?.(host(more)) ?? []
const keys = (entries: readonly ViewEntry[]) => entries.map(([key]) => key)

t.test('a service', async (t) => {
  t.strictSame(ofService(), [
    [
      'local/openebs/web/_tcp/_web/h1/c1-80',
      '{"host":"10.1.2.1","port":32768,"priority":10,"weight":100,"ttl":5}',
    ],
  ])
  t.strictSame(keys(ofService({ protocol: 'udp' })), ['local/openebs/web/_udp/_web/h1/c1-80-udp'])
  t.strictSame(keys(ofService({ protocol: 'sctp' })), ['local/openebs/web/_sctp/_web/h1/c1-80-sctp'])
  const endpoints = [
    { address: '10.1.2.1', port: 1 },
    { address: 'fd00::1', port: 2 },
  ]
  t.strictSame(
    ofService({ endpoints }).map(([key, value]) => [key.split('/').at(-1), JSON.parse(value).host]),
    [
      ['c1-80', '10.1.2.1'],
      ['c1-80-at2', 'fd00::1'],
    ],
    'all endpoints, of both families',
  )
  t.match(ofService({}, skydnsView({ domain: 'Example.ORG', ttl: 60 }))[0], [
    /^org\/example\/web\//,
    /"ttl":60}$/,
  ])
})

t.test('who answers nobody is left out', async (t) => {
  t.strictSame(ofService({ health: 'unhealthy' }), [])
  t.strictSame(ofService({ state: 'paused' }), [])
  t.equal(ofService({ health: 'starting', state: 'running' }).length, 1)
  for (const health of ['unhealthy', 'starting', 'unknown'] as const)
    t.strictSame(ofVsm({ health }), [], health)
})

t.test('a VSM', async (t) => {
  t.strictSame(ofVsm(), [
    [
      'local/openebs/vsm/vsm1/_tcp/_iscsi/h1/portal1',
      '{"host":"10.1.2.3","port":3260,"priority":10,"weight":100,"ttl":5}',
    ],
    ['local/openebs/vsm/vsm1/txt/h1/iqn1', '{"text":"iqn.2016-09.com.openebs:vsm1","ttl":5}'],
    ['arpa/in-addr/10/1/2/3', '{"host":"vsm1.vsm.openebs.local.","ttl":5}'],
  ])
  t.strictSame(keys(ofVsm({ portals: ['[2001:db8::a]:3260'], targets: [] })), [
    'local/openebs/vsm/vsm1/_tcp/_iscsi/h1/portal1',
    `arpa/ip6/2/0/0/1/0/d/b/8/${'0/'.repeat(23)}a`,
  ])
  t.strictSame(
    keys(ofVsm({ portals: ['10.1.2.1:13260'], targets: [] })),
    ['local/openebs/vsm/vsm1/_tcp/_iscsi/h1/portal1'],
    "an address of the host's has the host's name",
  )
  t.strictSame(
    keys(ofVsm({ portals: ['10.1.2.3:1', '10.1.2.3:2'], targets: [] })).filter((key) => view.shares?.(key)),
    ['arpa/in-addr/10/1/2/3'],
    'one PTR for an address',
  )
})

t.test('a host', async (t) => {
  t.strictSame(ofHost({ addresses: ['10.1.2.1', '::ffff:10.1.2.1'] }), [
    ['local/openebs/host/h1/h1/ipv4', '{"host":"10.1.2.1","ttl":5}'],
    ['arpa/in-addr/10/1/2/1', '{"host":"h1.host.openebs.local.","ttl":5}'],
    ['local/openebs/host/h1/h1/ipv6', '{"host":"::ffff:10.1.2.1","ttl":5}'],
    [`arpa/ip6/${'0/'.repeat(20)}f/f/f/f/0/a/0/1/0/2/0/1`, '{"host":"h1.host.openebs.local.","ttl":5}'],
  ])
  t.strictSame(ofHost({ address: 'h1.example.org' }), [], 'an address that is a name is none')
})

t.test('labels', async (t) => {
  t.equal(dnsLabel('Web_1'), 'web_1', 'DNS tells no cases apart')
  t.match(exactLabel('Web_1'), /^web_1-[0-9a-f]{10}$/, 'keys of one host do')
  for (const name of ['a.b', 'a b', 'ä', '-a', 'a-', '_tcp', '', 'any', '*', '..', 'a/b', 'x'.repeat(64)]) {
    t.match(dnsLabel(name), /^(?=.{1,63}$)[a-z0-9][a-z0-9_-]*[a-z0-9]$/, name)
    t.not(dnsLabel(name), name)
  }
  t.equal(dnsLabel('x'.repeat(63)), 'x'.repeat(63))
  t.equal(dnsLabel('x'.repeat(63), 62).length <= 62, true)
  t.not(dnsLabel('a.b'), dnsLabel('a b'), 'what differs stays different')
})

t.test('what DNS cannot carry is refused, and says why', async (t) => {
  const refused = (doing: () => unknown, message: RegExp) => t.throws(doing, { kind: 'invalid', message })
  refused(() => ofService({ service: 'vsm' }), /a service called "vsm" would be in the way/)
  refused(() => ofService({ service: 'HOST' }), /below host.openebs.local/)
  refused(() => ofService({ address: 'example.org' }), /"example.org" is no address/)
  refused(() => ofService({ address: 'fe80::1%eth0' }), /"fe80::1%eth0" is no address/)
  refused(() => ofVsm({ portals: ['here'] }), /"here" is no portal/)
  for (const domain of ['', 'a..b', '-a', 'x'.repeat(64)])
    refused(() => skydnsView({ domain }), /expected a domain/)
  for (const ttl of [0, -1, 1.5, 2 ** 31]) refused(() => skydnsView({ domain: 'a', ttl }), /expected a TTL/)
  const long = skydnsView({ domain: Array(3).fill('x'.repeat(62)).join('.') })
  t.equal(ofService({}, long).length, 1)
  refused(() => ofService({ service: 'x'.repeat(62) }, long), /more than 253 octets/)
})

t.test('what is long is made shorter, and what differs in case alone keeps keys of its own', async (t) => {
  const labels = (more: Partial<Service>) => ofService(more)[0]?.[0].split('/') ?? []
  const edge = labels({ service: 'x'.repeat(63) })
  t.ok(
    edge.every((label) => label.length <= 63),
    'a service stands behind a "_" as well',
  )
  const long = { service: 's'.repeat(62), host: 'h'.repeat(63) }
  const [one, other] = ['1', '2'].map((end) => labels({ ...long, container: `${'c'.repeat(60)}${end}` }))
  t.equal(one?.join('.').length, 253, 'the instance has what the others leave')
  t.not(one?.at(-1), other?.at(-1))

  const [small, capital] = ['vsm1', 'VSM1'].map((name) =>
    keys(ofVsm({ vsm: name })).filter((key) => !view.shares?.(key)),
  )
  t.strictSame(
    small?.filter((key) => capital?.includes(key)),
    [],
    'VSMs of one host',
  )
  t.ok(capital?.every((key) => key.startsWith('local/openebs/vsm/vsm1/') && view.owns(key, 'h1')))
  const containers = ['c1', 'C1'].map((container) => keys(ofService({ container }))[0])
  t.not(containers[0], containers[1], 'containers of one host')
  const hosts = ['h1', 'H1'].map((name) => keys(ofHost({ host: name }))[0] ?? '')
  t.strictSame(
    hosts.map((key) => [view.owns(key, 'h1'), view.owns(key, 'H1')]),
    [
      [true, false],
      [false, true],
    ],
    'hosts',
  )
})

t.test('whose a key is', async (t) => {
  for (const key of keys([...ofService(), ...ofVsm(), ...ofHost()]))
    t.equal(view.owns(key, 'h1'), !key.startsWith('arpa/'), key)
  for (const key of [
    // of registrator itself, in the same domain, for a service that is called as this host
    ...['local/openebs/h1/other:c1:80', 'local/openebs/web/h1/my-id', 'local/openebs/web/h1:c1:80'],
    // of a domain below this one
    ...['local/openebs/lab/web/_tcp/_web/h1/c1-80', 'local/openebs/lab/vsm/vsm1/_tcp/_iscsi/h1/portal1'],
    ...[
      'local/openebs/web/_tcp/_other/h1/c1-80',
      'local/openebs/web/_tcp/_web/h2/c1-80',
      'local/openebs/dns/apex/x1',
    ],
    ...['xlocal/openebs/web/_tcp/_web/h1/c1-80', 'local/openebs/host/h1/h2/ipv4'],
  ])
    t.equal(view.owns(key, 'h1'), false, key)
})

const anyName = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,80}$/),
  fc.constantFrom('vsm', 'host', 'txt', '_tcp', '_iscsi', 'any', 'dns', 'arpa', 'a', 'A', 'h1'),
)
const hostName = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,80}$/)
const address = fc.oneof(fc.ipV4(), fc.ipV6())
const endpoint = fc.record({ address, port: fc.integer({ min: 1, max: 65535 }) })
const records = fc.record({
  at: hostName,
  addresses: fc.uniqueArray(address, { minLength: 1, maxLength: 2, selector: isIPv4 }),
  services: fc.uniqueArray(
    fc.record({
      service: anyName,
      container: fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,80}$/),
      exposedPort: fc.integer({ min: 1, max: 65535 }),
      protocol: fc.constantFrom('tcp' as const, 'udp' as const, 'sctp' as const),
      endpoints: fc.array(endpoint, { minLength: 1, maxLength: 3 }),
    }),
    { maxLength: 6, selector: (one) => `${one.container} ${one.exposedPort} ${one.protocol}` },
  ),
  vsms: fc.uniqueArray(
    fc.record({
      vsm: anyName,
      portals: fc.array(endpoint, { maxLength: 3 }),
      targets: fc.array(
        fc.record({ iqn: fc.string(), luns: fc.constant<Vsm['targets'][number]['luns']>([]) }),
        { maxLength: 2 },
      ),
    }),
    { maxLength: 4, selector: (one) => one.vsm },
  ),
})

/** All entries of a host; what is refused gives none. */
const allOf = ({
  at,
  addresses,
  services,
  vsms,
}: typeof records extends fc.Arbitrary<infer T> ? T : never) => {
  const where = host({ host: at, address: addresses[0] ?? '', addresses })
  const about = { host: where, labels: {} }
  const attempt = (make: () => readonly ViewEntry[] | undefined): readonly ViewEntry[] => {
    try {
      return make() ?? []
    } catch (error) {
      assert(isFailure(error, 'invalid'), String(error))
      return []
    }
  }
  const portal = (one: { address: string; port: number }) =>
    isIPv4(one.address) ? `${one.address}:${one.port}` : `[${one.address}]:${one.port}`
  return [
    ...attempt(() => view.host?.(where)),
    ...services.flatMap((more) => attempt(() => view.instance?.(service({ ...more, host: at }), about))),
    ...vsms.flatMap((more) =>
      attempt(() => view.vsm?.(vsm({ ...more, portals: more.portals.map(portal), host: at }), about)),
    ),
  ]
}

t.test('any records give keys that are names of DNS, each with a message that CoreDNS reads', async () => {
  fc.assert(
    fc.property(records, (given) => {
      const entries = allOf(given)
      for (const [key, value] of entries) {
        const labels = key.split('/')
        for (const label of labels)
          assert.match(label, /^(?=.{1,63}$)_?[a-z0-9]([a-z0-9_-]*[a-z0-9_])?$/, key)
        assert(labels.join('.').length <= 253, key)
        assert(!labels.includes('any'), `${key}: a wildcard`)
        assert(!labels.at(-1)?.startsWith('_'), `${key}: no address to CoreDNS`)
        const message = JSON.parse(value)
        assert.equal(message.ttl, 5)
        assert.equal(typeof (message.host ?? message.text), 'string')
      }
    }),
  )
})

t.test(
  'no key is a folder of another; each instance has a key of its own, which tells its host',
  async () => {
    fc.assert(
      fc.property(records, hostName, (given, other) => {
        const entries = allOf(given)
        const all = new Set(keys(entries))
        for (const key of all) {
          const parts = key.split('/')
          for (let length = 1; length < parts.length; length += 1)
            assert(!all.has(parts.slice(0, length).join('/')), `${key} is below another key`)
          if (view.shares?.(key)) continue
          assert(view.owns(key, given.at), key)
          assert(other === given.at || !view.owns(key, other), `${key} is not of ${other}`)
        }
        const own = keys(entries).filter((key) => !view.shares?.(key))
        assert.equal(new Set(own).size, own.length, 'nobody writes over another')
      }),
    )
  },
)
