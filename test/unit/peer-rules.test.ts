import t from 'tap'
import type { Container } from '../../docker/inspect.ts'
import type { Host } from '../../registry/records.ts'
import { registratorView } from '../../registry/views/registrator.ts'
import { skydnsView } from '../../registry/views/skydns.ts'
import { readCompat } from '../../sidecar/compat/options.ts'
import { compatRules, compatSettings } from '../../sidecar/compat/plan.ts'
import { createViewEntries } from '../../sidecar/view-entries.ts'
import { bind, container } from '../support/containers.ts'

/**
 * The rules of gliderlabs/registrator 7 beyond its recordings, a row each: its command line, a container, and the keys that it would
 * write. What a row stands on is beside it: bridge.go and util.go of its source, or a row of docs/migrating.md where we differ.
 */
const host: Host = {
  host: 'h1',
  address: '10.0.0.1',
  addresses: ['10.0.0.1', '2001:db8::1'],
  engine: { version: '20.10.24', os: 'linux', arch: 'amd64', kernel: '6.1', storage: 'overlay2' },
  versions: { sidecar: '0.1.0' },
  capacity: { cpus: 1, memory: 1 },
  instance: 'i',
  since: '2026-01-01T00:00:00Z',
}

const written = (line: string, ...containers: Container[]) => {
  const options = readCompat([...line.split(' ').filter((word) => word !== ''), 'etcd://h'])
  if (typeof options === 'string') throw new Error(options)
  const entriesOf = createViewEntries(registratorView(), {
    services: compatRules(options, compatSettings(options, {})),
    keepFailed: options.deregister === 'on-success',
  })
  const snapshot = { containers: new Map(containers.map((one) => [one.id, one])) }
  const { desired, refused } = entriesOf(snapshot, host, () => undefined)
  return { keys: Object.fromEntries(desired), refused: [...refused] }
}

const env = (...environment: string[]) => ({ environment })
const http = [{ port: 80, protocol: 'tcp' }]
const bound = { bindings: bind('18080:80'), exposed: http }

t.test('rules', async (t) => {
  const rows: [rule: string, line: string, what: Partial<Container>, keys: Record<string, string>][] = [
    ['newService: HostIP 0.0.0.0 is the host', '', bound, { 'web/h1:c1:80': '10.0.0.1:18080' }],
    [
      'newService: the HostIP of a binding',
      '',
      { bindings: bind('10.7.7.7:18080:80') },
      { 'web/h1:c1:80': '10.7.7.7:18080' },
    ],
    [
      'newService: -ip overrides the HostIP',
      '-ip 10.9.9.9',
      { bindings: bind('10.7.7.7:18080:80') },
      { 'web/h1:c1:80': '10.9.9.9:18080' },
    ],
    [
      'differs: the loopback alone is not advertised',
      '-ip 10.9.9.9',
      { bindings: bind('127.0.0.1:18080:80') },
      {},
    ],
    [
      'differs: IPv4 first of both families',
      '',
      { bindings: bind('[::]:18080:80', '18080:80') },
      { 'web/h1:c1:80': '10.0.0.1:18080' },
    ],
    [
      'differs: IPv6 in brackets, where there is nothing else',
      '',
      { bindings: bind('[::]:18080:80') },
      { 'web/h1:c1:80': '[2001:db8::1]:18080' },
    ],
    ['add: a port that is not published is left out', '', { bindings: [], exposed: http }, {}],
    [
      'newService: -internal is the exposed port at the container',
      '-internal',
      bound,
      { 'web/h1:c1:80': '172.17.0.2:80' },
    ],
    [
      'newService: -ip says nothing of -internal',
      '-internal -ip 10.9.9.9',
      bound,
      { 'web/h1:c1:80': '172.17.0.2:80' },
    ],
    [
      'add: with --net=host the exposed ports stand',
      '-ip 10.9.9.9',
      { networkMode: 'host', networks: [{ name: 'host' }], bindings: [], exposed: http },
      { 'web/h1:c1:80': '10.0.0.1:80' },
    ],
    [
      'newService: -useIpFromLabel, with the prefix length cut off, and the port as it was',
      '-useIpFromLabel my.ip',
      { ...bound, labels: { 'my.ip': '10.1.2.3/24' } },
      { 'web/h1:c1:80': '10.1.2.3:18080' },
    ],
    [
      'newService: -useIpFromLabel where there is none',
      '-useIpFromLabel my.ip',
      bound,
      { 'web/h1:c1:80': '10.0.0.1:18080' },
    ],
    [
      'differs: an address that is none does not count',
      '-useIpFromLabel my.ip',
      { ...bound, labels: { 'my.ip': 'nonsense' } },
      { 'web/h1:c1:80': '10.0.0.1:18080' },
    ],
    ['newService: -explicit without a name', '-explicit', bound, {}],
    [
      "newService: -explicit with a port's name, for that port alone",
      '-explicit',
      { bindings: bind('18080:80', '18443:443'), ...env('SERVICE_443_NAME=secure') },
      { 'secure/h1:c1:443': '10.0.0.1:18443' },
    ],
    [
      'newService: SERVICE_ID of all, of one port',
      '',
      { bindings: bind('18080:80', '18443:443'), ...env('SERVICE_ID=a', 'SERVICE_443_ID=b') },
      { 'web-80/a': '10.0.0.1:18080', 'web-443/b': '10.0.0.1:18443' },
    ],
    [
      'newService: udp is in the ID',
      '',
      { bindings: bind('15353:53/udp', '15353:53/tcp') },
      { 'web-53/h1:c1:53': '10.0.0.1:15353', 'web-53/h1:c1:53:udp': '10.0.0.1:15353' },
    ],
    [
      'serviceMetaData: a port of another container means nothing',
      '',
      { ...bound, ...env('SERVICE_8080_NAME=other') },
      { 'web/h1:c1:80': '10.0.0.1:18080' },
    ],
    [
      "serviceMetaData: labels win, a port's own wins over all",
      '',
      {
        ...bound,
        ...env('SERVICE_80_NAME=env'),
        labels: { SERVICE_NAME: 'general', SERVICE_80_NAME: 'own' },
      },
      { 'own/h1:c1:80': '10.0.0.1:18080' },
    ],
    [
      "etcd's v2 API: an empty part of a path is none",
      '',
      { ...bound, ...env('SERVICE_NAME=a//b/') },
      { 'a/b/h1:c1:80': '10.0.0.1:18080' },
    ],
    ['newService: SERVICE_80_IGNORE', '', { ...bound, ...env('SERVICE_80_IGNORE=no') }, {}],
    ['differs: paused', '', { ...bound, state: 'paused' }, {}],
    ['differs: unhealthy', '', { ...bound, health: 'unhealthy' }, {}],
    [
      'a health check that has not passed yet',
      '',
      { ...bound, health: 'starting' },
      { 'web/h1:c1:80': '10.0.0.1:18080' },
    ],
  ]
  for (const [rule, line, what, keys] of rows) {
    const { refused, ...found } = written(line, container(what))
    t.strictSame(found.keys, keys, `${rule} (${line || 'no options'})`)
    t.strictSame(refused, [])
  }
})

