import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { isDeepStrictEqual, promisify } from 'node:util'
import t, { type Test } from 'tap'
import { until } from '../../process/backoff.ts'
import type { Change, Store } from '../../registry/store.ts'
import { openEtcd } from '../../registry/stores/etcd.ts'
import { startEtcd } from '../support/etcd.ts'
import { EventReader } from '../support/event-reader.ts'
import { FakeEngine } from '../support/fake-engine.ts'
import * as put from '../support/records.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'

/**
 * The command line and the sidecar's stream of changes as their users have them, on a real etcd. What a host runs comes
 * from an engine that is played; records of other hosts are written by the test itself.
 */
const program = join(import.meta.dirname, '../../cli/registrator.sh')
const etcd = await startEtcd(t)
const store = await openEtcd({ uri: etcd.uri })
t.teardown(() => store.close())

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const env = { PATH: process.env.PATH, OPENEBS_STORE: etcd.uri }

const registrator = async (
  args: readonly string[],
  variables: Record<string, string> = {},
): Promise<Ended> => {
  const running = promisify(execFile)(program, args, { env: { ...env, ...variables } })
  return running.then(
    (out) => ({ code: 0, ...out }),
    (error: Ended) => error,
  )
}

const apply = async (to: Store, ...changes: readonly Change[]): Promise<void> => {
  for (const change of changes) await to.apply([change])
}

/** A command that goes on until it is told to end. */
class Following {
  stdout = ''
  stderr = ''
  readonly #process: ChildProcess

