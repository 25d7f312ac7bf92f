import fc from 'fast-check'
import t from 'tap'
import type { Container } from '../../docker/inspect.ts'
import { encode, keys } from '../../registry/keys.ts'
import { imageBaseName, serviceMetadata } from '../../sidecar/metadata.ts'
import { type ServiceRules, servicesOf } from '../../sidecar/services.ts'
import { bind, container } from '../support/containers.ts'

const at = { host: 'h1', addresses: ['10.9.9.9'] }
const defaults: ServiceRules = {
  from: 'published',
  networks: [],
  addressLabel: undefined,
  unhealthy: 'mark',
  paused: 'withdraw',
}

t.test('services are named and addressed as registrator does', async (t) => {
  const env = (...environment: string[]) => ({ environment })
  const two = bind('18080:80', '18443:443')
  // what registrator 7.4.0 wrote with -ip 10.9.9.9, and where we differ by intent, the reason
  const cases: [string, Partial<Container>, Record<string, string>][] = [
    ['one port', {}, { 'web/h1:c1:80': '10.9.9.9:18080' }],
    [
      'two ports',
      { bindings: two },
      { 'web-443/h1:c1:443': '10.9.9.9:18443', 'web-80/h1:c1:80': '10.9.9.9:18080' },
    ],
    ['SERVICE_NAME', env('SERVICE_NAME=api'), { 'api/h1:c1:80': '10.9.9.9:18080' }],
    [
      'SERVICE_NAME, two ports',
      { bindings: two, ...env('SERVICE_NAME=api') },
      { 'api-443/h1:c1:443': '10.9.9.9:18443', 'api-80/h1:c1:80': '10.9.9.9:18080' },
    ],
    [
      "a port's own name",
      { bindings: two, ...env('SERVICE_80_NAME=http') },
      { 'http/h1:c1:80': '10.9.9.9:18080', 'web-443/h1:c1:443': '10.9.9.9:18443' },
    ],
    ['SERVICE_IGNORE', env('SERVICE_IGNORE=1'), {}],
    ['SERVICE_IGNORE=false ignores', env('SERVICE_IGNORE=false'), {}],
    ['empty SERVICE_IGNORE does not', env('SERVICE_IGNORE='), { 'web/h1:c1:80': '10.9.9.9:18080' }],
    [
      'an ignored port counts',
      { bindings: two, ...env('SERVICE_443_IGNORE=1') },
      { 'web-80/h1:c1:80': '10.9.9.9:18080' },
    ],
    ['a label', { labels: { SERVICE_NAME: 'lab' } }, { 'lab/h1:c1:80': '10.9.9.9:18080' }],
    [
      'a label beats the environment',
      { labels: { SERVICE_NAME: 'lab' }, ...env('SERVICE_NAME=env') },
      { 'lab/h1:c1:80': '10.9.9.9:18080' },
    ],
    ['a lower-case label is none', { labels: { service_name: 'low' } }, { 'web/h1:c1:80': '10.9.9.9:18080' }],
    ['mixed case after the prefix', env('SERVICE_Name=mixed'), { 'mixed/h1:c1:80': '10.9.9.9:18080' }],
    ['empty name', env('SERVICE_NAME='), { 'web/h1:c1:80': '10.9.9.9:18080' }],
    ['= in a name', env('SERVICE_NAME=a=b'), { 'a=b/h1:c1:80': '10.9.9.9:18080' }],
    ['upper-case name', env('SERVICE_NAME=API'), { 'API/h1:c1:80': '10.9.9.9:18080' }],
    [
      '/ stays within its part of the key',
      env('SERVICE_NAME=team/api'),
      { 'team%2Fapi/h1:c1:80': '10.9.9.9:18080' },
    ],
    [
      'image with registry',
      { image: 'reg.example.com:5000/team/app:1.2', bindings: bind('18080:8080') },
      { 'app/h1:c1:8080': '10.9.9.9:18080' },
    ],
    ['udp', { bindings: bind('15353:53/udp') }, { 'web/h1:c1:53:udp': '10.9.9.9:15353' }],
    ['exposed only', { bindings: [], exposed: [{ port: 80, protocol: 'tcp' }] }, {}],
    [
      "exposed, on the host's network",
      { bindings: [], exposed: [{ port: 80, protocol: 'tcp' }], networkMode: 'host' },
      { 'web/h1:c1:80': '10.9.9.9:80' },
    ],
    [
      "swarm's name",
      { labels: { 'com.docker.swarm.service.name': 'shop' } },
      { 'shop/h1:c1:80': '10.9.9.9:18080' },
    ],
    [
      "SERVICE_NAME beats swarm's",
      { labels: { 'com.docker.swarm.service.name': 'shop' }, ...env('SERVICE_NAME=api') },
      { 'api/h1:c1:80': '10.9.9.9:18080' },
    ],
    ['sctp', { bindings: bind('12000:36412/sctp') }, { 'web/h1:c1:36412:sctp': '10.9.9.9:12000' }],
    ['a protocol of which there are no records', { bindings: bind('12000:36412/dccp') }, {}],
    [
      'two bindings: the lowest port',
      { bindings: bind('18081:80', '18080:80') },
      { 'web/h1:c1:80': '10.9.9.9:18080' },
    ],
    [
      'IPv4 before IPv6',
      { bindings: bind('[::]:18080:80', '18081:80') },
      { 'web/h1:c1:80': '10.9.9.9:18081' },
    ],
    ['a fixed address', { bindings: bind('10.1.1.1:18080:80') }, { 'web/h1:c1:80': '10.1.1.1:18080' }],
    ['loopback alone: of use to no other host', { bindings: bind('127.0.0.1:18080:80') }, {}],
    [
      'loopback and outside',
      { bindings: bind('127.0.0.1:18080:80', '18081:80') },
      { 'web/h1:c1:80': '10.9.9.9:18081' },
    ],
    ['paused: answers nobody', { state: 'paused' }, {}],
    ['exited', { state: 'exited', bindings: [] }, {}],
    ['restarting', { state: 'restarting' }, {}],
  ]
  for (const [name, change, expected] of cases) {
    const services = servicesOf(container({ bindings: bind('18080:80'), ...change }), at, defaults)
    const found = services.map((s) => [keys.service(s).slice('services/'.length), `${s.address}:${s.port}`])
    t.strictSame(Object.fromEntries(found), expected, name)
    for (const service of services) t.doesNotThrow(() => encode('services', service))
  }
})

