import fc from 'fast-check'
import t from 'tap'
import { humanDuration } from '../../docker/durations.ts'
import { agrees, Container, ListedContainer } from '../../docker/inspect.ts'
import { Pool } from '../../docker/pool.ts'

/** Engine 20.10.24, docker run -p 8080:80 -p 127.0.0.1:9:9/udp -v v1:/data -e SERVICE_NAME=x, its last health check failed; fields we do not use cut. */
const inspected = {
  Id: '8d39',
  Name: '/aa',
  Created: '2026-11-26T22:22:24.436382628Z',
  State: {
    Status: 'running',
    Running: true,
    Paused: false,
    ExitCode: 0,
    StartedAt: '2026-11-26T22:22:24.783574041Z',
    FinishedAt: '0001-01-01T00:00:00Z',
    Health: { Status: 'unhealthy', Log: [{ Output: 'first' }, { Output: 'no answer\n' }] },
  },
  Config: {
    Image: 'bb:1',
    Env: ['SERVICE_NAME=x', 'PASSWORD=y'],
    Labels: { a: 'b' },
    ExposedPorts: { '80/tcp': {}, '9/udp': {} },
  },
  HostConfig: { NetworkMode: 'default' },
  NetworkSettings: {
    Networks: { bridge: { IPAddress: '172.17.0.2', GlobalIPv6Address: '' } },
    Ports: {
      '80/tcp': [
        { HostIp: '0.0.0.0', HostPort: '8080' },
        { HostIp: '::', HostPort: '8080' },
      ],
      '9/udp': [{ HostIp: '127.0.0.1', HostPort: '9' }],
      '443/tcp': null,
    },
  },
  Mounts: [
    { Type: 'volume', Name: 'v1' },
    { Type: 'bind', Name: '' },
  ],
}
const listed = {
  Id: '8d39',
  Names: ['/aa', '/other/alias'],
  State: 'running',
  Status: 'Up 2 minutes (unhealthy)',
  Ports: [
    { IP: '0.0.0.0', PrivatePort: 80, PublicPort: 8080, Type: 'tcp' },
    { IP: '::', PrivatePort: 80, PublicPort: 8080, Type: 'tcp' },
    { IP: '127.0.0.1', PrivatePort: 9, PublicPort: 9, Type: 'udp' },
    { PrivatePort: 443, Type: 'tcp' },
  ],
  NetworkSettings: { Networks: { bridge: { IPAddress: '172.17.0.2', GlobalIPv6Address: '' } } },
}

t.test('an inspected container in our words', async (t) => {
  t.strictSame(Container.parse(inspected), {
    id: '8d39',
    name: 'aa',
    image: 'bb:1',
    created: '2026-11-26T22:22:24.436382628Z',
    state: 'running',
    startedAt: '2026-11-26T22:22:24.783574041Z',
    finishedAt: '',
    exitCode: 0,
    health: 'unhealthy',
    healthOutput: 'no answer',
    environment: ['SERVICE_NAME=x'],
    labels: { a: 'b' },
    networkMode: 'default',
    networks: [{ name: 'bridge', ipv4: '172.17.0.2' }],
    exposed: [
      { port: 80, protocol: 'tcp' },
      { port: 9, protocol: 'udp' },
    ],
    bindings: [
      { port: 80, protocol: 'tcp', hostAddress: '0.0.0.0', hostPort: 8080 },
      { port: 80, protocol: 'tcp', hostAddress: '::', hostPort: 8080 },
      { port: 9, protocol: 'udp', hostAddress: '127.0.0.1', hostPort: 9 },
    ],
    volumes: ['v1'],
  })
  const bare = Container.parse({
    ...inspected,
    State: { Status: 'unheard-of', Running: false, ExitCode: 1, Health: null },
    Config: { Image: 'x', Env: null, Labels: null },
    NetworkSettings: { Networks: null, Ports: null },
    Mounts: null,
  })
  t.match(bare, { state: 'exited', health: 'none', labels: {}, bindings: [], exposed: [], volumes: [] })
})

