import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isFailure } from '../../process/failure.ts'
import type { Service } from '../../registry/records.ts'
import { consulKvSettings, consulSettings, describeEndpoint } from '../../registry/stores/consul/settings.ts'
import { consulView } from '../../registry/views/consul.ts'
import type { Registration } from '../../registry/views/consul-registration.ts'
import { webInstance } from '../support/records.ts'

const service = (more: Partial<Service> = {}): Service =>
  webInstance({
    containerId: '0123456789abcdef'.repeat(4),
    address: '10.0.0.1',
    port: 18080,
    state: 'running',
    ...more,
  })
const about = { host: {} as never, labels: {} }
const made = (more: Partial<Service> = {}): Registration => {
  const [entry] = consulView().instance?.(service(more), about) ?? []
  const registration = JSON.parse(entry?.[1] ?? '') as Registration
  if (entry?.[0] !== registration.ID) throw new Error(`the key ${entry?.[0]} is not the ID`)
  return registration
}
const checksWith = (attributes: Record<string, string>, more: Partial<Service> = {}) =>
  made({ attributes, ...more }).Checks
const invalid = (work: () => unknown): boolean => {
  try {
    work()
    return false
  } catch (error) {
    return isFailure(error, 'invalid')
  }
}
const refused = (attributes: Record<string, string>): string => {
  try {
    made({ attributes })
    return 'not refused'
  } catch (error) {
    return isFailure(error, 'invalid') ? error.message : String(error)
  }
}

t.test('a registration has what registrator gives it', async (t) => {
  // consul/consul.go, Register: ID, Name, Port, Tags, Address = IP, Check, Meta = Attrs
  t.strictSame(made({ tags: ['b', 'a'], attributes: { region: 'eu', check_http: '/up' } }), {
    ID: 'h1:c1:80',
    Name: 'web',
    Port: 18080,
    Tags: ['b', 'a'],
    Address: '10.0.0.1',
    // all attributes, those of checks too
    Meta: { region: 'eu', check_http: '/up' },
    Checks: [{ CheckID: 'service:h1:c1:80', HTTP: 'http://10.0.0.1:18080/up', Interval: '10s' }],
  })
  // bridge/bridge.go, newService: ID = hostname:name:exposed port, ":udp" for UDP; SERVICE_ID replaces it and is no attribute
  t.equal(made({ protocol: 'udp', tags: ['udp'] }).ID, 'h1:c1:80:udp')
  t.match(made({ attributes: { id: 'my-id', x: 'y' } }), { ID: 'my-id', Meta: { x: 'y' } })
  t.notOk('id' in made({ attributes: { id: 'my-id' } }).Meta)
  // bridge/util.go, mapDefault: what is empty is not given
  t.equal(made({ attributes: { id: '' } }).ID, 'h1:c1:80')
  t.strictSame(made().Checks, [], 'buildCheck: nil where nothing is asked for')
  t.strictSame(made({ attributes: { check_interval: '5s' } }).Checks, [], 'an interval alone is no check')
})

