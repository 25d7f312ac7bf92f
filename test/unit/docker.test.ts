import fc from 'fast-check'
import t from 'tap'
import { type EngineEvent, eventKey, Lines, parseEvent, parseNano, sinceText } from '../../docker/events.ts'
import { type Hint, hintsOf } from '../../docker/hints.ts'
import { agrees, Container, ListedContainer } from '../../docker/inspect.ts'

/** Engine 20.10.24, docker run -p 8080:80 -p 127.0.0.1:9:9/udp -v v1:/data -e SERVICE_NAME=x; fields we do not use cut. */
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
    Health: { Status: 'unhealthy', Log: [{ Output: 'first' }, { Output: 'no answer\n' }] },
  },
  Config: {
    Image: 'bb:1',
    Env: ['SERVICE_NAME=x'],
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

t.test('lines come out whole, wherever the chunks end', async () => {
  const line = fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify({ text }))
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.integer({ min: 1, max: 7 })), (lines, sizes) => {
      const bytes = Buffer.from(lines.map((one) => `${one}\n`).join(''))
      const splitter = new Lines()
      const found: string[] = []
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const size = sizes[turn % sizes.length] ?? 3
        found.push(...splitter.push(bytes.subarray(at, at + size)))
        at += size
      }
      return JSON.stringify(found) === JSON.stringify(lines)
    }),
  )
})

t.test('an event keeps every digit of its time', async (t) => {
  const line = (attributes: object, nano: string) =>
    `{"status":"start","id":"c1","Type":"container","Action":"start","Actor":{"ID":"c1","Attributes":${JSON.stringify(attributes)}},"scope":"local","time":1795731744,"timeNano":${nano}}`
  const nano = '1795731744000000123'
  t.not(String(JSON.parse(line({}, nano)).timeNano), nano, 'as a number it would be another one')
  t.equal(parseEvent(line({ name: 'x' }, nano))?.timeNano, nano)
  const misleading = { timeNano: '7', label: '"timeNano":8,' }
  t.equal(parseEvent(line(misleading, nano))?.timeNano, nano, 'labels cannot forge it')
  for (const no of ['', '{', '[]', 'null', '{"message":"oops"}']) t.equal(parseEvent(no), undefined, no)
  const pruned = parseEvent(
    '{"Type":"volume","Action":"prune","Actor":{"ID":"","Attributes":null},"timeNano":1}',
  )
  t.strictSame([pruned?.id, pruned?.attributes], ['', {}])
  const event = parseEvent(line({}, nano)) as EngineEvent
  t.not(eventKey(event), eventKey({ ...event, timeNano: '1795731744000000124' }))
})

t.test('times go to the daemon and back to the nanosecond', async (t) => {
  fc.assert(
    fc.property(fc.bigInt(0n, 4_000_000_000_999_999_999n), (nano) => {
      const [seconds = '', fraction = ''] = sinceText(nano).split('.')
      return fraction.length === 9 && BigInt(seconds) * 1_000_000_000n + BigInt(fraction) === nano
    }),
  )
  t.equal(parseNano('2026-11-26T22:22:24.436382628Z'), 1795731744436382628n)
  t.equal(parseNano('2026-11-26T22:22:24Z'), 1795731744000000000n)
  t.equal(parseNano('2026-11-27T00:22:24.5+02:00'), 1795731744500000000n)
  t.equal(parseNano('soon'), undefined)
  t.equal(sinceText(-5n), '0.000000000')
})

t.test('an event says where to look', async (t) => {
  const container: Hint = { kind: 'object', type: 'container', id: 'c1' }
  const cases: [
    type: string,
    action: string,
    id: string,
    attributes: Record<string, string>,
    hints: Hint[],
  ][] = [
    ['container', 'die', 'c1', {}, [container]],
    ['container', 'health_status: healthy', 'c1', {}, [container]],
    ['container', 'prune', '', {}, [{ kind: 'list', type: 'container' }]],
    ['container', 'commit', 'c1', {}, [{ kind: 'list', type: 'image' }]],
    ['network', 'connect', 'n1', { container: 'c1' }, [container]],
    ['network', 'create', 'n1', {}, [{ kind: 'list', type: 'network' }]],
    ['volume', 'create', 'v1', {}, [{ kind: 'object', type: 'volume', id: 'v1' }]],
    ['volume', 'mount', 'v1', { container: 'c1' }, []],
    ['volume', 'prune', '', {}, [{ kind: 'list', type: 'volume' }]],
    ['image', 'pull', 'busybox:latest', {}, [{ kind: 'list', type: 'image' }]],
    ['plugin', 'enable', 'p1', {}, [{ kind: 'list', type: 'plugin' }]],
    ['daemon', 'reload', 'd1', {}, [{ kind: 'engine' }]],
    ['builder', 'prune', '', {}, []],
    ['service', 'update', 's1', {}, []],
  ]
  for (const [type, action, id, attributes, hints] of cases)
    t.strictSame(hintsOf({ type, action, id, attributes, timeNano: '1' }), hints, `${type} ${action}`)
})

t.test('an inspected container in our words', async (t) => {
  t.strictSame(Container.parse(inspected), {
    id: '8d39',
    name: 'aa',
    image: 'bb:1',
    created: '2026-11-26T22:22:24.436382628Z',
    state: 'running',
    startedAt: '2026-11-26T22:22:24.783574041Z',
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

t.test('a list item that differs in anything asks for a look', async (t) => {
  const container = Container.parse(inspected)
  const says = (change: object) => agrees(container, ListedContainer.parse({ ...listed, ...change }))
  t.ok(says({}))
  t.notOk(says({ Names: ['/bb'] }), 'renamed')
  t.notOk(says({ State: 'paused' }), 'paused')
  t.notOk(says({ Status: 'Up 2 minutes (healthy)' }), 'health')
  t.notOk(says({ Status: 'Up 2 minutes (health: starting)' }), 'restarted')
  t.notOk(says({ Ports: listed.Ports.slice(1) }), 'a port less')
  t.notOk(
    says({ Ports: [...listed.Ports, { IP: '::', PrivatePort: 9, PublicPort: 10, Type: 'udp' }] }),
    'a port more',
  )
  t.notOk(says({ NetworkSettings: { Networks: {} } }), 'disconnected')
  t.notOk(says({ NetworkSettings: { Networks: { bridge: { IPAddress: '172.17.0.3' } } } }), 'another address')
  const exited = Container.parse({ ...inspected, State: { Status: 'exited', Running: false, ExitCode: 137 } })
  const gone = { State: 'exited' }
  const same = (change: object) => agrees(exited, ListedContainer.parse({ ...listed, ...gone, ...change }))
  t.ok(same({ Status: 'Exited (137) 2 seconds ago' }))
  t.notOk(same({ Status: 'Exited (1) 2 seconds ago' }), 'another exit status')
})
