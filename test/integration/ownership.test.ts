import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { Authority } from '../support/certificates.ts'
import { type EtcdCluster, startEtcd } from '../support/etcd.ts'
import { FakeEngine } from '../support/fake-engine.ts'
import { startProxy } from '../support/proxy.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'

/**
 * The sidecar as its users start it, on a real etcd in every form that one has, with a cheap engine: whose the records
 * are, and what becomes of them. What the engine's own behaviour does to them, sidecar.test.ts and the fault tests show.
 */
const prefix = '/openebs/v1/'

const settingsFor = (engine: FakeEngine, store: string): Record<string, string> => ({
  OPENEBS_STORE: store,
  OPENEBS_HOST: 'h1',
  OPENEBS_ADDRESS: '192.0.2.7',
  OPENEBS_RESYNC: '600', // what is put right sooner is put right by other means
  DOCKER_HOST: `unix://${engine.socket}`,
})

/** An engine with containers that run. */
const engineWith = async (t: Test, ...names: string[]) => {
  const engine = await FakeEngine.start(t)
  for (const name of names) engine.run(name)
  return engine
}

/** The keys that are to stand there for the engine as it is. */
const wanted = (engine: FakeEngine): string[] =>
  [
    'hosts/h1',
    ...[...engine.containers.values()].flatMap(({ Id, name, running }) => [
      `inventory/h1/container/${Id}`,
      ...(running ? [`services/web/h1:${name}:80`] : []),
    ]),
  ].sort()

/** The keys of records that stand there, without the journal and fences. */
const standing = async (etcd: EtcdCluster, root = prefix, ...user: string[]): Promise<string[]> => {
  const text = await etcd.ctl(...user, 'get', '--prefix', '--keys-only', root)
  const keys = text.split('\n').flatMap((line) => (line.startsWith(root) ? [line.slice(root.length)] : []))
  return keys.filter((key) => !/^(fences|events)\//.test(key)).sort()
}

/** Waits until the keys are those of the engine. */
const agrees = async (
  t: Test,
  of: { etcd: EtcdCluster; engine: FakeEngine; sidecar: SidecarProcess; root?: string; user?: string[] },
  ms: number,
  what: string,
): Promise<void> => {
  const { etcd, engine, sidecar, root = prefix, user = [] } = of
  const read = () => standing(etcd, root, ...user).catch((error: unknown) => [String(error)])
  const same = async () => (String(await read()) === String(wanted(engine)) ? true : undefined)
  if (!(await until(same, { ms }))) t.comment(sidecar.log)
  t.strictSame(await read(), wanted(engine), what)
}

/** Waits until the sidecar misses something like `what`; undefined: nothing any more. */
const misses = async (t: Test, sidecar: SidecarProcess, what: RegExp | undefined, ms = 10_000) => {
  let missing: string[] = []
  const found = await until(
    async () => {
      missing = await sidecar.missing()
      return (what ? missing.some((one) => what.test(one)) : missing.length === 0) || undefined
    },
    { ms },
  )
  if (!found) t.comment(sidecar.log)
  t.ok(found, `/readyz: ${what ?? 'ready'}; it says ${JSON.stringify(missing)}`)
}

const record = async (etcd: EtcdCluster, key: string): Promise<string> =>
  (await etcd.ctl('get', '--print-value-only', prefix + key)).trim()

/** Lease of a key, in the form that etcdctl takes. */
const leaseOf = async (etcd: EtcdCluster, key: string): Promise<string> => {
  const entry = await etcd.ctl('get', '--write-out=json', prefix + key)
  return BigInt(/"lease":(\d+)/.exec(entry)?.[1] ?? 0).toString(16)
}

const lines = (sidecar: SidecarProcess): { msg: string; reason?: string }[] =>
  sidecar.log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))

