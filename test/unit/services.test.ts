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