t.test('tags, attributes and health of a service', async (t) => {
  const meta = serviceMetadata(
    [
      'SERVICE_TAGS=a,b\\,c,d',
      'SERVICE_REGION=eu',
      'SERVICE_80_REGION=us',
      'SERVICE_81_X=1',
      'PATH=/bin',
      'SERVICE_80=x',
    ],
    {},
    80,
  )
  t.strictSame(meta.tags, ['a', 'b,c', 'd'])
  t.strictSame(
    meta.attributes,
    { region: 'us', 80: 'x' },
    "the port's own value, nothing of other ports or variables",
  )
  t.strictSame(serviceMetadata(['SERVICE_80_NAME='], {}, 80).nameIsOfPort, false)
  const [udp] = servicesOf(
    container({ bindings: bind('53:53/udp'), environment: ['SERVICE_TAGS=x'], health: 'unhealthy' }),
    at,
    defaults,
  )
  t.strictSame([udp?.tags, udp?.health], [['x', 'udp'], 'unhealthy'])
  for (const [image, name] of [
    ['web', 'web'],
    ['a/b/c:1@sha256:00', 'c'],
    ['sha256:abc', 'sha256'],
    ['host:5000/x', 'x'],
  ] as const)
    t.equal(imageBaseName(image), name)
})