t.test('checks are those of buildCheck', async (t) => {
  const CheckID = 'service:h1:c1:80'
  const rows: [string, Record<string, string>, object][] = [
    [
      'http: http://IP:Port + path, time-out and method only where given',
      { check_http: '/a?b=c', check_timeout: '2s', check_http_method: 'HEAD', check_interval: '15s' },
      { HTTP: 'http://10.0.0.1:18080/a?b=c', Timeout: '2s', Method: 'HEAD', Interval: '15s' },
    ],
    [
      'https: its own method',
      { check_https: '/', check_https_method: 'POST', check_http_method: 'HEAD' },
      { HTTP: 'https://10.0.0.1:18080/', Method: 'POST', Interval: '10s' },
    ],
    [
      'a path that is none of it gets a slash',
      { check_http: 'up' },
      { HTTP: 'http://10.0.0.1:18080/up', Interval: '10s' },
    ],
    [
      'cmd: check-cmd, ContainerID[:12], ExposedPort, and the text; no time-out',
      { check_cmd: 'a b', check_timeout: '2s' },
      { Args: ['check-cmd', '0123456789ab', '80', 'a b'], Interval: '10s' },
    ],
    [
      'script: $SERVICE_IP and $SERVICE_PORT everywhere; by a shell, as the manual has it',
      { check_script: 'nc $SERVICE_IP $SERVICE_PORT | grep $SERVICE_IP', check_interval: '1m' },
      { Args: ['/bin/sh', '-c', 'nc 10.0.0.1 18080 | grep 10.0.0.1'], Interval: '1m' },
    ],
    ['ttl: no interval', { check_ttl: '30s', check_interval: '5s' }, { TTL: '30s', Status: 'passing' }],
    [
      'tcp: IP:Port',
      { check_tcp: 'true', check_timeout: '3s' },
      { TCP: '10.0.0.1:18080', Timeout: '3s', Interval: '10s' },
    ],
    ['any value asks for it', { check_tcp: 'false' }, { TCP: '10.0.0.1:18080', Interval: '10s' }],
    [
      'grpc: skipping verification needs TLS',
      { check_grpc: 'true', check_tls_skip_verify: 'true', check_timeout: '1s' },
      { GRPC: '10.0.0.1:18080', Timeout: '1s', Interval: '10s' },
    ],
    [
      'grpc with both',
      { check_grpc: 'true', check_grpc_use_tls: 'true', check_tls_skip_verify: 'true' },
      { GRPC: '10.0.0.1:18080', GRPCUseTLS: true, TLSSkipVerify: true, Interval: '10s' },
    ],
    [
      'the initial status and the time after which it is deregistered, for each',
      { check_http: '/', check_initial_status: 'passing', check_deregister_after: '10m' },
      {
        HTTP: 'http://10.0.0.1:18080/',
        Interval: '10s',
        Status: 'passing',
        DeregisterCriticalServiceAfter: '10m',
      },
    ],
    [
      'http before https before cmd before script before ttl before tcp before grpc: one check',
      {
        check_grpc: '1',
        check_tcp: '1',
        check_ttl: '1s',
        check_script: 'x',
        check_cmd: 'x',
        check_https: '/s',
        check_http: '/h',
      },
      { HTTP: 'http://10.0.0.1:18080/h', Interval: '10s' },
    ],
    [
      'and what is empty is not given',
      { check_http: '', check_tcp: '1' },
      { TCP: '10.0.0.1:18080', Interval: '10s' },
    ],
  ]
  for (const [what, attributes, check] of rows)
    t.strictSame(checksWith(attributes), [{ CheckID, ...check }], what)
  const order = [
    'check_http',
    'check_https',
    'check_cmd',
    'check_script',
    'check_ttl',
    'check_tcp',
    'check_grpc',
  ]
  const kinds = ['HTTP', 'HTTP', 'Args', 'Args', 'TTL', 'TCP', 'GRPC']
  for (const [at, kind] of kinds.entries()) {
    const all = Object.fromEntries(order.slice(at).map((name) => [name, '1s']))
    t.ok(kind in (checksWith(all)[0] ?? {}), `${order[at]} comes before ${order.slice(at + 1).join()}`)
  }
})

t.test('IPv6 addresses are written so that Consul can call them', async (t) => {
  const at = { address: 'fd00::1' }
  t.match(checksWith({ check_http: '/' }, at), [{ HTTP: 'http://[fd00::1]:18080/' }])
  t.match(checksWith({ check_tcp: '1' }, at), [{ TCP: '[fd00::1]:18080' }])
  t.match(checksWith({ check_script: '$SERVICE_IP' }, at), [{ Args: ['/bin/sh', '-c', 'fd00::1'] }])
  t.equal(made(at).Address, 'fd00::1')
})

t.test('what Docker says of the container is critical in Consul', async (t) => {
  const critical = { CheckID: 'service:h1:c1:80:docker', Status: 'critical' }
  t.match(checksWith({}, { health: 'unhealthy' }), [critical])
  t.match(checksWith({}, { state: 'paused' }), [critical])
  t.match(checksWith({ check_tcp: '1' }, { health: 'unhealthy' }), [{ TCP: /./ }, critical])
  for (const health of ['none', 'starting', 'healthy'] as const) t.strictSame(checksWith({}, { health }), [])
  const ttl = { attributes: { check_ttl: '30s' } }
  t.strictSame(made(ttl).Beat, { Every: 10_000, Status: 'passing' }, 'a check with a TTL is passed by us')
  t.match(made({ ...ttl, health: 'unhealthy' }), {
    Checks: [{ TTL: '30s', Status: 'critical' }],
    Beat: { Every: 10_000, Status: 'critical' },
  })
  t.equal(made({ ...ttl, health: 'unhealthy' }).Checks.length, 1)
  const theirs = { attributes: { check_ttl: '30s', check_initial_status: 'critical' } }
  t.equal(made(theirs).Beat, undefined, 'unless it is to be passed by another')
  t.match(made(theirs).Checks, [{ Status: 'critical' }])
})

