import t from 'tap'
import { journalFaults } from '../support/journal.ts'
import { differences } from '../support/truth.ts'

/** What judges the sidecar must itself be able to say no: each wrong field, each key too few or too many. */
const id = 'c'.repeat(64)
const image = `sha256:${'1'.repeat(64)}`
const network = 'n'.repeat(64)
const inspected = {
  Id: id,
  Name: '/web',
  Created: '2026-01-01T00:00:00.123456789Z',
  State: {
    Status: 'running',
    ExitCode: 0,
    StartedAt: '2026-01-01T00:00:01Z',
    FinishedAt: '0001-01-01T00:00:00Z',
    Health: { Status: 'healthy' },
  },
  Config: {
    Image: 'example.org:5000/team/web:1',
    Env: ['SERVICE_90_IGNORE=1'],
    Labels: { a: 'b' },
    ExposedPorts: { '80/tcp': {} },
  },
  HostConfig: { NetworkMode: 'bridge' },
  NetworkSettings: {
    Networks: { bridge: { IPAddress: '172.17.0.2', GlobalIPv6Address: 'fd00::2' } },
    Ports: {
      '80/tcp': [
        { HostIp: '::', HostPort: '8080' },
        { HostIp: '0.0.0.0', HostPort: '8080' },
        { HostIp: '127.0.0.1', HostPort: '8081' },
      ],
      '90/udp': [{ HostIp: '0.0.0.0', HostPort: '8090' }],
    },
  },
  Mounts: [{ Type: 'volume', Name: 'data' }],
}

const answers: Record<string, unknown> = {
  info: {
    ServerVersion: '28',
    OperatingSystem: 'Debian',
    Architecture: 'x86_64',
    KernelVersion: '6.1',
    Driver: 'overlay2',
    NCPU: 2,
    MemTotal: 4096,
  },
  ps: id,
  inspect: [inspected],
  'volume ls': 'data',
  'volume inspect': [{ Name: 'data', Driver: 'local', Scope: 'local', Labels: null }],
  'network ls': network,
  'network inspect': [
    {
      Id: network,
      Name: 'bridge',
      Driver: 'bridge',
      Scope: 'local',
      IPAM: { Config: [{ Subnet: '172.17.0.0/16' }] },
    },
  ],
  images: image,
  'image inspect': [{ Id: image, RepoTags: ['web:1'], Size: 5, Created: '2026-01-01T00:00:00.9Z' }],
  'plugin ls': '',
}
const docker = async (...args: string[]): Promise<string> => {
  const found = answers[args.slice(0, 2).join(' ')] ?? answers[args[0] ?? '']
  return typeof found === 'string' ? found : JSON.stringify(found)
}

const service = 'services/web-80/h1:web:80'
const container = `inventory/h1/container/${id}`
const right: Record<string, Record<string, unknown>> = {
  'hosts/h1': {
    host: 'h1',
    address: '192.0.2.1',
    addresses: ['192.0.2.1', '2001:db8::1'],
    engine: { version: '28', os: 'Debian', arch: 'x86_64', kernel: '6.1', storage: 'overlay2' },
    capacity: { cpus: 2, memory: 4096 },
  },
  [container]: {
    name: 'web',
    image: 'example.org:5000/team/web:1',
    state: 'running',
    health: 'healthy',
    labels: { a: 'b' },
    networks: [{ name: 'bridge', ipv4: '172.17.0.2', ipv6: 'fd00::2' }],
    ports: [
      { port: 90, protocol: 'udp', hostAddress: '0.0.0.0', hostPort: 8090 },
      { port: 80, protocol: 'tcp', hostAddress: '0.0.0.0', hostPort: 8080 },
      { port: 80, protocol: 'tcp', hostAddress: '::', hostPort: 8080 },
      { port: 80, protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 8081 },
    ],
    exposed: [{ port: 80, protocol: 'tcp' }],
    volumes: ['data'],
    created: '2026-01-01T00:00:00.123456789Z',
    started: '2026-01-01T00:00:01Z',
  },
  'inventory/h1/volume/data': { name: 'data', driver: 'local', scope: 'local', labels: {} },
  [`inventory/h1/network/${network}`]: {
    name: 'bridge',
    driver: 'bridge',
    scope: 'local',
    subnets: ['172.17.0.0/16'],
  },
  [`inventory/h1/image/${image}`]: {
    name: 'web:1',
    tags: ['web:1'],
    size: 5,
    created: '2026-01-01T00:00:00.000Z',
  },
  [service]: {
    service: 'web-80',
    host: 'h1',
    container: 'web',
    containerId: id,
    address: '192.0.2.1',
    port: 8080,
    endpoints: [
      { address: '192.0.2.1', port: 8080 },
      { address: '2001:db8::1', port: 8080 },
    ],
    exposedPort: 80,
    protocol: 'tcp',
    health: 'healthy',
    state: 'running',
  },
}