/** Of each service its key, and its endpoints as one text; with the network's name where it has one. */
const placesOf = (change: Partial<Container>, rules: Partial<ServiceRules> = {}, addresses = ['10.9.9.9']) =>
  Object.fromEntries(
    servicesOf(container(change), { host: 'h1', addresses }, { ...defaults, ...rules }).map((service) => {
      encode('services', service)
      const { endpoints = [], address, port, network, exposedPort, protocol } = service
      t.strictSame({ address, port }, endpoints[0], 'the first endpoint is the service itself')
      const texts = endpoints.map((one) => `${one.address} ${one.port}`)
      return [`${exposedPort}/${protocol}`, [...texts, ...(network ? [`in ${network}`] : [])].join(', ')]
    }),
  )

const two = [
  { name: 'front', ipv4: '172.20.0.5', ipv6: 'fd00:20::5' },
  { name: 'back', ipv4: '172.21.0.5' },
]
const http = [{ port: 80, protocol: 'tcp' }]
const dual = ['10.9.9.9', '2001:db8::9']
const published = bind('18080:80', '[::]:18080:80')
const internal = { from: 'internal' } as const

t.test('where a service is reached', async (t) => {
  const label = (name: string, value: string) => ({ labels: { [name]: value } })
  type Case = [
    name: string,
    change: Partial<Container>,
    expected: Record<string, string>,
    rules?: Partial<ServiceRules>,
    addresses?: string[],
  ]
  const cases: Case[] = [
    ['both wildcards, an IPv4 host', { bindings: published }, { '80/tcp': '10.9.9.9 18080' }],
    [
      'both wildcards, a host with both',
      { bindings: published },
      { '80/tcp': '10.9.9.9 18080, 2001:db8::9 18080' },
      {},
      dual,
    ],
    [
      'both wildcards, an IPv6 host',
      { bindings: published },
      { '80/tcp': '2001:db8::9 18080' },
      {},
      ['2001:db8::9'],
    ],
    ['an IPv6 wildcard alone, an IPv4 host', { bindings: bind('[::]:18080:80') }, {}],
    [
      'all bindings: IPv4 first, then the lowest port, loopback left out',
      {
        bindings: bind('[2001:db8::7]:1:80', '127.0.0.1:2:80', '[::1]:3:80', '18081:80', '10.1.1.1:18080:80'),
      },
      { '80/tcp': '10.1.1.1 18080, 10.9.9.9 18081, 2001:db8::7 1' },
    ],
    [
      'a binding on an address and one on all are one endpoint',
      { bindings: bind('18080:80', '10.9.9.9:18080:80') },
      { '80/tcp': '10.9.9.9 18080' },
    ],
    [
      'one port of two protocols is two services',
      { bindings: bind('53:53', '53:53/udp') },
      { '53/tcp': '10.9.9.9 53', '53/udp': '10.9.9.9 53' },
    ],
    [
      "on the host's network: both addresses",
      { networkMode: 'host', exposed: http, networks: [] },
      { '80/tcp': '10.9.9.9 80, 2001:db8::9 80' },
      {},
      dual,
    ],
    ['exposed alone is not published', { exposed: http }, {}],
    ['internal: what is exposed', { exposed: http }, { '80/tcp': '172.17.0.2 80, in bridge' }, internal],
    [
      'internal: published too, once, at its own address',
      { exposed: http, bindings: [...published, ...bind('18443:443')] },
      { '80/tcp': '172.17.0.2 80, in bridge', '443/tcp': '172.17.0.2 443, in bridge' },
      internal,
    ],
    [
      'internal, several networks: the first by name',
      { exposed: http, networks: two },
      { '80/tcp': '172.21.0.5 80, in back' },
      internal,
    ],
    [
      'internal: the most wanted network that it is on',
      { exposed: http, networks: two },
      { '80/tcp': '172.20.0.5 80, fd00:20::5 80, in front' },
      { ...internal, networks: ['other', 'front', 'back'] },
    ],
    ['internal without an address', { exposed: http, networks: [{ name: 'none' }] }, {}, internal],
    [
      "internal, another container's network: no address of its own",
      { exposed: http, networks: [], networkMode: 'container:x' },
      {},
      internal,
    ],
    [
      "openebs.network: the container's port there",
      { bindings: published, networks: two, ...label('openebs.network', 'front') },
      { '80/tcp': '172.20.0.5 80, fd00:20::5 80, in front' },
    ],
    [
      'openebs.network beats OPENEBS_NETWORKS',
      { exposed: http, networks: two, ...label('openebs.network', 'back') },
      { '80/tcp': '172.21.0.5 80, in back' },
      { ...internal, networks: ['front'] },
    ],
    [
      'openebs.network that it is not on: nowhere, rather than elsewhere',
      { bindings: published, networks: two, ...label('openebs.network', 'gone') },
      {},
    ],
    [
      "openebs.network means nothing on the host's",
      { networkMode: 'host', exposed: http, networks: [], ...label('openebs.network', 'front') },
      { '80/tcp': '10.9.9.9 80' },
    ],
    [
      'openebs.address keeps the ports',
      { bindings: bind('18080:80', '[::]:18080:80', '18081:80'), ...label('openebs.address', '203.0.113.1') },
      { '80/tcp': '203.0.113.1 18080, 203.0.113.1 18081' },
      {},
      dual,
    ],
    [
      'openebs.address, internal',
      { exposed: http, ...label('openebs.address', 'fd00::1') },
      { '80/tcp': 'fd00::1 80' },
      internal,
    ],
    [
      'openebs.address does not publish what loopback hides',
      { bindings: bind('127.0.0.1:18080:80'), ...label('openebs.address', '203.0.113.1') },
      {},
    ],
    [
      'no address: as if it were not there',
      { bindings: published, ...label('openebs.address', 'example.com') },
      { '80/tcp': '10.9.9.9 18080' },
    ],
    [
      'OPENEBS_ADDRESS_LABEL, with a prefix',
      { bindings: published, ...label('ip', '203.0.113.2/24') },
      { '80/tcp': '203.0.113.2 18080' },
      { addressLabel: 'ip' },
    ],
    [
      'openebs.address beats it, and it beats openebs.network',
      {
        bindings: published,
        networks: two,
        labels: { ip: '203.0.113.2', 'openebs.address': '203.0.113.1', 'openebs.network': 'front' },
      },
      { '80/tcp': '203.0.113.1 18080' },
      { addressLabel: 'ip' },
    ],
    [
      'a label that nobody named',
      { bindings: published, ...label('ip', '203.0.113.2') },
      { '80/tcp': '10.9.9.9 18080' },
    ],
    [
      'openebs.ports: at its own address',
      { bindings: [], ...label('openebs.ports', '8080, 53/udp,0,70000,x,9/tcp/udp') },
      { '8080/tcp': '172.17.0.2 8080, in bridge', '53/udp': '172.17.0.2 53, in bridge' },
    ],
    [
      'openebs.ports beside a published port changes nothing of that',
      { bindings: published, exposed: http, ...label('openebs.ports', '80,81') },
      { '80/tcp': '10.9.9.9 18080', '81/tcp': '172.17.0.2 81, in bridge' },
    ],
    [
      "openebs.ports on the host's network",
      { networkMode: 'host', networks: [], ...label('openebs.ports', '8080') },
      { '8080/tcp': '10.9.9.9 8080' },
    ],
  ]
  for (const [name, change, expected, rules, addresses] of cases)
    t.strictSame(placesOf(change, rules, addresses), expected, name)
})

