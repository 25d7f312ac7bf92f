import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { EngineHost } from '../support/engine-host.ts'
import { startEtcd } from '../support/etcd.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'
import { differences } from '../support/truth.ts'

/**
 * A real engine, a real etcd, and the sidecar as its users start it. Steps build on each other: one host lives through
 * them. After each, the registry must equal what docker and etcdctl say (truth.ts), within 1 s of the last event and 5 s
 * of the end of a fault.
 */
const suite = t
if (process.getuid?.() !== 0) {
  t.plan(0, 'an engine of its own needs root')
  process.exit()
}

const engine = await EngineHost.prepare(t)
const { docker } = engine
const etcd = await startEtcd(t)
await etcd.member.kill() // it comes back below
const settings: Record<string, string> = {
  OPENEBS_STORE: etcd.uri,
  DOCKER_HOST: engine.endpoint,
  OPENEBS_RESYNC: '20',
  OPENEBS_HOST: 'h1',
  OPENEBS_ADDRESS: '198.51.100.7',
}
let sidecar = await SidecarProcess.start(t, settings)

const truth = () =>
  differences({
    docker,
    etcdctl: (...args) => etcd.ctl(...args),
    host: 'h1',
    address: settings.OPENEBS_ADDRESS ?? '',
  })

/**
 * Waits until the registry equals the host. It is late when a comparison that began after `ms` finds a difference: what
 * counts is when it looked, not how long the programs take that it looks with. What differs then is what the test shows.
 */
const agrees = async (t: Test, ms: number, what: string): Promise<void> => {
  const from = performance.now()
  for (;;) {
    const late = performance.now() - from >= ms
    const last = await truth().catch((error: unknown) => [String(error)])
    if (last.length > 0 && !late) {
      await pause(20)
      continue
    }
    if (last.length > 0) t.comment(sidecar.log)
    t.strictSame(last, [], what)
    return
  }
}

/** Waits until the sidecar misses something like `what`, or nothing any more. */
const misses = (of: SidecarProcess, what: RegExp | undefined, ms = 5000) =>
  until(
    async () => {
      const missing = await of.missing()
      return (what ? missing.some((one) => what.test(one)) : missing.length === 0) ? missing : undefined
    },
    { ms },
  )

/** The record of a VSM once its health is `health`. */
const vsm = (name: string, health: string) =>
  until(
    async () => {
      const text = await etcd.ctl('get', '--print-value-only', `/openebs/v1/vsms/${name}/h1`)
      const record = text && JSON.parse(text)
      return record && record.health === health ? record : undefined
    },
    { ms: 20_000 },
  )

const run = (name: string, ...args: string[]) => docker('run', '-d', '--name', name, ...args)
const registrator = (...args: string[]) =>
  promisify(execFile)(join(import.meta.dirname, '../../cli/registrator.sh'), args, {
    env: { ...process.env, OPENEBS_STORE: etcd.uri },
  })

t.test('it starts before etcd and before the engine', async (t) => {
  t.match(await misses(sidecar, /has not granted a lease/), [
    /Docker Engine at unix:.*ENOENT/,
    /registry: etcd at /,
  ])
  t.match(JSON.parse(await sidecar.get('/healthz')), { healthy: true }, 'it is healthy all the same')
  const noStore = sidecar.get('/v1/hosts')
  await engine.start()
  t.match(JSON.parse(await noStore), { error: /does not answer/ })
  await etcd.member.start()
  await agrees(t, 5000, 'an empty host')
  t.strictSame(await misses(sidecar, undefined), [], 'ready')
  const loop = 'CMD ["/bin/sh","-c","trap exit TERM; while :; do /bin/sleep 900 & wait; done"]'
  await engine.importImage('web:1', ['/bin/sh', '/bin/sleep'], loop, 'EXPOSE 80')
  await agrees(t, 1000, 'an image')
})

