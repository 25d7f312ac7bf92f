import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import type { Container } from '../../docker/inspect.ts'
import { Failure } from '../../process/failure.ts'
import { readFlags, readSettings } from '../../process/settings.ts'
import { readCollection } from '../../registry/collections.ts'
import { encode, keys } from '../../registry/keys.ts'
import { sidecarOf } from '../../registry/owner.ts'
import type { Host } from '../../registry/records.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { claimHost } from '../../sidecar/claim.ts'
import { containerRecord } from '../../sidecar/inventory.ts'
import { labelFilter } from '../../sidecar/labels.ts'
import { imageBaseName, serviceMetadata } from '../../sidecar/metadata.ts'
import { Prober } from '../../sidecar/prober.ts'
import { missingParts } from '../../sidecar/readiness.ts'
import { createRegistrations, type RegistrationRules } from '../../sidecar/registrations.ts'
import { seatOf } from '../../sidecar/seat.ts'
import { servicesOf } from '../../sidecar/services.ts'
import { settings } from '../../sidecar/settings.ts'
import { ObjectTracker } from '../../sidecar/tracker.ts'
import { compareClaims, isVsm, portalsOf, portalToAsk, vsmOf } from '../../sidecar/vsms.ts'
import { targetLabels } from '../../vsm/labels.ts'
import { judgeDiscovery, parseListing, probePortal, type Ran } from '../../vsm/probe.ts'

const at = { host: 'h1', address: '10.9.9.9', addresses: ['10.9.9.9'] }
const rules: RegistrationRules = {
  services: {
    from: 'published',
    networks: [],
    addressLabel: undefined,
    unhealthy: 'mark',
    paused: 'withdraw',
  },
  labels: labelFilter(['*']),
}

const container = (change: Partial<Container> = {}): Container => ({
  id: 'c1'.padEnd(64, '0'),
  name: 'c1',
  image: 'web:1',
  created: '2026-01-01T00:00:00Z',
  state: 'running',
  startedAt: '2026-01-01T00:00:01Z',
  finishedAt: '',
  exitCode: 0,
  health: 'none',
  healthOutput: '',
  environment: [],
  labels: {},
  networkMode: 'default',
  networks: [{ name: 'bridge', ipv4: '172.17.0.2' }],
  exposed: [],
  bindings: [],
  volumes: [],
  ...change,
})

/** "18080:80", "127.0.0.1:9:9/udp", "[::]:18080:80" -> a binding. */
const bind = (...texts: string[]) =>
  texts.map((text) => {
    const match = /^(?:(?<address>\[.*\]|[\d.]+):)?(?<host>\d+):(?<port>\d+)(?:\/(?<protocol>\w+))?$/.exec(
      text,
    )?.groups
    return {
      port: Number(match?.port),
      protocol: match?.protocol ?? 'tcp',
      hostAddress: match?.address?.replace(/[[\]]/g, '') ?? '0.0.0.0',
      hostPort: Number(match?.host),
    }
  })

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
    const services = servicesOf(container({ bindings: bind('18080:80'), ...change }), at, rules.services)
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
    rules.services,
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

const ours = (change: Partial<Container> = {}): Container =>
  container({
    name: 'vsm-demo',
    labels: targetLabels({ volume: 'demo', portals: ['10.9.9.9:23260'], size: 64 << 20, epoch: 1 }),
    health: 'healthy',
    bindings: bind('127.0.0.1:23260:3260'),
    ...change,
  })
const foreign = (change: Partial<Container> = {}): Container =>
  container({ name: 'san', exposed: [{ port: 3260, protocol: 'tcp' }], ...change })

t.test('which containers are VSMs, and where they answer', async (t) => {
  t.ok(isVsm(ours()))
  t.ok(isVsm(foreign()))
  t.ok(isVsm(container({ labels: { 'openebs.role': 'target' } })))
  t.notOk(isVsm(container()))
  t.notOk(
    isVsm(foreign({ labels: { 'openebs.role': 'initiator' } })),
    'it shares the image that exposes 3260',
  )
  t.notOk(isVsm(container({ exposed: [{ port: 3260, protocol: 'udp' }] })))
  t.strictSame(portalsOf(ours(), at.address), ['127.0.0.1:23260'])
  t.strictSame(portalsOf(foreign({ bindings: bind('13260:3260', '[::]:13260:3260') }), at.address), [
    '10.9.9.9:13260',
  ])
  t.strictSame(portalsOf(foreign(), at.address), ['172.17.0.2:3260'])
  t.strictSame(portalsOf(foreign({ networks: [{ name: 'b', ipv6: 'fd00::5' }] }), at.address), [
    '[fd00::5]:3260',
  ])
  t.strictSame(portalsOf(foreign({ networkMode: 'host', networks: [] }), at.address), ['10.9.9.9:3260'])
  t.strictSame(portalToAsk(foreign(), at.address)?.[1], '172.17.0.2:3260')
  t.equal(portalToAsk(ours(), at.address), undefined, 'judged by its health check')
  t.ok(portalToAsk(ours({ health: 'none' }), at.address), 'without one it is asked')
  t.equal(portalToAsk(foreign({ state: 'exited' }), at.address), undefined)
})

