import assert from 'node:assert/strict'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { isFailure } from '../../process/failure.ts'
import type { Host, Service, Vsm } from '../../registry/records.ts'
import { fields } from '../../registry/views/traefik/fields.ts'
import { type TraefikOptions, traefikView } from '../../registry/views/traefik.ts'
import type { ViewEntry } from '../../registry/views/view.ts'
import { hostRecord, vsmRecord, webInstance } from '../support/records.ts'

/**
 * Expectations are of Traefik's documentation, in docs/content/reference/routing-configuration/other-providers of its
 * version 3.7: docker.md for what labels mean, kv.md for what keys mean.
 */
const host = (name = 'h1'): Host => hostRecord({ host: name })
const vsm = (more: Partial<Vsm> = {}): Vsm =>
  vsmRecord({ portals: ['10.1.2.3:3260', '[fd00::3]:3260'], ...more })
type Labels = Record<string, string>
const on = { 'traefik.enable': 'true' }

const instance = (labels: Labels, more: Partial<Service> = {}, options: TraefikOptions = {}, ports = [80]) =>
  traefikView(options).instance(webInstance(more), { host: host(more.host), labels, ports })
const ofVsm = (labels: Labels, more: Partial<Vsm> = {}) =>
  traefikView().vsm(vsm(more), { host: host(more.host), labels })

type Tree = { [name: string]: Tree | string | (Tree | string)[] }

/**
 * Keys as Traefik reads them, by kv.md: "/" parts segments, digits are indexes of a list, which is in the order of its
 * keys as texts, and names count in any case. Written by that page alone, and knows nothing of labels.
 */
const decoded = (entries: readonly ViewEntry[]): Tree => {
  const root: Record<string, unknown> = {}
  for (const [key, value] of [...entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
    let node = root
    const segments = key.split('/')
    for (const [at, segment] of segments.entries()) {
      const known = Object.keys(node).find((one) => one.toLowerCase() === segment.toLowerCase()) ?? segment
      if (at === segments.length - 1) {
        if (node[known] === undefined) node[known] = value
        else if (typeof node[known] === 'object') (node[known] as Record<string, unknown>)[''] = value
        else throw new Error(`${key} stands twice`)
      } else {
        // a value of its own and parts below it: tls=true, tls/certResolver
        if (typeof node[known] === 'string') node[known] = { '': node[known] }
        node[known] ??= {}
        node = node[known] as Record<string, unknown>
      }
    }
  }
  const lists = (node: unknown): unknown => {
    if (node === null || typeof node !== 'object') return node
    const all = Object.entries(node).map(([name, child]) => [name, lists(child)] as const)
    const indexes = all.length > 0 && all.every(([name]) => /^\d+$/.test(name))
    // of an object, digits come first and by number: the order of texts must be made here
    if (indexes) return all.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, child]) => child)
    return Object.fromEntries(all)
  }
  return lists(root) as Tree
}

/** Asks what an instance of a container with these labels is refused for; `ports` is empty where they are not known. */
const refused = (
  t: Test,
  labels: Labels,
  reason: RegExp,
  more: Partial<Service> = {},
  ports: readonly number[] = [80],
) => {
  const about = { host: host(), labels: { ...on, ...labels }, ...(ports.length > 0 && { ports }) }
  const work = () => traefikView().instance(webInstance(more), about)
  t.throws(work, { kind: 'invalid', message: reason }, `${reason} ${Object.keys(labels).join(' ')}`)
}