const folder = async (t: Test) => {
  const path = await mkdtemp(join(tmpdir(), 'ownership-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

t.test('TLS, and a prefix of its own', async (t) => {
  const [etcd, engine] = [await startEtcd(t, { tls: true }), await engineWith(t, 'a')]
  const settings = settingsFor(engine, `${etcd.uri}/sites/one`)
  const trusting = await SidecarProcess.start(t, { ...settings, OPENEBS_STORE_CA: etcd.ca })
  await agrees(t, { etcd, engine, sidecar: trusting, root: '/sites/one/' }, 8000, 'with the CA')
  await misses(t, trusting, undefined)
  t.strictSame(await standing(etcd, prefix), [], 'and nothing elsewhere')
  const doubting = await SidecarProcess.start(t, { ...settings, OPENEBS_HOST: 'h2' })
  await misses(t, doubting, /the TLS connection fails: .*self.signed certificate/)
  const refused = await SidecarProcess.start(t, { ...settings, OPENEBS_STORE_CA: '/nowhere/ca.pem' })
  t.equal(await refused.ended(), 2)
  t.match(refused.log, /OPENEBS_STORE_CA: cannot read \/nowhere\/ca.pem/)
})

t.test('a certificate of its own', async (t) => {
  const authority = await Authority.make(t)
  const parties = {
    server: await authority.issue('etcd', ['127.0.0.1']),
    client: await authority.issue('client'),
  }
  const [etcd, engine] = [await startEtcd(t, { parties }), await engineWith(t, 'a')]
  const { ca, cert, key } = parties.client
  const settings = { ...settingsFor(engine, etcd.uri), OPENEBS_STORE_CA: ca }
  const stranger = await SidecarProcess.start(t, settings)
  await misses(t, stranger, /etcd at .*: the TLS connection fails/)
  t.equal(await stranger.end('SIGTERM'), 0)
  const known = { ...settings, OPENEBS_STORE_CERT: cert, OPENEBS_STORE_KEY: key }
  const sidecar = await SidecarProcess.start(t, known)
  await agrees(t, { etcd, engine, sidecar }, 8000, 'with a certificate')
})

/** What docs/operations.md says that the user of a sidecar needs. */
const grants = [
  ['read', '', '--prefix'],
  ['readwrite', 'hosts/h1'],
  ['readwrite', 'inventory/h1/', '--prefix'],
  ['readwrite', 'services/', '--prefix'],
  ['readwrite', 'vsms/', '--prefix'],
  ['readwrite', 'events/h1/', '--prefix'],
  ['readwrite', 'fences/sidecar%2Fh1'],
] as const

t.test('a user who may do no more than needed, and tokens that expire', async (t) => {
  const etcd = await startEtcd(t, { args: ['--bcrypt-cost', '4', '--auth-token-ttl', '1'] })
  const engine = await engineWith(t, 'a')
  for (const user of ['root:r', 'h1:secret', 'poor:p']) await etcd.ctl('user', 'add', user)
  await etcd.ctl('user', 'grant-role', 'root', 'root')
  for (const role of ['h1', 'poor']) {
    await etcd.ctl('role', 'add', role)
    await etcd.ctl('user', 'grant-role', role, role)
  }
  for (const [kind, key, ...more] of grants)
    await etcd.ctl('role', 'grant-permission', 'h1', kind, prefix + key, ...more)
  await etcd.ctl('auth', 'enable')
  const file = join(await folder(t), 'password')
  await writeFile(file, 'secret\n')
  const settings = { ...settingsFor(engine, etcd.uri), OPENEBS_STORE_PASSWORD_FILE: file }
  const sidecar = await SidecarProcess.start(t, { ...settings, OPENEBS_STORE_USER: 'h1' })
  const of = { etcd, engine, sidecar, user: ['--user', 'root:r'] }
  await agrees(t, of, 8000, 'at the start')
  for (const name of ['b', 'c', 'd']) {
    await pause(1500) // no call comes in between: the token expires
    engine.run(name)
    await agrees(t, of, 2000, `${name}, after its token has expired`)
  }
  await etcd.member.kill()
  engine.kill('a')
  await etcd.member.start()
  await agrees(t, of, 5000, 'after a restart of etcd, which forgets all tokens')
  await misses(t, sidecar, undefined)
  t.notMatch(sidecar.log, /secret/, 'the password is not in the log')
  t.notMatch(sidecar.log, /not permit/, 'it lacks nothing')
  const [wrong, poor] = await Promise.all([
    SidecarProcess.start(t, { ...settings, OPENEBS_STORE_USER: 'root' }),
    writeFile(join(file, '../poor'), 'p').then(() =>
      SidecarProcess.start(t, {
        ...settings,
        OPENEBS_STORE_USER: 'poor',
        OPENEBS_STORE_PASSWORD_FILE: join(file, '../poor'),
      }),
    ),
  ])
  await misses(t, wrong, /does not accept the user or its password/)
  await misses(t, poor, /does not permit this to user poor/)
})

t.test('three endpoints, of which one is dead', async (t) => {
  const [etcd, engine] = [await startEtcd(t, { members: 3 }), await engineWith(t, 'a')]
  await etcd.members[2]?.kill()
  const sidecar = await SidecarProcess.start(t, settingsFor(engine, etcd.uri))
  await agrees(t, { etcd, engine, sidecar }, 8000, 'at the start')
  await etcd.members[2]?.start()
  const leader = await etcd.leader()
  await leader.kill()
  engine.run('b')
  await agrees(t, { etcd, engine, sidecar }, 5000, 'without the leader')
  await misses(t, sidecar, undefined)
})

t.test('etcd without space', async (t) => {
  const etcd = await startEtcd(t, { args: ['--quota-backend-bytes', String(4 << 20)] })
  const engine = await engineWith(t, 'a')
  const sidecar = await SidecarProcess.start(t, settingsFor(engine, etcd.uri))
  const of = { etcd, engine, sidecar }
  await agrees(t, of, 8000, 'at the start')
  const fill = async () => {
    for (let n = 0; n < 100; n++) await etcd.ctl('put', '/filling', 'x'.repeat(100_000))
  }
  await t.rejects(fill(), /database space exceeded/, 'the fault bites')
  engine.run('b')
  engine.kill('a')
  await misses(t, sidecar, /behind by \d+ s: .*used up its space quota: compact and defragment/)
  t.match(JSON.parse(await sidecar.get('/v1/hosts')), { records: [{ key: 'hosts/h1' }] }, 'reads go on')
  await pause(6000) // longer than the TTL: the lease is still renewed
  t.ok((await standing(etcd)).includes('hosts/h1'), 'what stood there stands')
  await etcd.compact()
  await etcd.ctl('defrag')
  await etcd.ctl('alarm', 'disarm')
  await agrees(t, of, 5000, 'what happened meanwhile is written')
  const told = lines(sidecar).filter(({ reason = '' }) => reason.includes('space quota'))
  t.equal(told.filter(({ msg }) => msg === 'cannot publish: trying on').length, 1, 'it was told once')
})

t.test("another hand's changes are put right, and told once", async (t) => {
  const [etcd, engine] = [await startEtcd(t), await engineWith(t, 'a', 'b')]
  const proxy = await startProxy(t, etcd.member.address)
  const sidecar = await SidecarProcess.start(t, {
    ...settingsFor(engine, `etcd://${proxy.address}`),
    OPENEBS_RESYNC: '5',
  })
  const of = { etcd, engine, sidecar }
  await agrees(t, of, 8000, 'at the start')
  await misses(t, sidecar, undefined)
  const [a, b] = [...engine.containers.keys()].map((id) => `${prefix}inventory/h1/container/${id}`)
  if (!a || !b) throw new Error('the engine has two containers')
  const right = await etcd.ctl('get', '--print-value-only', a)
  const atOnce = 1500 // with the time that etcdctl takes
  await etcd.ctl('del', a)
  await agrees(t, of, atOnce, 'a deletion')
  await etcd.ctl('put', b, 'by another hand')
  const healed = async () => (await etcd.ctl('get', '--print-value-only', b)) !== 'by another hand\n'
  t.ok(await until(async () => (await healed()) || undefined, { ms: atOnce }), 'an edit')
  await etcd.ctl('put', `${prefix}inventory/h1/container/ghost`, right)
  await agrees(t, of, atOnce, 'a record of nothing')
  await etcd.ctl('del', `${prefix}hosts/h1`)
  await agrees(t, of, atOnce, 'the host itself')
  await etcd.ctl('del', '--prefix', `${prefix}services/`)
  await agrees(t, of, 9000, 'in services/ at a resync')

  proxy.refuse()
  await etcd.ctl('del', a)
  await etcd.compact()
  proxy.open()
  await agrees(t, of, 5000, 'a deletion that the watch cannot see any more')
  await misses(t, sidecar, undefined)
  await etcd.ctl('del', b)
  await agrees(t, of, atOnce, 'and it watches again')

  const conflicts = /^openebs_registry_conflicts_total\{kind="(\w+)"\} (\d+)$/gm
  const counted = async () => {
    const metrics = await sidecar.get('/metrics')
    return Object.fromEntries(
      [...metrics.matchAll(conflicts)].map(([, kind, count]) => [kind, Number(count)]),
    )
  }
  // a repair is counted when all is as it should be: that can be a resync later than its key is right
  const five = async () => ((await counted()).inventory === 5 ? true : undefined)
  t.ok(await until(five, { ms: 7000 }), 'each of the five')
  t.strictSame(await counted(), { inventory: 5, services: 2, hosts: 1 })
  const told = lines(sidecar).filter(({ msg }) => msg === 'put right what another hand had changed')
  t.equal(told.length, 1)

  await etcd.ctl('lease', 'revoke', await leaseOf(etcd, 'hosts/h1'))
  await agrees(t, of, 5000, 'a lease that somebody revoked')
  const metrics = await sidecar.get('/metrics')
  t.match(metrics, 'kind="inventory"} 5\n', 'which is no conflict')
  t.match(metrics, /^openebs_store_call_seconds_count\{call="keepalive"\} [1-9]/m)
  t.match(metrics, /^openebs_lease_age_seconds \d+(\.\d+)?$/m)
})

t.test('a host that another run has taken is left to it', async (t) => {
  const [etcd, engine] = [await startEtcd(t), await engineWith(t, 'a')]
  const sidecar = await SidecarProcess.start(t, settingsFor(engine, etcd.uri))
  await agrees(t, { etcd, engine, sidecar }, 8000, 'at the start')
  const other = JSON.stringify({
    ...JSON.parse(await record(etcd, 'hosts/h1')),
    instance: 'another-run',
    seat: 'elsewhere',
  })
  await etcd.ctl('put', `${prefix}hosts/h1`, other)
  await misses(t, sidecar, /host h1 is held by another run \(another-run/)
  t.equal(await record(etcd, 'hosts/h1'), other, 'it does not fight')
  engine.run('b')
  await pause(1000)
  t.notOk((await standing(etcd)).includes('services/web/h1:b:80'), 'and writes nothing')
  await etcd.ctl('del', `${prefix}hosts/h1`)
  await agrees(t, { etcd, engine, sidecar }, 3000, 'it goes on when the other run has gone')
})

t.test('a successor takes over without a moment of absence', async (t) => {
  const [etcd, engine] = [await startEtcd(t), await engineWith(t, 'a', 'b', 'c')]
  const keeping = { ...settingsFor(engine, etcd.uri), OPENEBS_ON_EXIT: 'keep' }
  const first = await SidecarProcess.start(t, keeping)
  await agrees(t, { etcd, engine, sidecar: first }, 8000, 'the first')
  await misses(t, first, undefined)
  const watch = etcd.ctlProcess('watch', '--prefix', prefix)
  t.teardown(() => watch.kill('SIGKILL'))
  let seen = ''
  watch.stdout?.on('data', (chunk: Buffer) => (seen += chunk))
  const watches = async () => {
    await etcd.ctl('put', `${prefix}begin`, '')
    return seen.includes('begin') || undefined
  }
  t.ok(await until(watches, { ms: 10_000 }), 'the watch sees')

  t.equal(await first.end('SIGTERM'), 0)
  t.strictSame(
    (await standing(etcd)).filter((key) => key !== 'begin'),
    wanted(engine),
    'all is there',
  )
  t.match(JSON.parse(await record(etcd, 'hosts/h1')), { left: true })
  const old = await leaseOf(etcd, 'hosts/h1')
  const remaining = /remaining\((\d+)s\)/.exec(await etcd.ctl('lease', 'timetolive', old))?.[1]
  t.ok(Number(remaining) >= 3, `for a TTL of 5 s from its end on: ${remaining}`)
  engine.kill('b')
  await etcd.ctl('del', `${prefix}begin`)

  const second = await SidecarProcess.start(t, keeping)
  await second.ready()
  await agrees(t, { etcd, engine, sidecar: second }, 1000, 'what ended meanwhile is gone')
  t.notMatch(second.log, /held by another run/, 'it does not wait')
  await misses(t, second, undefined)
  const leases = new Set(await Promise.all(wanted(engine).map((key) => leaseOf(etcd, key))))
  t.equal(leases.size, 1)
  t.notOk(leases.has(old), 'all is on its own lease')
  const expired = async () => /already expired/.test(await etcd.ctl('lease', 'timetolive', old)) || undefined
  t.ok(await until(expired, { ms: 9000, every: 200 }), 'the first lease ends')
  t.strictSame(await standing(etcd), wanted(engine), 'and takes nothing along')
  const deleted = [...seen.matchAll(/^DELETE\n(.*)$/gm)].map(([, key]) => key?.slice(prefix.length))
  t.strictSame(deleted.sort(), ['begin', 'services/web/h1:b:80'], 'nothing that stays was ever absent')
  watch.kill('SIGKILL')
  await once(watch, 'exit')
})

t.test('an outage is told in a few lines', async (t) => {
  const [etcd, engine] = [await startEtcd(t), await engineWith(t, 'a')]
  const sidecar = await SidecarProcess.start(t, settingsFor(engine, etcd.uri))
  await agrees(t, { etcd, engine, sidecar }, 8000, 'at the start')
  await misses(t, sidecar, undefined)
  const before = lines(sidecar).length
  await etcd.member.kill()
  const end = performance.now() + 12_000
  for (let n = 0; performance.now() < end; n++) {
    engine.run(`meanwhile-${n}`)
    await pause(500)
  }
  await misses(t, sidecar, /behind by \d+ s: etcd at .* does not answer/)
  await etcd.member.start()
  await agrees(t, { etcd, engine, sidecar }, 5000, 'what happened meanwhile is written')
  await misses(t, sidecar, undefined)
  const told = lines(sidecar).slice(before)
  t.ok(told.length <= 6, `it says ${told.map(({ msg }) => msg).join('; ')}`)
})