t.test('the setting that restores the old way', async (t) => {
  const options = readCompat(['etcd://h'])
  if (typeof options === 'string') throw new Error(options)
  const rules = (environment: Record<string, string>) =>
    compatRules(options, compatSettings(options, environment))
  t.match(rules({}), { unhealthy: 'withdraw', paused: 'withdraw' })
  t.match(rules({ OPENEBS_UNHEALTHY: 'mark', OPENEBS_PAUSED: 'mark' }), { unhealthy: 'mark', paused: 'mark' })
})

t.test('what cannot be written names its container, and harms no other', async (t) => {
  const good = container({ id: 'good', name: 'good', ...bound })
  const names = ['..', '/', 'a/../b', 'line\nbreak']
  for (const name of names) {
    const { keys, refused } = written(
      '',
      container({ name: 'bad', ...bound, ...env(`SERVICE_NAME=${name}`) }),
      good,
    )
    t.strictSame(keys, { 'web/h1:good:80': '10.0.0.1:18080' }, JSON.stringify(name))
    t.match(refused, [/^container bad: /])
  }
  const { keys, refused } = written(
    '',
    container({ id: 'b', name: 'second', created: '2026-01-02T00:00:00Z', ...bound, ...env('SERVICE_ID=x') }),
    container({ id: 'a', name: 'first', ...bound, ...env('SERVICE_ID=x') }),
    good,
  )
  t.strictSame(keys, { 'web/x': '10.0.0.1:18080', 'web/h1:good:80': '10.0.0.1:18080' })
  t.match(refused, [/^container second: "web\/x" is the key of container first already/])
  const long = container({ name: 'long', ...bound, ...env(`SERVICE_NAME=${'n'.repeat(20_000)}`) })
  t.match(written('', long, good), {
    keys: { 'web/h1:good:80': '10.0.0.1:18080' },
    refused: [/^container long: .* are 20\d{3} bytes, at most 14000 are possible/],
  })
})

t.test('a host that a layout cannot carry is left out of it, and nothing else', async (t) => {
  const options = readCompat(['etcd://h'])
  if (typeof options === 'string') throw new Error(options)
  const services = compatRules(options, compatSettings(options, {}))
  const entriesOf = createViewEntries(skydnsView({ domain: 'example.org' }), { services })
  const one = container(bound)
  const odd = { ...host, address: 'fe80::1%eth0', addresses: ['10.0.0.1', 'fe80::1%eth0'] }
  const { desired, refused } = entriesOf({ containers: new Map([[one.id, one]]) }, odd, () => undefined)
  t.strictSame([...desired.keys()], ['org/example/web/_tcp/_web/h1/c1-80'])
  t.match([...refused], [/^host h1: "fe80::1%eth0" is no address/])
})

t.test('-deregister on-success keeps what failed by itself', async (t) => {
  const options = readCompat(['-deregister', 'on-success', 'etcd://h'])
  if (typeof options === 'string') throw new Error(options)
  const entriesOf = createViewEntries(registratorView(), {
    services: compatRules(options, compatSettings(options, {})),
    keepFailed: true,
  })
  const keysOf = (...containers: Container[]) => [
    ...entriesOf(
      { containers: new Map(containers.map((one) => [one.id, one])) },
      host,
      () => undefined,
    ).desired.keys(),
  ]
  const running = container(bound)
  const ended = (exitCode: number) => container({ state: 'exited', exitCode, bindings: [], exposed: http })
  t.strictSame(keysOf(running), ['web/h1:c1:80'])
  t.strictSame(keysOf(ended(1)), ['web/h1:c1:80'], 'it failed')
  t.strictSame(
    keysOf(container({ state: 'restarting', exitCode: 1, bindings: [] })),
    ['web/h1:c1:80'],
    'and is to start again',
  )
  t.strictSame(keysOf(ended(137)), [], 'it was killed')
  t.strictSame(keysOf(running), ['web/h1:c1:80'])
  t.strictSame(keysOf(ended(0)), [], 'it succeeded')
  t.strictSame(keysOf(ended(1)), ['web/h1:c1:80'])
  t.strictSame(keysOf(), [], 'it was removed')
})