t.test('what labels say, keys say', async (t) => {
  const rule = 'Host(`example.com`)'
  const url = 'http://10.1.2.3:32768'
  const server = { loadBalancer: { servers: [{ url }] } }
  for (const [what, labels, expected] of [
    [
      'docker.md: one service',
      { 'traefik.http.routers.my.rule': rule },
      {
        http: { routers: { my: { rule, service: 'web' } }, services: { web: server } },
      },
    ],
    [
      'nothing but enabled: the default rule',
      {},
      {
        http: { routers: { web: { rule: 'Host(`web`)', service: 'web' } }, services: { web: server } },
      },
    ],
    [
      'docker.md: a port, a scheme',
      {
        'traefik.http.routers.my-container.rule': rule,
        'traefik.http.services.my-service.loadbalancer.server.port': '80',
        'traefik.http.services.my-service.loadbalancer.server.scheme': 'h2c',
      },
      {
        http: {
          routers: { 'my-container': { rule, service: 'my-service' } },
          services: { 'my-service': { loadBalancer: { servers: [{ url: 'h2c://10.1.2.3:32768' }] } } },
        },
      },
    ],
    [
      'kv.md: entry points, middlewares, TLS and its domains',
      {
        'traefik.http.routers.r.rule': rule,
        'traefik.http.routers.r.entrypoints': 'web, websecure',
        'traefik.http.routers.r.middlewares': 'auth,prefix,cb',
        'traefik.http.routers.r.priority': '42',
        'traefik.http.routers.r.tls': 'true',
        'traefik.http.routers.r.tls.certresolver': 'myresolver',
        'traefik.http.routers.r.tls.domains[0].main': 'example.org',
        'traefik.http.routers.r.tls.domains[0].sans': 'test.example.org,dev.example.org',
      },
      {
        http: {
          routers: {
            r: {
              rule,
              service: 'web',
              entryPoints: ['web', 'websecure'],
              middlewares: ['auth', 'prefix', 'cb'],
              priority: '42',
              tls: {
                '': 'true',
                certResolver: 'myresolver',
                domains: [{ main: 'example.org', sans: ['test.example.org', 'dev.example.org'] }],
              },
            },
          },
          services: { web: server },
        },
      },
    ],
    [
      'kv.md: options of a service; names in any case',
      {
        'Traefik.HTTP.Routers.r.Rule': rule,
        'traefik.http.services.s.LoadBalancer.PassHostHeader': 'T',
        'traefik.http.services.s.loadbalancer.healthcheck.headers.X-Foo': 'foobar',
        'traefik.http.services.s.loadbalancer.healthcheck.interval': '10s',
        'traefik.http.services.s.loadbalancer.healthcheck.path': '/foo',
        'traefik.http.services.s.loadbalancer.sticky.cookie': 'true',
        'traefik.http.services.s.loadbalancer.sticky.cookie.name': 'foobar',
        'traefik.http.services.s.loadbalancer.server.weight': '3',
        'traefik.docker.network': 'n1',
        'com.example.other': 'x',
      },
      {
        http: {
          routers: { r: { rule, service: 's' } },
          services: {
            s: {
              loadBalancer: {
                passHostHeader: 'true',
                healthCheck: { headers: { 'X-Foo': 'foobar' }, interval: '10s', path: '/foo' },
                sticky: { cookie: { '': 'true', name: 'foobar' } },
                servers: [{ url, weight: '3' }],
              },
            },
          },
        },
      },
    ],
    [
      'docker.md: middlewares',
      {
        'traefik.http.routers.r.rule': rule,
        'traefik.http.routers.r.middlewares': 'my-redirect',
        'traefik.http.middlewares.my-redirect.redirectscheme.scheme': 'https',
        'traefik.http.middlewares.h.headers.customrequestheaders.X-Empty': '',
      },
      {
        http: {
          routers: { r: { rule, service: 'web', middlewares: ['my-redirect'] } },
          services: { web: server },
          middlewares: {
            'my-redirect': { redirectScheme: { scheme: 'https' } },
            h: { headers: { customRequestHeaders: { 'X-Empty': '' } } },
          },
        },
      },
    ],
    [
      'docker.md: TCP has no HTTP beside it',
      {
        'traefik.tcp.routers.my-router.rule': 'HostSNI(`example.com`)',
        'traefik.tcp.routers.my-router.tls.passthrough': 'true',
        'traefik.tcp.services.my-service.loadbalancer.server.port': '80',
        'traefik.tcp.services.my-service.loadbalancer.proxyprotocol.version': '1',
      },
      {
        tcp: {
          routers: {
            'my-router': {
              rule: 'HostSNI(`example.com`)',
              service: 'my-service',
              tls: { passthrough: 'true' },
            },
          },
          services: {
            'my-service': {
              loadBalancer: { proxyProtocol: { version: '1' }, servers: [{ address: '10.1.2.3:32768' }] },
            },
          },
        },
      },
    ],
  ] as const)
    t.strictSame(decoded(instance({ ...on, ...(labels as Labels) })), expected, what)
  const udp = {
    'traefik.udp.routers.u.entrypoints': 'dns',
    'traefik.udp.services.u.loadbalancer.server.port': '53',
  }
  t.strictSame(decoded(instance({ ...on, ...udp }, { protocol: 'udp', exposedPort: 53 })), {
    udp: {
      routers: { u: { entryPoints: ['dns'], service: 'u' } },
      services: { u: { loadBalancer: { servers: [{ address: '10.1.2.3:32768' }] } } },
    },
  })
  t.strictSame(instance({ ...on, ...udp }, { exposedPort: 53 }), [], 'its TCP port has nothing to do with it')
  t.strictSame(instance(on, { protocol: 'sctp' }), [])
})