t.test("a container's life", async (t) => {
  await run('c1', '-p', '8080:80', 'web:1')
  await agrees(t, 1000, 'run')
  await run(
    'c2',
    '-p',
    '80',
    '-p',
    '127.0.0.1:8081:81',
    '-p',
    '8082:82/udp',
    '-e',
    'SERVICE_NAME=api',
    'web:1',
  )
  await run('c3', '-v', 'data:/data', '--network', 'none', 'web:1')
  await run('c4', '--network', 'host', 'web:1')
  await agrees(t, 1000, 'ports, a volume, other networks')
  await docker('rename', 'c1', 'c9')
  await agrees(t, 1000, 'rename')
  await docker('pause', 'c9')
  await agrees(t, 1000, 'pause')
  await docker('unpause', 'c9')
  await agrees(t, 1000, 'unpause')
  await docker('network', 'create', 'net1')
  await docker('network', 'connect', 'net1', 'c9')
  await agrees(t, 1000, 'network connect')
  await docker('network', 'disconnect', 'bridge', 'c9')
  await agrees(t, 1000, 'network disconnect')
  await docker('stop', 'c9')
  await agrees(t, 1000, 'stop')
  await docker('start', 'c9')
  await agrees(t, 1000, 'start')
  await docker('kill', 'c9')
  await agrees(t, 1000, 'kill')
  await docker('volume', 'create', 'v2')
  await docker('tag', 'web:1', 'web:2')
  await agrees(t, 1000, 'volume create, tag')
  await docker('rm', '-f', 'c9', 'c3')
  await docker('volume', 'rm', 'data', 'v2')
  await docker('network', 'rm', 'net1')
  await docker('rmi', 'web:2')
  await agrees(t, 1000, 'everything removed')
})

t.test("the engine's health checks", async (t) => {
  const health = (wanted: string) =>
    until(
      async () =>
        (await docker('inspect', '-f', '{{.State.Health.Status}}', 'sick')).includes(wanted) || undefined,
      { ms: 10_000, every: 20 },
    )
  const check = ['--health-cmd', '[ -e /well ]', '--health-interval', '500ms', '--health-retries', '1']
  await run('sick', '-p', '80', ...check, 'web:1')
  t.ok(await health('unhealthy'))
  await agrees(t, 1000, 'unhealthy')
  await docker('exec', 'sick', '/bin/sh', '-c', '>/well')
  t.ok(await health('healthy'))
  await agrees(t, 1000, 'healthy')
  await docker('rm', '-f', 'sick')
})

t.test('what the store holds is served and shown', async (t) => {
  const away = registrator('--store', 'etcd://127.0.0.1:1', 'ls')
  away.catch(() => {}) // looked at below
  const { records } = JSON.parse(await sidecar.get('/v1/services'))
  t.match(records[0], { key: 'services/api-80/h1:c2:80', record: { address: '198.51.100.7' } })
  const metrics = await sidecar.get('/metrics')
  t.match(metrics, /^openebs_docker_connected 1$/m)
  t.match(metrics, /^openebs_docker_events_total\{type="container"\} [1-9]/m)
  const { stdout } = await registrator('ls')
  t.match(stdout, /^h1 {2}198\.51\.100\.7 {2}Docker/)
  t.match(stdout, /api-80 {2}c2 {2}198\.51\.100\.7:\d+\/tcp/)
  t.notMatch(stdout, '\u001b', 'no colours where there is no terminal')
  t.match(JSON.parse((await registrator('get', 'hosts/h1')).stdout), { host: 'h1' })
  await t.rejects(registrator('get', 'hosts/h2'), { code: 3, stderr: /nothing at hosts\/h2/ })
  await t.rejects(away, { code: 4, stderr: /^registrator: etcd at http:\/\/127\.0\.0\.1:1.* is away/ })
})

let second: SidecarProcess

t.test('a second sidecar for the same host waits', async (t) => {
  // from here on the address is real: portals are asked there
  await sidecar.end('SIGTERM')
  settings.OPENEBS_ADDRESS = await engine.address()
  sidecar = await SidecarProcess.start(suite, settings)
  await sidecar.ready()
  await agrees(t, 1000, 'under another address')
  second = await SidecarProcess.start(suite, settings)
  t.ok(await misses(second, /held by another run/), 'it says what it waits for')
  const third = await SidecarProcess.start(t, { ...settings, OPENEBS_LISTEN: new URL(sidecar.url).host })
  t.equal(await third.ended(), 2)
  t.match(third.log, /the port is in use/)
})

/** A target of somebody else, in the foreground. */
const serve = [
  'mkdir -p /var/run',
  '(until tgtadm --lld iscsi --op show --mode target',
  'do sleep 0.1; done',
  'truncate -s 1049088 /lun',
  'tgtadm --lld iscsi --op new --mode target --tid 1 -T iqn.2020-01.org.example:t1',
  'tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b /lun',
  'tgtadm --lld iscsi --op bind --mode target --tid 1 -I ALL) & exec tgtd -f',
].join('; ')
const tgt = ['/usr/sbin/tgtd', '/usr/sbin/tgtadm']
const skip = ![...tgt, '/usr/bin/iscsi-ls'].every((file) => existsSync(file)) && 'needs tgt and libiscsi-bin'