t.test('a port by label counts as a candidate for the name', async (t) => {
  const labels = { 'openebs.ports': '81' }
  const names = servicesOf(container({ bindings: bind('18080:80'), labels }), at, defaults)
  t.strictSame(
    names.map(({ service }) => service),
    ['web-80', 'web-81'],
  )
})

t.test('which containers have services', async (t) => {
  const states = (change: Partial<Container>, rules: Partial<ServiceRules> = {}) =>
    servicesOf(container({ bindings: bind('18080:80'), ...change }), at, { ...defaults, ...rules }).map(
      ({ service, state, health }) => `${service} ${state} ${health}`,
    )
  t.strictSame(states({}), ['web running none'])
  t.strictSame(states({ state: 'paused' }), [], 'withdrawn')
  t.strictSame(states({ state: 'paused', health: 'healthy' }, { paused: 'mark' }), ['web paused healthy'])
  t.strictSame(states({ state: 'exited' }, { paused: 'mark' }), [])
  t.strictSame(states({ health: 'unhealthy' }), ['web running unhealthy'], 'marked')
  const withdraw = { unhealthy: 'withdraw' } as const
  t.strictSame(states({ health: 'unhealthy' }, withdraw), [])
  t.strictSame(states({ health: 'starting' }, withdraw), ['web running starting'])
  for (const value of ['true', '1', 'yes', 'TRUE'])
    t.strictSame(states({ labels: { 'openebs.ignore': value } }), [], `openebs.ignore=${value}`)
  for (const value of ['false', '0', ''])
    t.strictSame(states({ labels: { 'openebs.ignore': value } }).length, 1, `openebs.ignore=${value}`)
  for (const role of ['target', 'initiator', 'etcd', 'registrator']) {
    const labels = { 'openebs.role': role }
    t.strictSame(states({ labels }), [], role)
    t.strictSame(states({ labels, environment: ['SERVICE_NAME=own'] }), ['own running none'])
  }
  t.strictSame(states({ labels: { 'openebs.role': 'cook' } }).length, 1, 'no role of ours')
})