t.test('which port is a server, and of what', async (t) => {
  const two = {
    ...on,
    'traefik.http.routers.www-router.rule': 'Host(`example-a.com`)',
    'traefik.http.routers.www-router.service': 'www-service',
    'traefik.http.services.www-service.loadbalancer.server.port': '8000',
    'traefik.http.routers.admin-router.rule': 'Host(`example-b.com`)',
    'traefik.http.routers.admin-router.service': 'admin-service',
    'traefik.http.services.admin-service.loadbalancer.server.port': '9000',
    'traefik.http.routers.api.rule': 'Host(`api`)',
    'traefik.http.routers.api.service': 'api@internal',
  }
  const parts = (port: number) => {
    const { http } = decoded(instance(two, { exposedPort: port })) as { http?: Record<string, object> }
    return Object.values(http ?? {}).map((one) => Object.keys(one))
  }
  t.strictSame(parts(8000), [['api', 'www-router'], ['www-service']], 'docker.md: more than one service')
  t.strictSame(parts(9000), [['admin-router', 'api'], ['admin-service']])
  t.strictSame(parts(80), [], 'no service is at this port')
  const has = (port: number) => instance(on, { exposedPort: port }, {}, [9000, 80]).length > 0
  t.strictSame([has(80), has(9000)], [true, false], 'without a label it is the lowest port')
  const six = instance(on, { address: 'fd00::3' })
  t.ok(six.some(([, value]) => value === 'http://[fd00::3]:32768'))
  t.strictSame(decoded(instance(on, {}, { defaultRule: 'Host(`{name}.example.com`)' })).http, {
    routers: { web: { rule: 'Host(`web.example.com`)', service: 'web' } },
    services: { web: { loadBalancer: { servers: [{ url: 'http://10.1.2.3:32768' }] } } },
  })
  t.match(decoded(instance(on, { service: 'a_b.c/80' })).http, { routers: { 'a-b-c-80': {} } }, 'normalized')
})

t.test('what is not exposed', async (t) => {
  for (const [labels, more] of [
    [{}, {}],
    [{ 'traefik.enable': 'false' }, {}],
    [{ 'traefik.http.routers.r.rule': 'Host(`x`)' }, {}],
    [on, { health: 'starting' }],
    [on, { health: 'unhealthy' }],
    [on, { state: 'paused' }],
  ] as [Labels, Partial<Service>][])
    t.strictSame(instance(labels, more), [], JSON.stringify([labels, more]))
  t.not(instance({ 'Traefik.Enable': '1' }, { health: 'healthy', state: 'running' }).length, 0)
  t.not(instance({}, {}, { exposedByDefault: true }).length, 0)
  t.strictSame(instance({ 'traefik.enable': 'false' }, {}, { exposedByDefault: true }), [])
})