  constructor(t: Test, ...args: string[]) {
    this.#process = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], { env })
    this.#process.stdout?.on('data', (chunk: Buffer) => (this.stdout += chunk))
    this.#process.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk))
    t.teardown(() => this.#process.kill('SIGKILL'))
  }

  get lines(): string[] {
    return this.stdout.split('\n').filter((line) => line !== '')
  }

  wait(found: (of: Following) => boolean, ms = 15_000): Promise<true | undefined> {
    return until(() => found(this) || undefined, { ms, every: 10 })
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.#process.exitCode === null) {
      const exit = once(this.#process, 'exit')
      this.#process.kill(signal)
      await exit
    }
    return this.#process.exitCode
  }
}

t.test('an empty registry, and wrong arguments', async (t) => {
  t.match(await registrator(['ls']), { code: 0, stdout: /^no hosts: is a sidecar running/ })
  t.match(await registrator(['ls', 'services']), { code: 0, stdout: 'no services\n' })
  t.match(await registrator(['events']), { code: 0, stdout: 'no events\n' })
  t.match(await registrator(['get', 'hosts/h1']), { code: 3, stderr: /nothing at hosts\/h1/ })
  t.match(await registrator(['vsm', 'show', 'data']), { code: 3, stderr: /no VSM data/ })
  const wrong = [
    [['lss'], /unknown command 'lss'[\s\S]*Did you mean ls/],
    [['ls', '--jsn'], /unknown option '--jsn'/],
    [['get'], /missing required argument 'key'/],
    [['ls', 'sevices'], /no collection "sevices"/],
    [['ls', '--store', 'http://x'], /--store: expected etcd:/],
    [['ls', '--store-user', 'me'], /OPENEBS_STORE_USER and OPENEBS_STORE_PASSWORD_FILE go together/],
    [['watch', '--from', 'now'], /--from: expected a revision/],
    [['audit', '--verdict', 'maybe'], /--verdict: expected one of allow, deny, would-deny/],
    [['run', '--ttl', '1'], /--ttl: expected a number of seconds from 5 to 3600, not "1"/],
    [['run', '--tll', '1'], /Unknown option '--tll'[\s\S]*--ttl/],
  ] as const
  const ended = await Promise.all(wrong.map(([args]) => registrator(args)))
  for (const [index, [args, stderr]] of wrong.entries())
    t.match(ended[index], { code: 2, stdout: '', stderr }, args.join(' '))
  t.match(await registrator(['ls'], { OPENEBS_STORE: 'etcd://127.0.0.1:1' }), {
    code: 4,
    stderr: /^registrator: etcd at http:\/\/127\.0\.0\.1:1.* is away/,
  })
  t.match(await registrator(['--help']), { code: 0, stdout: /run +Register this host[\s\S]*Exit status/ })
  t.match(await registrator(['events', '--help']), {
    code: 0,
    stdout: /Examples:\n {2}registrator events --since 10m/,
  })
  t.match(await registrator(['run', '--help']), { code: 0, stdout: /--on-exit, OPENEBS_ON_EXIT/ })
})

t.test('what is there is shown', async (t) => {
  await apply(
    store,
    put.hostPut('far'),
    put.alivePut('far'),
    put.containerPut('far', 'web-1'),
    put.servicePut('web', 'far', { health: 'healthy' }),
    put.vsmPut('data', 'far', { health: 'unhealthy', reason: 'no answer' }),
    put.volumePut('data', 'far'),
    put.targetPut('data', 'far'),
    put.gapPut('far', '2026-01-01T10:00:00.000Z'),
    put.eventPut('far', '2026-01-01T10:00:01.000Z'),
    put.auditPut('far', '2026-01-01T10:00:02.000Z', {
      verdict: 'deny',
      status: 0,
      rule: 'operator',
      user: 'ops',
    }),
    put.raw('secrets/data', '{"password":"geheim"}'),
  )
  t.match(await registrator(['ls', '--host', 'far']), {
    code: 0,
    stdout: 'far  10.0.0.1  Docker 28.5.1  plugin\n  volumes\n    data  1 GiB ext4  ready  not attached\n',
  })
  const { stdout } = await registrator(['ls', 'services'])
  t.match(stdout, /^SERVICE +ENDPOINTS .*\nweb +10\.0\.0\.1:8080\/tcp +web-1:80 +far +healthy +-\n$/)
  t.notMatch(stdout, '\u001b', 'no colours where there is no terminal')
  t.match(JSON.parse((await registrator(['ls', 'vsms', '--json'])).stdout), {
    records: [{ key: 'vsms/data/far', record: { health: 'unhealthy' } }],
  })
  t.match(await registrator(['vsm', 'ls']), { stdout: /unhealthy: no answer/ })
  t.match(await registrator(['vsm', 'show', 'data']), {
    code: 0,
    stdout: /^data on far\n[\s\S]*LUN 1: 1 GiB/,
  })
  t.match(await registrator(['events']), { stdout: /GAP: .*\n.*container +start +web-1/ })
  const call = /^\S+ 10:00:02\.000 +far +ops +deny +start +container web-1 +- +- +operator$/m
  t.match(await registrator(['audit', '--user', 'ops', '--verdict', 'deny', '--since', '2026-01-01']), {
    ...{ code: 0, stdout: call },
  })
  t.match(await registrator(['audit', '--container', 'web-1', '--events', '--host', 'far', '--json']), {
    stdout: /"kind":"gap".*\n.*"type":"container","action":"start".*\n.*"verdict":"deny".*\n$/,
  })
  t.match(await registrator(['audit', '--action', 'stop', '--volume', 'x']), {
    stdout: /^no calls .*1 others/,
  })
  t.match(await registrator(['get', 'secrets/data']), { code: 1, stdout: '' })
  const doctor = await registrator(['doctor'])
  t.equal(doctor.code, 1)
  t.match(doctor.stdout, /ok +store etcd at http.*\n[\s\S]*wrong +host far: its record is held by no lease/)
  t.match(doctor.stdout, /wrong +VSM data on far: unhealthy: no answer\n +-> docker logs vsm-data on far/)
  t.match(doctor.stdout, /wrong +plugin far: the plugin of host far does not answer .* within 10 s/)
  const { healthy, findings } = JSON.parse((await registrator(['doctor', '--json', '--host', 'gone'])).stdout)
  t.notOk(healthy)
  t.ok(findings.length > 5)
})

t.test('colours are for terminals, and a reader that has enough ends it quietly', async (t) => {
  const terminal = (variables: Record<string, string>, command = 'ls services') =>
    promisify(execFile)('script', ['-qec', `${program} ${command}`, '/dev/null'], {
      env: { ...env, TERM: 'xterm', ...variables },
    })
  t.match((await terminal({})).stdout, '\u001b[32mhealthy')
  t.match((await terminal({}, 'audit')).stdout, '\u001b[31m2026-01-01 10:00:02.000  far')
  t.notMatch((await terminal({ NO_COLOR: '1' })).stdout, '\u001b[')
  const many = Array.from({ length: 3000 }, (_, n) => put.raw(`policies/${n}`, 'x'.repeat(200)))
  for (let n = 0; n < many.length; n += 100) await store.apply(many.slice(n, n + 100))
  const pipe = `{ ${program} get policies/; echo "status $?" >&2; } | head -n 1`
  const piped = await promisify(execFile)('sh', ['-c', pipe], { env })
  t.strictSame(piped, { stdout: 'policies/0\n', stderr: 'status 0\n' })
})

t.test('credentials: a certificate of its own, a user, a password in a file', async (t) => {
  const guarded = await startEtcd(t, { tls: true })
  await guarded.ctl('user', 'add', 'root:geheim')
  await guarded.ctl('user', 'grant-role', 'root', 'root')
  await guarded.ctl('auth', 'enable')
  const folder = t.testdir({ password: 'geheim\n', wrong: 'falsch\n' })
  const tls = ['--store', guarded.uri, '--store-ca', guarded.ca]
  const password = (file: string) => ['--store-user', 'root', '--store-password-file', join(folder, file)]
  t.match(await registrator(['ls', ...tls, ...password('password')]), { code: 0, stdout: /^no hosts/ })
  t.match(
    await registrator(['ls'], {
      OPENEBS_STORE: guarded.uri,
      OPENEBS_STORE_CA: guarded.ca,
      OPENEBS_STORE_USER: 'root',
      OPENEBS_STORE_PASSWORD_FILE: join(folder, 'password'),
    }),
    { code: 0, stdout: /^no hosts/ },
    'from the environment',
  )
  const wrong = await registrator(['ls', ...tls, ...password('wrong')])
  t.match(wrong, { code: 1, stderr: /does not accept the user or its password/ })
  t.notMatch(wrong.stderr, /falsch/)
  t.match(await registrator(['ls', ...tls]), { code: 1, stderr: /asks for a user and password/ })
  t.match(await registrator(['ls', '--store', guarded.uri]), { code: 4, stderr: /TLS connection fails/ })
  t.match(await registrator(['ls', ...tls, ...password('missing')]), {
    code: 2,
    stderr: /PASSWORD_FILE.*missing/,
  })
})

t.test('the doctor names a member that is down, and an etcd that is full', async (t) => {
  const cluster = await startEtcd(t, { members: 3 })
  const [first, , last] = cluster.members
  await last?.kill()
  const down = await registrator(['doctor', '--store', cluster.uri])
  t.equal(down.code, 1)
  t.match(down.stdout, new RegExp(`^ok +member ${first?.address}: answers`, 'm'))
  t.match(
    down.stdout,
    new RegExp(`^wrong +member ${last?.address}: .*ECONNREFUSED.*\\n +-> see that etcd`, 'm'),
  )
  const small = await startEtcd(t, { args: ['--quota-backend-bytes', '500000'] })
  const filling = await openEtcd({ uri: small.uri })
  t.teardown(() => filling.close())
  const fill = async () => {
    for (let n = 0; n < 300; n++) await apply(filling, put.raw(`large/${n}`, 'x'.repeat(100_000)))
  }
  await t.rejects(fill(), { message: /space quota/ })
  const full = await registrator(['doctor', '--store', small.uri])
  t.equal(full.code, 1)
  t.match(full.stdout, /^wrong +writes leases: .*space quota.*\n +-> etcdctl alarm list/m)
})

t.test('changes are followed over an outage of etcd and a lost history', async (t) => {
  const watching = new Following(t, 'watch', 'services/')
  const journal = new Following(t, 'events', '--host', 'far', '--follow', '--json')
  t.ok(await journal.wait(({ lines }) => lines.length === 2), 'what is there first')
  // a watch that has not begun hears nothing: written until it does
  let n = 0
  const heard = async () => {
    await store.apply([put.servicePut('probe', 'far', { port: ++n })])
    return watching.lines.length > 0 || undefined
  }
  t.ok(await until(heard, { ms: 15_000, every: 100 }))
  await etcd.member.kill()
  t.ok(
    await watching.wait(({ stderr }) => /is away|does not answer.*: waiting for it/.test(stderr)),
    'it says so',
  )
  await etcd.member.start()
  await apply(store, put.servicePut('after', 'far'), put.removal('services/after/far:after-1:80'))
  await apply(store, put.eventPut('far', '2026-01-01T10:00:02.000Z', { action: 'die' }))
  t.ok(await watching.wait(({ stdout }) => /delete {2}services\/after/.test(stdout)))
  t.ok(await watching.wait(({ stderr }) => /is back/.test(stderr)))
  t.match(watching.lines.slice(-2), [
    /put {5}services\/after\/far:after-1:80 {2}10\./,
    /delete {2}services\/after/,
  ])
  t.ok(await journal.wait(({ lines }) => lines.length === 3))
  t.match(JSON.parse(journal.lines[2] ?? ''), { record: { action: 'die' } }, 'each entry once')
  t.equal(await watching.end('SIGINT'), 0, 'Ctrl-C is a good end')
  t.equal(await journal.end('SIGTERM'), 0)

  const { revision } = await store.read('hosts/')
  await apply(store, put.servicePut('one', 'far'), put.servicePut('two', 'far'))
  const from = new Following(t, 'watch', 'services/', '--json', '--from', revision)
  t.ok(await from.wait(({ lines }) => lines.length === 2))
  t.match(
    from.lines.map((line) => JSON.parse(line).key),
    [/one/, /two/],
  )
  await from.end('SIGINT')
  await etcd.compact()
  const lost = new Following(t, 'watch', 'services/', '--json', '--from', revision)
  t.ok(await lost.wait(({ lines }) => lines.length > 2))
  t.match(JSON.parse(lost.lines[0] ?? ''), { kind: 'reset' })
  t.match(lost.stderr, /changes may be missing/)
})

/** Numbers of the records that the test itself writes, as a reader heard them. */
const numbers = (reader: EventReader): number[] =>
  reader.messages.flatMap(({ event, data }) => {
    const { attributes } = (data.record ?? {}) as { attributes?: { n?: string } }
    return event === 'put' && attributes?.n !== undefined ? [Number(attributes.n)] : []
  })

/** Waits until a reader knows exactly what etcd has. */
const comesToAgree = (reader: EventReader, prefix = 'services/') =>
  until(
    async () => {
      const { entries } = await store.read(prefix)
      const actual = new Map(entries.map(({ key, value }) => [key, JSON.parse(value)]))
      return isDeepStrictEqual(reader.registry, actual) || undefined
    },
    { ms: 15_000, every: 20 },
  )

t.test('the stream of a sidecar: nothing lost and nothing twice, whatever happens', async (t) => {
  const engine = await FakeEngine.start(t)
  const settings: Record<string, string> = {
    OPENEBS_STORE: etcd.uri,
    OPENEBS_HOST: 'h1',
    OPENEBS_ADDRESS: '198.51.100.7',
    DOCKER_HOST: `unix://${engine.socket}`,
  }
  let sidecar = await SidecarProcess.start(t, settings)
  settings.OPENEBS_LISTEN = new URL(sidecar.url).host
  const ready = () =>
    until(async () => ((await sidecar.missing()).length === 0 ? true : undefined), { ms: 15_000 })
  t.ok(await ready(), sidecar.log)
  engine.run('c1')
  const written = (n: number) => put.servicePut('counted', 'far', { attributes: { n: String(n) } })
  const url = `${sidecar.url}/v1/watch?prefix=services/`
  const reader = await EventReader.open(t, url)
  t.ok(await reader.wait((one) => one.count('ready') === 1))
  t.ok(await reader.wait((one) => one.registry.has('services/web/h1:c1:80')), 'what the sidecar writes comes')
  await apply(store, written(0))

  await t.test('the sidecar is killed and comes back', async (t) => {
    await sidecar.end('SIGKILL')
    t.ok(await reader.wait((one) => one.ended === 'cut'))
    await apply(store, written(1), written(2))
    sidecar = await SidecarProcess.start(t.parent as Test, settings)
    t.ok(await ready())
    await reader.connect()
    await apply(store, written(3))
    t.ok(await comesToAgree(reader))
    t.strictSame(numbers(reader), [0, 1, 2, 3])
    t.equal(reader.count('reset'), 0)
  })

  await t.test('etcd is away', async (t) => {
    await etcd.member.kill()
    t.match((await fetch(`${sidecar.url}/v1/services`)).status, 503)
    const early = await EventReader.open(t, url)
    t.ok(
      await early.wait(({ comments }) => comments.some((one) => /waiting: /.test(one))),
      'it says what it waits for',
    )
    await etcd.member.start()
    await apply(store, written(4))
    t.ok(await comesToAgree(reader))
    t.ok(await comesToAgree(early), 'who came meanwhile as well')
    t.strictSame(numbers(reader), [0, 1, 2, 3, 4])
    t.equal(reader.count('reset'), 0)
  })

  await t.test('the history is compacted while a reader is away', async (t) => {
    // of a prefix that nobody else follows: else what is kept for the others serves this one too
    const prefix = 'services/counted/'
    const late = await EventReader.open(t, `${sidecar.url}/v1/watch?prefix=${prefix}`)
    t.ok(await late.wait((one) => one.count('ready') === 1))
    late.close()
    t.ok(await late.wait((one) => one.ended !== undefined))
    await apply(store, written(5), put.removal('services/counted/far:counted-1:80'), written(6))
    await etcd.compact()
    await late.connect()
    t.ok(await late.wait((one) => one.count('ready') === 2))
    t.equal(late.count('reset'), 1)
    t.ok(await comesToAgree(late, prefix))
    await apply(store, written(7))
    t.ok(await comesToAgree(late, prefix))
    t.strictSame(numbers(late), [4, 6, 7])
    t.ok(await comesToAgree(reader), 'who was there has noticed nothing')
    t.strictSame(numbers(reader), [0, 1, 2, 3, 4, 5, 6, 7])
    t.equal(reader.count('reset'), 0)
  })

  await t.test('a reader is too slow', async (t) => {
    const slow = await EventReader.open(t, url)
    t.ok(await slow.wait((one) => one.count('ready') === 1))
    slow.pause()
    // more than is kept for it, and than connections take up by themselves
    const large = Array.from({ length: 30 }, (_, n) =>
      put.servicePut('large', 'far', { attributes: { n: String(100 + n), pad: 'x'.repeat(1_000_000) } }),
    )
    for (const change of large) {
      await apply(store, change)
      const key = JSON.parse(change.kind === 'put' ? change.value : '').attributes.n
      t.ok(await reader.wait((one) => numbers(one).at(-1) === Number(key)), `the other hears ${key}`)
    }
    slow.resume()
    t.ok(await slow.wait((one) => one.ended !== undefined), 'dropped')
    t.ok(numbers(slow).length < 31, 'before it had all')
    for (let tries = 0; tries < 30 && numbers(slow).length < 31; tries++) {
      await slow.connect()
      await slow.wait((one) => one.ended !== undefined || numbers(one).length === 31)
    }
    t.strictSame(numbers(slow), [7, ...Array.from({ length: 30 }, (_, n) => 100 + n)])
    t.ok(await comesToAgree(slow), 'it has lost nothing')
  })

  await t.test('the sidecar ends: so do its streams', async (t) => {
    t.equal(await sidecar.end('SIGTERM'), 0, sidecar.log)
    t.ok(await reader.wait((one) => one.ended === 'whole'))
  })
})