t.test('the record of a VSM', async (t) => {
  const iqn = 'iqn.2016-09.com.openebs:demo'
  t.strictSame(vsmOf(ours(), at, undefined), {
    vsm: 'demo',
    host: 'h1',
    container: 'vsm-demo',
    containerId: ours().id,
    volume: 'demo',
    portals: ['127.0.0.1:23260'],
    targets: [{ iqn, luns: [{ lun: 1, size: 64 << 20 }] }],
    health: 'healthy',
  })
  t.match(vsmOf(ours({ health: 'unhealthy', healthOutput: 'no LUN' }), at, undefined), {
    health: 'unhealthy',
    reason: 'its health check fails: no LUN',
  })
  t.match(vsmOf(ours({ health: 'starting' }), at, undefined), { health: 'starting' })
  t.match(vsmOf(ours({ state: 'paused' }), at, undefined), {
    health: 'unhealthy',
    reason: 'its container is paused',
  })
  t.match(vsmOf(ours({ state: 'exited', exitCode: 137, bindings: [] }), at, undefined), {
    health: 'unhealthy',
    reason: 'its container is exited with status 137',
    portals: ['10.9.9.9:23260'],
  })
  t.match(vsmOf(foreign(), at, undefined), { vsm: 'san', health: 'starting', targets: [] })
  const probe = { health: 'unknown', reason: 'CHAP', targets: [{ iqn, luns: [] }] } as const
  t.match(vsmOf(foreign(), at, probe), { health: 'unknown', reason: 'CHAP', targets: [{ iqn }] })
  const forged = ours({
    labels: { ...ours().labels, 'vsm.openebs.io/volume-size': '-1', 'openebs.epoch': 'x' },
  })
  t.match(vsmOf(forged, at, undefined).targets, [{ iqn, luns: [] }], 'an unreadable size is left out')
  const claims = [
    foreign({ name: 'demo' }),
    ours({ state: 'exited' }),
    ours({ created: '2026-02-02T00:00:00Z' }),
    ours(),
  ]
  t.strictSame(claims.toSorted(compareClaims), [claims[3], claims[2], claims[1], claims[0]])
})

const host: Host = {
  ...at,
  engine: { version: '1', os: 'l', arch: 'a', kernel: 'k', storage: 's' },
  versions: { sidecar: '1' },
  capacity: { cpus: 1, memory: 1 },
  instance: 'run-1',
  since: '2026-01-01T00:00:00Z',
}
const snapshot = (...containers: Container[]) => ({
  containers: new Map(containers.map((one) => [one.id, one])),
  volumes: new Map([['v', { name: 'v', driver: 'local', scope: 'local', labels: {} }]]),
  images: [{ id: 'sha256:1', tags: [], size: 1, created: '2026-01-01T00:00:00Z' }],
  networks: [{ id: 'n', name: 'bridge', driver: 'bridge', scope: 'local', subnets: [] }],
  plugins: [{ id: 'p', name: 'openebs:latest', enabled: true, reference: 'x' }],
})

t.test('what a snapshot makes the registry hold', async (t) => {
  const web = container({
    id: 'w'.repeat(64),
    name: 'web',
    bindings: bind('18080:80'),
    environment: ['SECRET=s3cret'],
  })
  const { desired, refused } = createRegistrations(rules)(
    snapshot(web, ours(), foreign({ id: 'f'.repeat(64), name: 'demo' })),
    host,
    () => undefined,
  )
  t.strictSame([...desired.keys()].sort(), [
    'hosts/h1',
    `inventory/h1/container/${ours().id}`,
    `inventory/h1/container/${'f'.repeat(64)}`,
    `inventory/h1/container/${'w'.repeat(64)}`,
    'inventory/h1/image/sha256:1',
    'inventory/h1/network/n',
    'inventory/h1/plugin/p',
    'inventory/h1/volume/v',
    'services/web/h1:web:80',
    'vsms/demo/h1',
  ])
  t.match(
    desired.get('vsms/demo/h1'),
    /"volume":"demo"/,
    'our volume keeps its name against a container of that name',
  )
  t.strictSame([...refused], [])
  t.notMatch([...desired.values()].join(), /s3cret/, 'no environment in the registry')
})