t.test('what Traefik could not read is refused, and told', async (t) => {
  const router = 'traefik.http.routers.r'
  for (const [label, value, reason] of [
    [`${router}.rulle`, 'Host(`x`)', /r\.rulle: not an option/],
    [`${router}.rule`, ' ', /expected a value/],
    [`${router}.priority`, 'high', /priority: expected a whole number/],
    [`${router}.priority`, '1'.repeat(30), /whole number/],
    [`${router}.tls`, 'yes', /expected true or false/],
    [`${router}.entrypoints`, 'web,,b', /empty member/],
    [`${router}.entrypoints`, '', /empty member/],
    [`${router}.tls.domains.main`, 'x', /not an option/],
    ['traefik.http.routers.80.rule', 'Host(`x`)', /not digits alone/],
    ['traefik.http.routers.a/b.rule', 'Host(`x`)', /a name must be/],
    ['traefik.http.routers.a@b.rule', 'Host(`x`)', /a name must be/],
    ['traefik.http.routers', 'x', /a name must be/],
    ['traefik.http.serverstransports.x.servername', 'x', /expected routers, services or middlewares/],
    ['traefik.http.middlewares.m.plugin.p.x', 'x', /not an option/],
    ['traefik.http.middlewares.m.headers.customrequestheaders.1', 'x', /not an option/],
    ['traefik.http.middlewares.m.ratelimit.period', '1 minute', /a duration such as/],
    ['traefik.http.services.s.loadbalancer.server.port', 'http', /no port: http/],
    ['traefik.http.services.s.loadbalancer.server.port', '70000', /no port/],
    ['traefik.http.services.s.loadbalancer.server.scheme', 'ftp', /http, https or h2c/],
    ['traefik.http.services.s.loadbalancer.server.url', 'http://x', /not an option/],
    ['traefik.http.services.s.loadbalancer.servers[0].url', 'http://x', /not an option/],
    ['traefik.http.services.s.weighted.services[0].name', 'x', /not an option/],
    ['traefik.tcp.routers.r.entrypoints', 'e1', /router r: it has no rule/],
    ['traefik.enable', 'maybe', /traefik.enable: expected true or false/],
  ] as const)
    refused(t, { [label]: value }, reason)
  refused(t, { 'traefik.http.routers.r.rule': 'a', 'traefik.http.routers.R.rule': 'b' }, /say the same thing/)
  const port = 'loadbalancer.server.port'
  refused(
    t,
    {
      [`traefik.http.services.a.${port}`]: '80',
      [`traefik.http.services.b.${port}`]: '80',
      [`${router}.rule`]: 'x',
    },
    /names none of the services a, b/,
  )
  refused(t, {}, /which port is not known/, {}, [])
  refused(t, {}, /no name for Traefik/, { service: '80' })
})

t.test('a VSM by an entry point of its own', async (t) => {
  const labels = { ...on, 'traefik.tcp.routers.vsm1.entrypoints': 'iscsi1' }
  t.strictSame(decoded(ofVsm(labels)), {
    tcp: {
      routers: { vsm1: { entryPoints: ['iscsi1'], rule: 'HostSNI(`*`)', service: 'vsm1' } },
      services: { vsm1: { loadBalancer: { servers: [{ address: '10.1.2.3:3260' }] } } },
    },
  })
  t.strictSame(ofVsm(on), [], 'nothing without one')
  t.strictSame(ofVsm({ 'traefik.tcp.routers.vsm1.entrypoints': 'iscsi1' }), [])
  t.strictSame(ofVsm(labels, { health: 'unhealthy' }), [])
  t.strictSame(ofVsm(labels, { portals: [] }), [])
  t.not(ofVsm(labels, { health: 'unknown' }).length, 0)
  const bare = { ...on, 'traefik.tcp.routers.vsm1.rule': 'HostSNI(`*`)' }
  t.throws(() => ofVsm(bare), { kind: 'invalid', message: /entry point of its own/ })
  const port = 'loadbalancer.server.port'
  const several = {
    ...labels,
    [`traefik.tcp.services.a.${port}`]: '1',
    [`traefik.tcp.services.b.${port}`]: '2',
  }
  t.throws(() => ofVsm(several), { kind: 'invalid', message: /not several/ })
  const both = { ...labels, 'traefik.tcp.routers.vsm1.rule': 'HostSNI(`*`)' }
  const at3260 = { service: 'vsm1', container: 'vsm1', exposedPort: 3260, port: 3260 }
  t.strictSame(
    instance(both, at3260, {}, [3260]).toSorted(),
    [...ofVsm(both)].toSorted(),
    'as a service it has the same keys',
  )
})

t.test('each host has servers of its own, all else is shared', async (t) => {
  const view = traefikView()
  const [one, two, three] = [
    instance(on),
    instance(on, { host: 'h2', address: '10.1.2.4' }),
    instance(on, { container: 'c2', port: 32769 }),
  ]
  const own = (entries: readonly ViewEntry[]) =>
    entries.map(([key]) => key).filter((key) => !view.shares(key))
  t.match(own(one), [/^http\/services\/web\/loadBalancer\/servers\/\d{18}\/url$/])
  t.equal(new Set([one, two, three].flatMap(own)).size, 3)
  const { http } = decoded([...new Map([...one, ...two, ...three])]) as {
    http: { services: { web: { loadBalancer: { servers: { url: string }[] } } } }
  }
  t.strictSame(
    http.services.web.loadBalancer.servers.map(({ url }) => url).sort(),
    ['http://10.1.2.3:32768', 'http://10.1.2.3:32769', 'http://10.1.2.4:32768'],
    'together they are one service',
  )
  for (const [key] of one) {
    t.equal(view.owns(key, 'h1'), !view.shares(key), key)
    t.equal(view.owns(key, 'h2'), false)
  }
  t.equal(view.owns('http/services/web/loadBalancer/servers/0/url', 'h1'), false, 'of another hand')
  t.strictSame([...new Set(one.map(([key]) => view.groupOf(key)))], ['http/web'], 'a router and its service')
})