t.test('what is the same in two containers is kept once', async (t) => {
  const fresh = (): typeof inspected => JSON.parse(JSON.stringify(inspected))
  const [one, two] = [Container.parse(fresh()), Container.parse({ ...fresh(), Id: 'other' })]
  for (const field of ['labels', 'environment', 'exposed'] as const) t.equal(one[field], two[field], field)
  const third = Container.parse({ ...fresh(), Config: { ...fresh().Config, Labels: { a: 'c' } } })
  t.strictSame(third.labels, { a: 'c' }, 'and only that')
  for (const Labels of ['a', { a: 1 }, { a: null }])
    t.notOk(Container.safeParse({ ...fresh(), Config: { ...fresh().Config, Labels } }).success)
  const pool = new Pool<{ n: number }>((value) => String(value.n))
  const first = pool.share({ n: 0 })
  for (let n = 1; n <= 1000; n++) pool.share({ n })
  t.strictSame(pool.share({ n: 0 }), { n: 0 })
  t.not(pool.share({ n: 0 }), first, 'a pool forgets: it does not grow without end')
})

const started = Date.parse('2026-11-26T22:22:24Z')
const minutes = 60_000

t.test('a list item that differs in anything asks for a look', async (t) => {
  const container = Container.parse(inspected)
  const says = (change: object, now = started + 2.5 * minutes) =>
    agrees(container, ListedContainer.parse({ ...listed, ...change }), now)
  t.ok(says({}))
  t.notOk(says({ Names: ['/bb'] }), 'renamed')
  t.notOk(says({ State: 'paused' }), 'paused')
  t.notOk(says({ Status: 'Up 2 minutes (healthy)' }), 'health')
  t.notOk(says({ Status: 'Up 2 minutes (health: starting)' }), 'restarted')
  t.notOk(says({ Status: 'Up 1 second (unhealthy)' }), 'it is another run')
  t.notOk(says({ Ports: listed.Ports.slice(1) }), 'a port less')
  t.notOk(
    says({ Ports: [...listed.Ports, { IP: '::', PrivatePort: 9, PublicPort: 10, Type: 'udp' }] }),
    'a port more',
  )
  t.notOk(says({ NetworkSettings: { Networks: {} } }), 'disconnected')
  const bridge = listed.NetworkSettings.Networks.bridge
  const at = (change: object) => ({ NetworkSettings: { Networks: { bridge: { ...bridge, ...change } } } })
  t.notOk(says(at({ IPAddress: '172.17.0.3' })), 'another address')
  t.notOk(says(at({ GlobalIPv6Address: 'fd00::3' })), 'an IPv6 address more')
  const State = { ...inspected.State, Status: 'exited', Running: false, ExitCode: 137 }
  const exited = Container.parse({ ...inspected, State: { ...State, FinishedAt: '2026-11-26T22:22:24Z' } })
  const same = (Status: string) =>
    agrees(exited, ListedContainer.parse({ ...listed, State: 'exited', Status }), started + 2000)
  t.ok(same('Exited (137) 2 seconds ago'))
  t.notOk(same('Exited (1) 2 seconds ago'), 'another exit status')
  t.notOk(same('Exited (137) 9 seconds ago'), 'another end')
  t.notOk(same('Exited (137) About an hour ago'), 'another end')
})

t.test('how long a container has run is compared as the list rounds it', async (t) => {
  // go-units' own test cases
  const day = 86_400
  const cases: Record<string, number[]> = {
    'Less than a second': [0, 0.45],
    '1 second': [1],
    '45 seconds': [45, 45.9],
    'About a minute': [60, 105],
    '3 minutes': [180],
    '59 minutes': [3599],
    'About an hour': [3600, 5399],
    '2 hours': [5400],
    '47 hours': [47 * 3600],
    '2 days': [2 * day],
    '13 days': [13 * day],
    '2 weeks': [14 * day],
    '8 weeks': [59 * day],
    '2 months': [60 * day],
    '24 months': [729 * day],
    '2 years': [730 * day],
    '3 years': [1100 * day],
  }
  for (const [text, all] of Object.entries(cases))
    for (const seconds of all) t.equal(humanDuration(seconds), text)
  fc.assert(
    fc.property(
      fc.oneof(fc.double({ min: 0, max: 70, noNaN: true }), fc.double({ min: 0, max: 1e8, noNaN: true })),
      fc.double({ min: -1, max: 1, noNaN: true }),
      (lasts, late) => {
        const container = Container.parse(inspected)
        const item = ListedContainer.parse({ ...listed, Status: `Up ${humanDuration(lasts)} (unhealthy)` })
        return agrees(container, item, started + (lasts + late) * 1000)
      },
    ),
  )
})