t.test('a VSM that nobody here made', { skip }, async (t) => {
  const programs = [...tgt, '/bin/sh', '/bin/sleep', '/bin/mkdir', '/usr/bin/truncate']
  const command = `CMD ${JSON.stringify(['/bin/sh', '-c', serve])}`
  await engine.importImage('san:1', programs, 'ENV PATH=/usr/sbin:/usr/bin:/bin', 'EXPOSE 3260', command)
  await run('san', '--network', 'host', 'san:1')
  t.match(await vsm('san', 'healthy'), {
    portals: [`${settings.OPENEBS_ADDRESS}:3260`],
    targets: [{ iqn: 'iqn.2020-01.org.example:t1', luns: [{ lun: 1, size: 1049088 }] }],
  })
  await agrees(t, 1000, 'its service and inventory')
  await docker('kill', '-s', 'STOP', 'san') // it still listens, but says nothing: looked at again below
})

t.test('of 40 containers that are killed at once none stays', async (t) => {
  const names = Array.from({ length: 40 }, (_, index) => `b${index}`)
  await Promise.all(
    [names.slice(0, 20), names.slice(20)].map(async (half) => {
      for (const name of half) await run(name, '-p', '80', 'web:1')
    }),
  )
  await agrees(t, 1000, '40 started')
  await docker('kill', ...names)
  await agrees(t, 1000, '40 killed')
  await docker('rm', '-f', ...names)
  await agrees(t, 1000, '40 removed')
})

t.test('a VSM that no longer answers is unhealthy, with the reason', { skip }, async (t) => {
  t.match(await vsm('san', 'unhealthy'), { reason: /no answer within 5 s/ })
  await docker('rm', '-f', 'san')
  await agrees(t, 1000, 'gone with its container')
})

t.test('the second sidecar is refused, the first one has lost nothing', async (t) => {
  t.equal(await second.ended(), 2)
  t.match(second.log, /another sidecar serves host h1/)
  await agrees(t, 1000, 'all there')
})

t.test('a sidecar that was killed is followed at once on its seat, elsewhere after its lease', async (t) => {
  const seat = new URL(sidecar.url).host
  await sidecar.end('SIGKILL')
  await docker('rm', '-f', 'c4')
  sidecar = await SidecarProcess.start(suite, { ...settings, OPENEBS_LISTEN: seat })
  await sidecar.ready()
  await agrees(t, 1000, 'on its seat')
  t.notMatch(sidecar.log, /waiting up to/, 'it waits for no lease')
  await sidecar.end('SIGKILL')
  await run('later', '-p', '80', 'web:1')
  sidecar = await SidecarProcess.start(suite, settings)
  t.ok(await misses(sidecar, /waiting up to \d+ s for its lease to end/), 'it says that it waits')
  await agrees(t, 9000, 'on another seat')
})

t.test('etcd dies, hangs, and drops the lease', async (t) => {
  await etcd.member.kill()
  await docker('rm', '-f', 'later')
  await run('d1', '-p', '80', 'web:1')
  t.ok(await misses(sidecar, /registry/), 'not ready')
  await etcd.member.start()
  await agrees(t, 5000, 'it died')
  etcd.member.pause()
  await docker('rm', '-f', 'd1')
  await run('d2', '-p', '80', 'web:1')
  etcd.member.resume()
  await agrees(t, 5000, 'it hung')
  const entry = await etcd.ctl('get', '--write-out=json', '/openebs/v1/hosts/h1')
  const lease = BigInt(/"lease":(\d+)/.exec(entry)?.[1] ?? 0)
  await etcd.ctl('lease', 'revoke', lease.toString(16))
  await agrees(t, 5000, 'it dropped the lease')
})

t.test('the sidecar itself stands still', async (t) => {
  sidecar.stall()
  await docker('rm', '-f', 'd2')
  await run('d3', '-p', '80', 'web:1')
  await pause(4000)
  sidecar.resume()
  await agrees(t, 5000, 'caught up')
  t.match(sidecar.log, /this process stood still for/)
})

t.test('the engine restarts', async (t) => {
  await engine.halt('TERM')
  await engine.start()
  await agrees(t, 5000, 'a clean restart')
  await docker('start', 'd3')
  const pid = (await docker('inspect', '-f', '{{.State.Pid}}', 'd3')).trim()
  await engine.halt('KILL')
  await engine.exec('kill', '-9', pid) // nobody is there to announce it
  await engine.start({ 'live-restore': true })
  await agrees(t, 5000, 'a crash, with a container that died meanwhile')
  t.match(await docker('inspect', '-f', '{{.State.Status}}', 'd3'), 'exited')
})

t.test('SIGTERM withdraws all', async (t) => {
  t.equal(await sidecar.end('SIGTERM'), 0)
  const keys = await etcd.ctl('get', '--prefix', '--keys-only', '/openebs/v1/')
  t.strictSame(
    // the journal goes by its own time
    keys.split('\n').filter((key) => key && !/\/(fences|events)\//.test(key)),
    [],
  )
})