const base64 = (text: string): string => Buffer.from(text).toString('base64')
const judge = (registry: Record<string, unknown>, leases: string[] = []): Promise<string[]> => {
  const kvs = Object.entries({ ...registry, 'hosts/h2': {} }).map(
    ([key, record], index) =>
      `{"key":"${base64(`/openebs/v1/${key}`)}","value":"${base64(JSON.stringify(record))}"${
        leases[index] === '' ? '' : `,"lease":${leases[index] ?? '9007199254740993'}`
      }}`,
  )
  const etcdctl = async () => `{"header":{},"kvs":[${kvs.join()}]}`
  return differences({ docker, etcdctl, host: 'h1', address: '192.0.2.1,2001:db8::1' })
}

t.test('a registry that is right', async (t) => t.strictSame(await judge(right), []))

t.test('every field and every key counts', async (t) => {
  for (const [key, record] of Object.entries(right)) {
    const { [key]: _, ...without } = right
    t.strictSame(await judge(without), [`missing: ${key}`])
    for (const field of Object.keys(record)) {
      const wrong = await judge({ ...right, [key]: { ...record, [field]: 'wrong' } })
      t.match(wrong, [new RegExp(`${field} is wrong, should be`)], `${key}: ${field}`)
    }
  }
  t.strictSame(await judge({ ...right, 'services/old/h1:old:80': {} }), ['stale: services/old/h1:old:80'])
  const ended = { ...right[container], exitCode: 1, finished: '2026-01-01T00:00:02Z' }
  t.match(await judge({ ...right, [container]: ended }), [/exitCode is 1/, /finished is 2026/])
})

t.test('all hangs on one lease', async (t) => {
  t.match(await judge(right, ['']), [/bound to none, 9007199254740993 instead/])
  t.match(await judge(right, ['9007199254740992']), [/bound to 9007199254740992, 9007199254740993 instead/])
})

t.test('a journal with gaps, doubles and disorder', async (t) => {
  const nano = (second: number, digest = '0123abcd') => `176722560${second}000000000-${digest}`
  const at = (second: number) => `2026-01-01T00:00:0${second}.000000000Z`
  const die = (second: number, of: string) => ({
    kind: 'event',
    time: at(second),
    type: 'container',
    action: 'die',
    id: of,
  })
  const look = (...entries: [string, object][]) =>
    journalFaults(
      async () =>
        entries.map(([key, entry]) => `/openebs/v1/events/h1/${key}\n${JSON.stringify(entry)}\n`).join(''),
      'h1',
      [{ id: 'a', from: Date.parse(at(3)), to: Date.parse(at(4)) }],
    )
  t.strictSame(await look([nano(1), die(1, 'b')], [nano(3), die(3, 'a')]), [])
  t.strictSame(await look([nano(5), { kind: 'gap', time: at(5), from: at(2), to: at(5) }]), [])
  t.match(await look(), [/the end of a .* is missing/])
  t.match(await look([nano(5), { kind: 'gap', time: at(5), from: at(5), to: at(6) }]), [/the end of a/])
  t.match(await look([nano(3), die(3, 'a')], [nano(3, '0123abce'), die(3, 'a')]), [/^twice: .* die a/])
  t.match(await look([nano(4), die(4, 'a')], [nano(3), die(3, 'b')]), [/is not in order/])
  t.match(await look([nano(4), die(5, 'a')]), [/holds an entry of/])
  t.match(await look(['x', die(3, 'a')]), [/is no key of a journal/])
})