t.test('one record that does not fit keeps no other out', async (t) => {
  const odd = container({ id: 'o'.repeat(64), created: 'yesterday' })
  const { desired, refused } = createRegistrations(rules)(snapshot(odd, container()), host, () => undefined)
  t.strictSame([...refused.keys()], [`inventory/h1/container/${odd.id}`])
  t.ok(desired.has(`inventory/h1/container/${container().id}`))
})

t.test(
  'whatever Docker has, it stays within the keys of its host, and a second pass equals the first',
  async () => {
    const name = fc.string({ unit: 'grapheme', minLength: 1 })
    const containers = fc.array(
      fc.record({
        id: fc.stringMatching(/^[0-9a-f]{8}$/),
        name,
        image: name,
        state: fc.constantFrom('running', 'exited', 'paused' as const),
        labels: fc.dictionary(
          fc.constantFrom('openebs.role', 'openebs.volume', 'SERVICE_NAME', 'vsm.openebs.io/volume-size'),
          fc.constantFrom('target', 'a/b', '%2F', '../x', '7'),
        ),
        bindings: fc.constantFrom(bind(), bind('1:3260'), bind('1:80', '2:81/udp', '3:82/sctp')),
      }),
    )
    fc.assert(
      fc.property(containers, (changes) => {
        const register = createRegistrations(rules)
        const now = snapshot(...changes.map((change) => container(change)))
        const first = register(now, host, () => undefined)
        const again = register(now, host, () => undefined)
        const fresh = createRegistrations(rules)(now, host, () => undefined)
        const { owns } = sidecarOf('h1')
        return (
          [...first.desired.keys()].every(owns) &&
          JSON.stringify([...first.desired]) === JSON.stringify([...again.desired]) &&
          JSON.stringify([...first.desired]) === JSON.stringify([...fresh.desired])
        )
      }),
    )
  },
)

t.test('another address is in every record at once', async (t) => {
  const register = createRegistrations(rules)
  const now = snapshot(container({ bindings: bind('18080:80') }))
  register(now, host, () => undefined)
  const moved = register(now, { ...host, address: '10.2.2.2', addresses: ['10.2.2.2'] }, () => undefined)
  t.match(moved.desired.get('services/web/h1:c1:80'), /"address":"10.2.2.2"/)
})

t.test('a stopped container has no health', async (t) => {
  t.equal(
    containerRecord('h1', container({ health: 'healthy', state: 'exited' }), rules.labels).health,
    'none',
  )
})

const listing = `Target:iqn.2020-01.org.x:y Portal:127.0.0.1:13260,1
Lun:0    Type:STORAGE_ARRAY_CONTROLLER
Target:iqn.2016-09.com.openebs:demo Portal:127.0.0.1:13260,1
Lun:0    Type:STORAGE_ARRAY_CONTROLLER
Lun:1    Type:DIRECT_ACCESS (Size:32M)
Lun:12   Type:DIRECT_ACCESS (Size:512 )
`
const ran = (change: Partial<Ran> = {}): Ran => ({
  status: 0,
  missing: false,
  stdout: '',
  stderr: '',
  ...change,
})

t.test('what iscsi-ls prints', async (t) => {
  t.strictSame(parseListing(listing), [
    { iqn: 'iqn.2020-01.org.x:y', disks: [] },
    {
      iqn: 'iqn.2016-09.com.openebs:demo',
      disks: [
        { lun: 1, size: 32 << 20 },
        { lun: 12, size: 512 },
      ],
    },
  ])
  const twice = 'Target:a Portal:1,1\nLun:1    Type:DIRECT_ACCESS (Size:1G)\n'
  t.strictSame(parseListing(twice + twice), [{ iqn: 'a', disks: [{ lun: 1, size: 1 << 30 }] }], 'two portals')
  const cut = parseListing(`${twice}Target:a Portal:2,1\n`)
  t.equal(cut[0]?.disks.length, 1, 'the second portal was not listed to its end')
  t.strictSame(parseListing('rubbish\n\nLun:x'), [])
  const chap =
    'list_luns: iscsi_connect failed. Failed to log in to target. Status: Authentication failure(513)\n'
  const refused =
    'discoveryconnect_cb: connection failed : iscsi_service: socket error Connection refused(111).\n'
  const cases: [string, Ran, string, RegExp | undefined][] = [
    ['it answers', ran({ stdout: listing }), 'healthy', undefined],
    ['an ACL hides all', ran(), 'unknown', /names no target/],
    ['CHAP at discovery', ran({ status: 10, stderr: chap }), 'unknown', /Authentication failure/],
    ['nobody listens', ran({ status: 10, stderr: refused }), 'unhealthy', /Connection refused/],
    ['no answer', ran({ status: undefined as never }), 'unhealthy', /no answer within 5 s/],
    ['no iscsi-ls', ran({ status: undefined as never, missing: true }), 'unknown', /not installed/],
  ]
  for (const [name, result, health, reason] of cases) {
    const probe = judgeDiscovery(result, '1.2.3.4:3260', 5000)
    t.equal(probe.health, health, name)
    if (reason) t.match(probe.reason, reason)
  }
})