t.test('more than ten members of a list stay in their order', async (t) => {
  const names = Array.from({ length: 12 }, (_, at) => `m${at}`)
  const labels = {
    ...on,
    'traefik.http.routers.r.rule': 'x',
    'traefik.http.routers.r.middlewares': names.join(),
  }
  t.match(decoded(instance(labels)), { http: { routers: { r: { middlewares: names } } } })
})

/** Labels as people write them: mostly right, in any case, with values that may be wrong. */
const labels = fc.dictionary(
  fc
    .constantFrom(
      ...(['http', 'tcp', 'udp'] as const).flatMap((protocol) =>
        (['routers', 'services', 'middlewares'] as const).flatMap((part) =>
          Object.keys(fields[protocol][part]).map((path) => [protocol, part, path] as const),
        ),
      ),
    )
    .chain(([protocol, part, path]) =>
      fc
        .record({
          name: fc.constantFrom('a', 'A', 'b-1', 'web', '7', 'x/y'),
          header: fc.constantFrom('X-Foo', '12'),
          upper: fc.boolean(),
        })
        .map(({ name, header, upper }) => {
          const below = path.replaceAll('/#', '[1]').replaceAll('/', '.').replace('*', header)
          const label = `traefik.${protocol}.${part}.${name}.${below}`
          return upper ? label.toUpperCase() : label.toLowerCase()
        }),
    ),
  fc.constantFrom('true', '1', '42', '10s', 'a,b', 'x', 'web', 'http', '80', '', ','),
  { maxKeys: 6 },
)

t.test('whatever the labels are: nothing that Traefik could not read, and no key twice', async (t) => {
  let made = 0
  const allowed = Object.entries(fields).flatMap(([protocol, parts]) =>
    Object.entries(parts).flatMap(([part, table]) =>
      Object.keys(table)
        .filter((path) => !path.startsWith('loadBalancer/server/'))
        .map((path) => {
          const list = (table as Record<string, string>)[path] === 'list' ? '/\\d+' : ''
          const pattern = path.replaceAll('#', '\\d+').replaceAll('*', '(?!\\d+$)[A-Za-z0-9_-]+')
          return new RegExp(`^${protocol}/${part}/(?!\\d+/)[A-Za-z0-9_-]+/${pattern}${list}$`)
        }),
    ),
  )
  const ofServer =
    /^(http|tcp|udp)\/services\/[A-Za-z0-9_-]+\/loadBalancer\/servers\/\d{18}\/(url|address|weight|preservePath|tls)$/
  fc.assert(
    fc.property(labels, fc.constantFrom('tcp' as const, 'udp' as const), (given, protocol) => {
      let entries: readonly ViewEntry[]
      try {
        entries = instance({ ...given, ...on }, { protocol })
      } catch (error) {
        if (isFailure(error, 'invalid')) return
        throw error
      }
      made += 1
      assert.equal(new Set(entries.map(([key]) => key.toLowerCase())).size, entries.length, 'no key twice')
      for (const [key] of entries)
        if (!ofServer.test(key) && !allowed.some((one) => one.test(key)))
          assert.fail(`${key} is unknown to Traefik`)
      decoded(entries)
      const reversed = Object.fromEntries(Object.entries(given).reverse())
      assert.deepEqual(
        instance({ ...reversed, ...on }, { protocol }),
        entries,
        'the same labels, the same keys',
      )
      const other = instance(
        { ...given, ...on },
        { protocol, host: 'h2', address: '10.9.9.9', container: 'c9' },
      )
      const shared = (all: readonly ViewEntry[]) => all.filter(([key]) => traefikView().shares(key))
      assert.deepEqual(shared(other), shared(entries), 'hosts agree on what they share')
    }),
    { numRuns: 1000 },
  )
  t.ok(made > 100, `${made} were not refused`)
})