t.test('durations are those of Go', async (t) => {
  const rows = {
    '1s': 333,
    '1.5s': 500,
    '1m30s': 30_000,
    '1h': 1_200_000,
    '600ms': 200,
    '.9s': 300,
    '3000000us': 1000,
  }
  for (const [text, every] of Object.entries(rows))
    t.equal(made({ attributes: { check_ttl: text } }).Beat?.Every, every, text)
  for (const text of ['10', 'abc', '10 s', '-5s', '0s', '5d', 's', '1..5s', '10s ', '0'])
    t.match(refused({ check_ttl: text }), `SERVICE_CHECK_TTL`, text)
  t.match(
    refused({ check_tcp: '1', check_interval: '0s' }),
    'SERVICE_CHECK_INTERVAL',
    'Consul wants it above 0',
  )
  t.match(refused({ check_tcp: '1', check_timeout: 'x' }), 'SERVICE_CHECK_TIMEOUT')
  t.equal(refused({ check_tcp: '1', check_timeout: '0s' }), 'not refused', "0 is Consul's own choice")
  t.match(refused({ check_tcp: '1', check_deregister_after: 'x' }), 'SERVICE_CHECK_DEREGISTER_AFTER')
  t.match(refused({ check_tcp: '1', check_initial_status: 'up' }), 'passing, warning or critical')
  t.equal(refused({ check_interval: 'x' }), 'not refused', 'what no check uses is of no matter')
})

t.test('what Consul does not take', async (t) => {
  const long = 'x'.repeat(513)
  const attributes = {
    'a.b': '1',
    'consul-x': '1',
    ['k'.repeat(129)]: '1',
    long,
    ü: '1',
    good: 'y',
    'openebs-host': 'h2',
  }
  t.strictSame(made({ attributes }).Meta, { good: 'y' }, 'attributes that it would refuse are left out')
  t.strictSame(
    made({ attributes: { x: 'ü'.repeat(256) } }).Meta,
    { x: 'ü'.repeat(256) },
    '512 bytes are taken',
  )
  t.strictSame(made({ attributes: { x: 'ü'.repeat(257) } }).Meta, {})
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`a${at}`, '1']))
  const { Meta } = made({ attributes: { ...many, check_tcp: '1' } })
  t.equal(Object.keys(Meta).length, 62, 'of 64 pairs two are for our own')
  t.equal(Meta.check_tcp, '1', 'what makes the check stays')
  const script = (text: string) =>
    made({ attributes: { check_script: `${long}${text}` } }).Meta['openebs-check']
  t.match(script('a'), /^[0-9a-f]{16}$/, 'a check that Meta cannot hold has a digest there')
  t.not(script('a'), script('b'), 'which differs where the check does')
  const cmd = (containerId: string) =>
    made({ attributes: { check_cmd: 'x' }, containerId }).Meta['openebs-check']
  t.not(cmd('a'.repeat(64)), cmd('b'.repeat(64)), 'a container made anew is seen')
  for (const id of ['a//b', '/a', 'a/../b', '.', '..', 'a/.']) t.match(refused({ id }), 'SERVICE_ID', id)
  for (const id of ['a/b', 'a b', '100%', 'a..b', 'ü']) t.equal(refused({ id }), 'not refused', id)
})

t.test("which IDs are this host's by their form", async (t) => {
  const owns = (id: string) => consulView().owns(id, 'h1')
  for (const id of ['h1:c1:80', 'h1:c_1.x-y:53:udp']) t.ok(owns(id), id)
  for (const id of ['h10:c1:80', 'h1', 'my-id', 'h1:c1', 'h1:c1:http', 'xh1:c1:80', 'h1:80'])
    t.notOk(owns(id), id)
})