t.test('every endpoint comes of something that the container or the host has', async () => {
  const address = fc.constantFrom('0.0.0.0', '::', '127.0.0.1', '::1', '10.1.1.1', 'fd00::1')
  const port = fc.integer({ min: 1, max: 4 })
  const protocol = fc.constantFrom('tcp', 'udp', 'sctp')
  const change = fc.record({
    networkMode: fc.constantFrom('default', 'host'),
    networks: fc.subarray(two),
    exposed: fc.array(fc.record({ port, protocol })),
    bindings: fc.array(fc.record({ port, protocol, hostAddress: address, hostPort: port })),
    labels: fc.dictionary(
      fc.constantFrom('openebs.address', 'openebs.network', 'openebs.ports'),
      fc.constantFrom('203.0.113.1', 'front', '3,4/udp'),
    ),
  })
  const rules = fc.record({
    from: fc.constantFrom('published', 'internal'),
    networks: fc.subarray(['back', 'x']),
  })
  const addresses = fc.constantFrom(dual, ['10.9.9.9'], ['2001:db8::9'])
  fc.assert(
    fc.property(change, rules, addresses, (change, rules, addresses) => {
      const one = container(change)
      const services = servicesOf(one, { host: 'h1', addresses }, { ...defaults, ...rules })
      const reachable = new Set<string | undefined>([
        ...addresses,
        ...one.bindings.map(({ hostAddress }) => hostAddress),
        ...one.networks.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]),
        one.labels['openebs.address'],
      ])
      const again = servicesOf(
        { ...one, bindings: one.bindings.toReversed(), networks: one.networks.toReversed() },
        { host: 'h1', addresses },
        { ...defaults, ...rules },
      )
      return (
        new Set(services.map((service) => keys.service(service))).size === services.length &&
        JSON.stringify(again) === JSON.stringify(services) &&
        services.every(({ endpoints = [] }) =>
          endpoints.every(
            ({ address }) => reachable.has(address) && !/^(0\.0\.0\.0|::|127\..*|::1)$/.test(address),
          ),
        )
      )
    }),
  )
})