t.test('a portal is asked for targets, LUNs and exact sizes', async (t) => {
  const calls: string[] = []
  const never = new AbortController().signal
  const fake = (luns: Ran) => async (program: string, args: readonly string[]) => {
    calls.push([program, ...args].join(' '))
    if (program === 'iscsi-readcapacity16') return ran({ stdout: '33554944\n' })
    return args.includes('--show-luns') ? luns : ran({ stdout: listing })
  }
  const probe = await probePortal('1.2.3.4:3260', never, { run: fake(ran({ stdout: listing })) })
  t.equal(probe.health, 'healthy')
  t.strictSame(probe.targets[1]?.luns[0], { lun: 1, size: 33554944 })
  t.ok(calls.includes('iscsi-readcapacity16 --size iscsi://1.2.3.4:3260/iqn.2016-09.com.openebs:demo/1'))
  const half = ran({ status: 10, stdout: listing.slice(0, 60), stderr: 'Authentication failure(513)' })
  const partly = await probePortal('1.2.3.4:3260', never, { run: fake(half) })
  t.match(partly, { health: 'unknown', reason: /not all of their LUNs: Authentication/ })
  t.equal(partly.targets.length, 2, 'the names that discovery told are kept')
})

t.test('portals: two at a time, new ones at once, forgotten ones for good', async (t) => {
  const stop = new AbortController()
  let running = 0
  let most = 0
  let changes = 0
  const open = Promise.withResolvers<void>()
  const prober = new Prober(
    async () => {
      most = Math.max(most, ++running)
      await open.promise
      running--
      return { health: 'healthy', targets: [] }
    },
    () => changes++,
    stop.signal,
  )
  prober.follow(new Map(['a', 'b', 'c', 'd'].map((key) => [key, `${key}:3260`])))
  await sleep(5)
  prober.follow(new Map([['b', 'b:3260']]))
  open.resolve()
  await sleep(5)
  t.equal(most, 2)
  t.strictSame(
    ['a', 'b', 'c'].map((key) => prober.answer(key)?.health),
    [undefined, 'healthy', undefined],
  )
  t.equal(changes, 1, 'an answer for nobody changes nothing')
  stop.abort()
  t.equal(prober.answer('b'), undefined)
})

t.test('an object marked while it is looked at is looked at again', async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  let truth = 'old'
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let looks = 0
  const tracker = new ObjectTracker({
    look: async () => {
      const seen = truth
      await gates[looks++]?.promise
      if (seen === 'gone') throw new Failure('not-found', 'no such container')
      return seen
    },
    changed: () => {},
    failed: () => {},
    signal: stop.signal,
  })
  tracker.mark('x')
  truth = 'new'
  tracker.mark('x')
  tracker.mark('x')
  t.equal(looks, 1, 'one look at a time')
  gates[0]?.resolve()
  await sleep(1)
  t.equal(tracker.objects.get('x'), 'old')
  gates[1]?.resolve()
  await sleep(1)
  t.equal(tracker.objects.get('x'), 'new')
  t.equal(looks, 2, 'two marks, one more look')
  truth = 'gone'
  tracker.mark('x')
  await sleep(1)
  t.strictSame([tracker.objects.has('x'), tracker.pending], [false, 0])
})

t.test('a look that fails is repeated, and counts as pending', async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  let looks = 0
  const tracker = new ObjectTracker({
    look: async () => {
      if (looks++ === 0) throw new Failure('unavailable', 'no answer')
      return 'there'
    },
    changed: () => {},
    failed: () => {},
    signal: stop.signal,
  })
  tracker.mark('x')
  await sleep(1)
  t.equal(tracker.pending, 1)
  await sleep(250)
  t.strictSame([tracker.objects.get('x'), tracker.pending], ['there', 0])
})