t.test('URIs', async (t) => {
  const at = (uri: string, environment = {}) => describeEndpoint(consulSettings(uri, environment).at)
  t.equal(at('consul://'), 'http://127.0.0.1:8500')
  t.equal(at('consul://10.0.0.9'), 'http://10.0.0.9:8500')
  t.equal(at('consul://10.0.0.9:80'), 'http://10.0.0.9:80')
  t.equal(at('consul://consul.example:8501/ignored'), 'http://consul.example:8501')
  t.equal(at('consul://[fd00::1]:8500'), 'http://[fd00::1]:8500')
  t.equal(at('consul-tls://c:9'), 'https://c:9')
  t.equal(at('consul-tls://c'), 'https://c:8501')
  t.equal(at('consul-unix:///run/consul.sock'), 'unix:///run/consul.sock')
  // Consul's client reads CONSUL_HTTP_ADDR where uri.Host is empty
  t.equal(at('consul://', { CONSUL_HTTP_ADDR: '10.0.0.8:1' }), 'http://10.0.0.8:1')
  t.equal(at('consul://', { CONSUL_HTTP_ADDR: 'unix:///x.sock' }), 'unix:///x.sock')
  t.equal(at('consul://a:1', { CONSUL_HTTP_ADDR: '10.0.0.8:1' }), 'http://a:1')
  t.equal(at('consul://a:1', { CONSUL_HTTP_SSL: 'true' }), 'https://a:1')
  const kv = (uri: string) => {
    const { prefix, at } = consulKvSettings(uri, {})
    return [prefix, describeEndpoint(at)]
  }
  t.strictSame(kv('consulkv://127.0.0.1:8500/services'), ['services', 'http://127.0.0.1:8500'])
  t.strictSame(kv('consulkv:///a/b/'), ['a/b', 'http://127.0.0.1:8500'])
  t.strictSame(kv('consulkv://h'), ['', 'http://h:8500'])
  t.strictSame(kv('consulkv://h/some%20where/%25'), ['some where/%', 'http://h:8500'])
  // strings.SplitN(uri.Path, ":", 2)
  t.strictSame(kv('consulkv-unix:///run/c.sock:/services'), ['services', 'unix:///run/c.sock'])
  t.strictSame(kv('consulkv-unix:///run/c.sock:/a:b'), ['a:b', 'unix:///run/c.sock'])
  const bad = [
    ...[
      'consul://u:p@h',
      'consul://h:x',
      'consul-unix://',
      'consul-unix://rel',
      'etcd://h',
      'consul',
      'consul://h?a=b',
    ],
  ]
  for (const uri of bad)
    t.ok(
      invalid(() => consulSettings(uri, {})),
      uri,
    )
  for (const uri of ['consulkv://h/a/../b', 'consulkv://h/a//b', 'consulkv://h/%zz', 'consulkv-unix://x:/y'])
    t.ok(
      invalid(() => consulKvSettings(uri, {})),
      uri,
    )
  try {
    consulSettings('consul://user:secret@h', {})
  } catch (error) {
    t.notMatch((error as Error).message, 'secret')
  }
})

t.test('tokens and certificates', async (t) => {
  const folder = t.testdir({ token: 'from-file\n', 'ca.pem': 'CA', 'cert.pem': 'CERT', 'key.pem': 'KEY' })
  const file = (name: string) => join(folder, name)
  const settings = (environment: Record<string, string>, uri = 'consul-tls://h:1') =>
    consulSettings(uri, environment)
  t.equal(settings({ CONSUL_HTTP_TOKEN: 't' }).token, 't')
  t.equal(settings({ CONSUL_HTTP_TOKEN_FILE: file('token') }).token, 'from-file')
  t.equal(settings({ CONSUL_HTTP_TOKEN: '' }).token, undefined)
  t.equal(settings({ CONSUL_HTTP_AUTH: 'u:p' }).login, 'u:p')
  const tls = { ca: 'CA', cert: 'CERT', key: 'KEY', verify: true }
  for (const [cert, key] of [
    ['CONSUL_CLIENT_CERT', 'CONSUL_CLIENT_KEY'],
    ['CONSUL_TLSCERT', 'CONSUL_TLSKEY'],
  ] as const)
    t.match(
      settings({ CONSUL_CACERT: file('ca.pem'), [cert]: file('cert.pem'), [key]: file('key.pem') }).at,
      { tls },
    )
  t.match(settings({ CONSUL_HTTP_SSL_VERIFY: 'false', CONSUL_TLS_SERVER_NAME: 's' }).at, {
    tls: { verify: false, serverName: 's' },
  })
  t.ok(invalid(() => settings({ CONSUL_CLIENT_CERT: file('cert.pem') })))
  t.throws(() => settings({ CONSUL_CACERT: file('nowhere') }), { message: /CONSUL_CACERT/ })
  writeFileSync(file('empty'), '')
  t.equal(settings({ CONSUL_HTTP_TOKEN_FILE: file('empty') }).token, undefined)
  t.notOk('tls' in settings({}, 'consul://h').at)
})
