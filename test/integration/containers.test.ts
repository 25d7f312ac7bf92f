import t, { type Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { EngineHost } from '../support/engine-host.ts'
import { startEtcd } from '../support/etcd.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'
import { differences } from '../support/truth.ts'

/**
 * What a real engine makes of containers, and what the registry then says of them and of their services. Two sidecars
 * with opposite settings register the same engine, as two hosts. After each step both must equal what docker says
 * (truth.ts), within 1 s.
 */
if (process.getuid?.() !== 0) {
  t.plan(0, 'an engine of its own needs root')
  process.exit()
}

const engine = await EngineHost.prepare(t)
const { docker } = engine
const etcd = await startEtcd(t)
await engine.start()
const loop = 'CMD ["/bin/sh","-c","trap exit TERM; while :; do /bin/sleep 900 & wait; done"]'
const exposed = ['EXPOSE 80', 'EXPOSE 36412/sctp', 'LABEL com.example.team=shop secret.token=x']
await engine.importImage('web:1', ['/bin/sh', '/bin/sleep', '/bin/cat'], loop, ...exposed)

const hosts: Record<string, Record<string, string>> = {
  outside: { OPENEBS_ADDRESS: '198.51.100.7,2001:db8::7' },
  inside: {
    OPENEBS_ADDRESS: '198.51.100.8',
    OPENEBS_SERVICES: 'internal',
    OPENEBS_NETWORKS: 'absent,six',
    OPENEBS_ADDRESS_LABEL: 'com.example.ip',
    OPENEBS_PAUSED: 'mark',
    OPENEBS_UNHEALTHY: 'withdraw',
    OPENEBS_LABELS: 'com.example.*,openebs.role',
  },
}
const sidecars = new Map<string, SidecarProcess>()
for (const [host, own] of Object.entries(hosts)) {
  const common = { OPENEBS_STORE: etcd.uri, DOCKER_HOST: engine.endpoint, OPENEBS_HOST: host }
  sidecars.set(host, await SidecarProcess.start(t, { ...common, OPENEBS_RESYNC: '300', ...own }))
}

const truth = async (): Promise<string[]> => {
  const all = Object.entries(hosts).map(([host, settings]) =>
    differences({
      docker,
      etcdctl: (...args) => etcd.ctl(...args),
      host,
      address: settings.OPENEBS_ADDRESS ?? '',
      settings,
    }),
  )
  return (await Promise.all(all)).flat()
}

/** Waits until both equal the engine. A comparison that began after `ms` and finds a difference fails. */
const agrees = async (t: Test, what: string, ms = 1000): Promise<void> => {
  const from = performance.now()
  for (;;) {
    const late = performance.now() - from >= ms
    const last = await truth().catch((error: unknown) => [String(error)])
    if (last.length > 0 && !late) {
      await pause(20)
      continue
    }
    if (last.length > 0) for (const { log } of sidecars.values()) t.comment(log)
    t.strictSame(last, [], what)
    return
  }
}

const run = (name: string, ...args: string[]) => docker('run', '-d', '--name', name, ...args)

/** Of each service of a container at a host: its endpoints, by name. */
const services = async (host: string, container: string): Promise<Record<string, string>> => {
  const printed = await etcd.ctl('get', '--prefix', '--print-value-only', '/openebs/v1/services/')
  const records = printed.split('\n').flatMap((line) => (line ? [JSON.parse(line)] : []))
  return Object.fromEntries(
    records
      .filter((record) => record.host === host && record.container === container)
      .map(({ service, endpoints, state }) => [
        service,
        [...endpoints.map((at: { address: string; port: number }) => `${at.address} ${at.port}`), state].join(
          ', ',
        ),
      ]),
  )
}

t.test('both start with the same engine', async (t) => {
  await agrees(t, 'an empty host', 10_000)
})

t.test('bindings, addresses and networks', async (t) => {
  await run(
    'two',
    '-p',
    '18080:80',
    '-p',
    '18081:80',
    '-p',
    '127.0.0.1:18082:80',
    '-e',
    'SERVICE_NAME=two',
    'web:1',
  )
  await agrees(t, 'two bindings of one port')
  t.strictSame(await services('outside', 'two'), {
    two: '198.51.100.7 18080, 198.51.100.7 18081, 2001:db8::7 18080, 2001:db8::7 18081, running',
  })
  await docker('network', 'create', '--ipv6', '--subnet', 'fd00:77::/64', '--subnet', '172.30.0.0/24', 'six')
  await run('dual', '--network', 'six', '--ip', '172.30.0.9', '--ip6', 'fd00:77::9', 'web:1')
  await agrees(t, 'an IPv6 network')
  t.strictSame(await services('inside', 'dual'), {
    'web-80': '172.30.0.9 80, fd00:77::9 80, running',
    'web-36412': '172.30.0.9 36412, fd00:77::9 36412, running',
  })
  await docker('network', 'connect', '--ip', '172.30.0.10', '--ip6', 'fd00:77::a', 'six', 'two')
  await agrees(t, 'network connect: the most wanted network')
  t.match(await services('inside', 'two'), { 'two-80': '172.30.0.10 80, fd00:77::a 80, running' })
  await docker('network', 'disconnect', 'six', 'two')
  await agrees(t, 'network disconnect')
  await run(
    'named',
    '-p',
    '18083:80',
    '--network',
    'six',
    '--ip',
    '172.30.0.11',
    '-l',
    'openebs.network=six',
    'web:1',
  )
  await agrees(t, 'a network by label')
  t.match(await services('outside', 'named'), { web: /^172\.30\.0\.11 80, / })
  await run(
    'fixed',
    '-p',
    '18084:80',
    '-l',
    'openebs.address=203.0.113.1',
    '-l',
    'com.example.ip=203.0.113.2/24',
    'web:1',
  )
  await run('label', '-l', 'com.example.ip=203.0.113.2/24', 'web:1')
  await agrees(t, 'addresses by label')
  t.match(await services('inside', 'label'), { 'web-80': '203.0.113.2 80, running' })
  await run('host', '--network', 'host', '-l', 'openebs.ports=8443', 'web:1')
  await agrees(t, "the host's network")
  t.match(await services('outside', 'host'), { 'web-8443': '198.51.100.7 8443, 2001:db8::7 8443, running' })
})

t.test('sctp, where the kernel has it', async (t) => {
  const { code, stderr } = await engine.tryDocker(
    'run',
    '-d',
    '--name',
    'sctp',
    '-p',
    '19999:36412/sctp',
    'web:1',
  )
  if (code !== 0) t.comment(`it has not: ${stderr}`)
  await agrees(t, 'published, or a container that could not start')
  if (code === 0) t.match(await services('outside', 'sctp'), { web: /^198\.51\.100\.7 19999, / })
  else t.strictSame(await services('outside', 'sctp'), {})
  await docker('rm', '-f', 'sctp')
})

t.test('ports by label, and containers that want no service', async (t) => {
  await run('bare', '-l', 'openebs.ports=8080, 53/udp', 'web:1')
  await agrees(t, 'nothing published')
  t.strictSame(Object.keys(await services('outside', 'bare')).sort(), ['web-53', 'web-8080'])
  await run('ignored', '-p', '80', '-l', 'openebs.ignore=true', 'web:1')
  await run('etcd', '-p', '80', '-l', 'openebs.role=etcd', 'web:1')
  await run('asked', '-p', '80', '-l', 'openebs.role=etcd', '-e', 'SERVICE_NAME=asked', 'web:1')
  await agrees(t, 'ignored, ours, and ours by name')
  t.strictSame(
    [
      await services('outside', 'ignored'),
      await services('inside', 'ignored'),
      await services('outside', 'etcd'),
    ],
    [{}, {}, {}],
  )
  t.strictSame(Object.keys(await services('outside', 'asked')), ['asked'])
})

t.test('pause and health, with both settings', async (t) => {
  await docker('pause', 'two')
  await agrees(t, 'paused')
  t.strictSame(await services('outside', 'two'), {}, 'withdrawn')
  t.match(await services('inside', 'two'), { 'two-80': / 80, paused$/ }, 'marked')
  await docker('unpause', 'two')
  await agrees(t, 'unpaused')
  const check = ['--health-cmd', '[ ! -e /sick ]', '--health-interval', '300ms', '--health-retries', '1']
  await run('sick', '-p', '18085:80', ...check, 'web:1')
  const health = (wanted: string) =>
    until(
      async () =>
        (await docker('inspect', '-f', '{{.State.Health.Status}}', 'sick')).includes(wanted) || undefined,
      { ms: 10_000, every: 20 },
    )
  t.ok(await health('healthy'))
  await agrees(t, 'healthy')
  await docker('exec', 'sick', '/bin/sh', '-c', '>/sick')
  t.ok(await health('unhealthy'))
  await agrees(t, 'unhealthy')
  t.strictSame(Object.keys(await services('outside', 'sick')), ['web'], 'marked')
  t.strictSame(await services('inside', 'sick'), {}, 'withdrawn')
  await docker('restart', '-t', '0', 'sick')
  await agrees(t, 'health begins anew with a start', 2000)
})

t.test('names, starts and ends', async (t) => {
  await docker('rename', 'two', 'three')
  await agrees(t, 'renamed')
  await docker('create', '--name', 'never', 'web:1')
  await agrees(t, 'created: never started')
  await run('fails', '-p', '80', '--restart', 'on-failure:1', 'web:1', '/bin/sh', '-c', 'exit 3')
  const ended = () =>
    until(
      async () =>
        (await docker('inspect', '-f', '{{.State.Status}}', 'fails')).includes('exited') || undefined,
      { ms: 10_000, every: 20 },
    )
  t.ok(await ended())
  await agrees(t, 'restarted once, and exited with 3')
  await docker('kill', 'three', 'dual')
  await agrees(t, 'killed')
  await docker('start', 'three')
  await agrees(t, 'started again')
})

t.test('who is logged in at a target of ours', async (t) => {
  const label = (name: string, value: string) => ['-l', `${name}=${value}`]
  const check = ['--health-cmd', 'cat /sessions', '--health-interval', '300ms']
  const ours = [...label('openebs.role', 'target'), ...label('openebs.volume', 'v1')]
  const start = 'echo sessions: >/sessions; while :; do /bin/sleep 900; done'
  await run('vsm-v1', ...ours, ...check, 'web:1', '/bin/sh', '-c', start)
  const key = '/openebs/v1/vsms/v1/outside'
  const record = async () => JSON.parse((await etcd.ctl('get', '--print-value-only', key)) || '{}')
  const says = (text: string) => docker('exec', 'vsm-v1', '/bin/sh', '-c', `echo '${text}' >/sessions`)
  const shows = async (sessions: object) =>
    t.ok(
      await until(
        async () => JSON.stringify((await record()).sessions) === JSON.stringify(sessions) || undefined,
        { ms: 15_000 },
      ),
      JSON.stringify(sessions),
    )
  await shows([])
  await says('sessions: iqn.b:1@10.0.0.2 iqn.a:1@fd00::1')
  const both = [
    { address: 'fd00::1', initiator: 'iqn.a:1' },
    { address: '10.0.0.2', initiator: 'iqn.b:1' },
  ]
  await shows(both)
  const revision = async () =>
    /"mod_revision":(\d+)/.exec(await etcd.ctl('get', '--write-out=json', key))?.[1]
  const before = await revision()
  await says('sessions: iqn.a:1@fd00::1   iqn.b:1@10.0.0.2')
  await pause(11_000) // it has been looked at meanwhile
  t.equal(await revision(), before, 'other words for the same are not written')
})