t.test('a host has one sidecar', async (t) => {
  const never = new AbortController().signal
  const stand = async (other?: Partial<Host>) => {
    const store = new MemoryStore()
    const lease = await store.grant(60)
    const late = await store.grant(60)
    if (other) {
      const value = encode('hosts', { ...host, ...other })
      await store.apply([{ kind: 'put', key: 'hosts/h1', value, guard: 'absent', lease: late }])
    }
    return {
      store,
      lease: { ...lease, id: lease.id, ttl: 0.1, keepAlive: lease.keepAlive, revoke: lease.revoke },
      late,
    }
  }
  const heard: string[] = []
  const claim = (s: Awaited<ReturnType<typeof stand>>, seat?: string) =>
    claimHost(
      { store: s.store, lease: s.lease, signal: never },
      { ...host, ...(seat && { seat }) },
      (why) => heard.push(why),
      { every: 10, patience: 300 },
    )

  const free = await stand()
  t.ok(await claim(free), 'a free host')
  t.ok(await claim(free), 'our own record')
  const taken = await stand({ instance: 'run-0', seat: 's' })
  t.ok(await claim(taken, 's'), 'a dead run on our seat')
  t.match((await taken.store.read('hosts/h1')).entries[0]?.value, /run-1/)
  const dying = await stand({ instance: 'run-0', seat: 'other' })
  setTimeout(() => void dying.late.revoke(), 100)
  t.ok(await claim(dying, 's'), 'a killed run, once its lease has ended')
  t.match(heard.at(-1), /host h1 is held by another run \(run-0/)
  const living = await stand({ instance: 'run-0' })
  await t.rejects(claim(living), {
    kind: 'invalid',
    message: /another sidecar serves host h1 .*OPENEBS_HOST/,
  })
})

t.test('a seat names a port of this network namespace', async (t) => {
  t.match(seatOf({ host: '127.0.0.1', port: 9190 }), /net:\[\d+\] 127.0.0.1:9190$/)
  t.equal(seatOf({ host: '127.0.0.1', port: 0 }), undefined)
  t.equal(seatOf({ socket: '/run/x.sock' }), undefined)
})

t.test('readiness names what is missing', async (t) => {
  const standing = {
    docker: { kind: 'watching', since: 0 } as const,
    endpoint: 'unix:///x',
    unseen: new Set<string>(),
    reconciler: { kind: 'publishing', lag: () => 0 } as const,
    refused: new Map<string, string>(),
  }
  t.strictSame(missingParts(standing), [])
  t.match(missingParts({ ...standing, docker: { kind: 'connecting', reason: 'ENOENT' } }), [
    /unix:\/\/\/x: ENOENT/,
  ])
  t.match(missingParts({ ...standing, unseen: new Set(['volume']) }), [/not looked at yet: volume/])
  t.match(missingParts({ ...standing, reconciler: undefined }), [/name is not known/])
  t.match(missingParts({ ...standing, reconciler: { kind: 'waiting', reason: 'no lease' } }), [/no lease/])
  t.match(missingParts({ ...standing, reconciler: { kind: 'publishing', lag: () => 9000 } }), [
    /behind by 9 s/,
  ])
  t.match(missingParts({ ...standing, refused: new Map([['k', 'bad']]) }), [/k cannot be written: bad/])
})

t.test('a collection is served with what cannot be read', async (t) => {
  const store = new MemoryStore()
  await store.apply([
    { kind: 'put', key: 'hosts/h1', value: encode('hosts', host), guard: 'absent' },
    { kind: 'put', key: 'hosts/h2', value: 'oops', guard: 'absent' },
  ])
  const { records, unreadable } = await readCollection(store, 'hosts')
  t.strictSame(records, [{ key: 'hosts/h1', record: host }])
  t.match(unreadable, [{ key: 'hosts/h2', reason: /holds no JSON/ }])
})

t.test('settings come as variables and as flags', async (t) => {
  t.strictSame(readFlags(settings, ['--log-level', 'debug', '--docker-host=unix:///x']), {
    OPENEBS_LOG_LEVEL: 'debug',
    DOCKER_HOST: 'unix:///x',
  })
  t.throws(() => readFlags(settings, ['--bogus', '1']), { kind: 'invalid', message: /--bogus[\s\S]*--store/ })
  t.throws(() => readFlags(settings, ['stray']), { message: /stray/ })
  const bad = {
    OPENEBS_HOST: 'a:b',
    OPENEBS_LISTEN: 'x',
    OPENEBS_TTL: '1',
    OPENEBS_ADDRESS: 'h1.example.com',
  }
  for (const name of Object.keys(bad))
    t.throws(() => readSettings(settings, bad), { message: new RegExp(name) }, `${name} is named`)
})
