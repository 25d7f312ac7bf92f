import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { SyntheticEngine } from '../../bench/support/synthetic-engine.ts'
import { pause, until } from '../../process/backoff.ts'
import { Authority } from '../support/certificates.ts'
import { EngineHost } from '../support/engine-host.ts'
import { startEtcd } from '../support/etcd.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'

/**
 * Where gliderlabs/registrator fails, one by one, under its own command line: a real Engine, a real etcd, and the layout that it
 * wrote. The Engine with a thousand containers is synthetic.
 */
if (process.getuid?.() !== 0) {
  t.plan(0, 'an engine of its own needs root')
  process.exit()
}

t.test("the peer's failures", { timeout: 600_000 }, async (t) => {
  const engine = await EngineHost.prepare(t)
  const { docker } = engine
  await engine.start()
  const etcd = await startEtcd(t)
  const uri = `${etcd.uri}/services`
  await engine.importImage('web:1', ['/bin/sleep', '/bin/sh'], 'EXPOSE 80', 'CMD ["/bin/sleep","900"]')
  const host = (await docker('info', '--format', '{{.Name}}')).trim()
  const settings = { DOCKER_HOST: engine.endpoint, OPENEBS_HOST: host }
  const begin = (t: Test, args: readonly string[], more: Record<string, string> = {}) =>
    SidecarProcess.start(t, { ...settings, ...more }, args)
  /** The part of each key after the prefix -> ip:port. */
  const standing = async (prefix = '/services/'): Promise<Record<string, string>> => {
    const printed = (await etcd.ctl('get', '--prefix', prefix)).split('\n').filter((line) => line !== '')
    return Object.fromEntries(
      printed.flatMap((line, at) =>
        at % 2 === 0 ? [[line.slice(prefix.length), printed[at + 1] ?? '']] : [],
      ),
    )
  }
  const stands = async (t: Test, wanted: Record<string, string>, what: string, ms = 20_000) => {
    let last: Record<string, string> = {}
    const text = (of: object) => JSON.stringify(Object.entries(of).sort())
    await until(
      async () => {
        last = await standing().catch(() => ({ 'etcd does not answer': '' }))
        return text(last) === text(wanted) ? true : undefined
      },
      { ms },
    )
    t.strictSame(last, wanted, what)
  }
  const key = (name: string, service = 'web') => `${service}/${host}:${name}:80`
  const run = (name: string, ...args: string[]) => docker('run', '-d', '--name', name, ...args, 'web:1')
  const web = (names: readonly string[], from = 20_000) =>
    Object.fromEntries(names.map((name, at) => [key(name), `10.9.9.9:${from + at}`]))
  const runAll = async (names: readonly string[], from = 20_000) => {
    for (let at = 0; at < names.length; at += 4)
      await Promise.all(
        names.slice(at, at + 4).map((name, index) => run(name, '-p', `${from + at + index}:80`)),
      )
  }
  const names = (prefix: string, count: number) => Array.from({ length: count }, (_, at) => `${prefix}${at}`)

  await t.test('etcd is down at the start: it waits and says so', async (t) => {
    await etcd.member.kill()
    const sidecar = await begin(t, ['-ip', '10.9.9.9', uri])
    await run('c1', '-p', '18080:80')
    const said = await until(async () => (await sidecar.missing()).find((one) => /behind by/.test(one)), {
      ms: 15_000,
    })
    t.match(said, /registry: etcd at http.*behind by/)
    await etcd.member.start()
    await stands(t, { [key('c1')]: '10.9.9.9:18080' }, 'and goes on when it comes')

    await t.test('etcd is down when a container ends: nothing stays', async (t) => {
      await etcd.member.kill()
      await docker('rm', '-f', 'c1')
      await pause(500)
      await etcd.member.start()
      await stands(t, {}, 'converged')
    })

    await t.test('etcd hangs: events are read on, and it catches up', async (t) => {
      etcd.member.pause()
      await runAll(names('hung', 8))
      await docker('rm', '-f', 'hung0', 'hung1')
      etcd.member.resume()
      const wanted = Object.entries(web(names('hung', 8))).slice(2)
      await stands(t, Object.fromEntries(wanted), 'all of it')
      await docker('rm', '-f', ...names('hung', 8).slice(2))
      await stands(t, {}, 'and nothing')
    })

    await t.test('the daemon restarts, and dies', async (t) => {
      await run('c1', '-p', '18080:80', '--restart', 'always')
      await stands(t, { [key('c1')]: '10.9.9.9:18080' }, 'there')
      await engine.halt('TERM')
      await engine.start()
      await stands(t, { [key('c1')]: '10.9.9.9:18080' }, 'after a restart')
      await engine.halt('KILL')
      await engine.start()
      await docker('rm', '-f', 'c1')
      await stands(t, {}, 'after a crash')
    })

    await t.test('a rename', async (t) => {
      await run('old', '-p', '18080:80')
      await stands(t, { [key('old')]: '10.9.9.9:18080' }, 'there')
      await docker('rename', 'old', 'new')
      await stands(t, { [key('new')]: '10.9.9.9:18080' }, 'the old ID is gone')
    })

    await t.test('a pause', async (t) => {
      await docker('pause', 'new')
      await stands(t, {}, 'a paused container answers nobody')
      await docker('unpause', 'new')
      await stands(t, { [key('new')]: '10.9.9.9:18080' }, 'and again')
      await docker('rm', '-f', 'new')
      await stands(t, {}, 'gone')
    })

    await t.test("docker's health check", async (t) => {
      const check = ['--health-cmd', 'test ! -e /tmp-ill', '--health-interval', '1s', '--health-retries', '1']
      await run('c1', '-p', '18080:80', ...check)
      await stands(t, { [key('c1')]: '10.9.9.9:18080' }, 'there')
      await docker('exec', 'c1', '/bin/sh', '-c', ': >/tmp-ill')
      await stands(t, {}, 'an unhealthy one is withdrawn')
      await docker('rm', '-f', 'c1')
    })

    t.equal(await sidecar.end('SIGTERM'), 0)
  })

  await t.test('forty killed at once, with a TTL that is refreshed', async (t) => {
    const sidecar = await begin(t, ['-ip', '10.9.9.9', '-ttl', '10', '-ttl-refresh', '3', uri])
    await sidecar.ready()
    await runAll(names('k', 40))
    await stands(t, web(names('k', 40)), 'forty')
    await docker('kill', ...names('k', 40))
    await stands(t, {}, 'none stays')
    await pause(4000)
    await stands(t, {}, 'and none is refreshed from memory')
    await docker('rm', '-f', ...names('k', 40))
    t.equal(await sidecar.end('SIGTERM'), 0)
  })

  await t.test('a refresh writes nothing', async (t) => {
    const sidecar = await begin(t, ['-ip', '10.9.9.9', '-ttl', '6', '-ttl-refresh', '1', '-resync', '1', uri])
    await runAll(names('r', 4))
    await stands(t, web(names('r', 4)), 'there')
    const revision = async () =>
      JSON.parse(await etcd.ctl('get', '/x', '-w', 'json')).header.revision as number
    const before = await revision()
    // longer than the TTL, so it was renewed
    await pause(8000)
    t.equal(await revision(), before, 'no write, so no watcher fires')
    await stands(t, web(names('r', 4)), 'and all of it stands')

    await t.test('SIGKILL: gone after the TTL', async (t) => {
      await sidecar.end('SIGKILL')
      await stands(t, {}, 'gone')
    })
    await t.test('SIGTERM keeps for a successor, where that is asked for', async (t) => {
      const args = ['-ip', '10.9.9.9', uri]
      const first = await begin(t, args, { OPENEBS_ON_EXIT: 'keep', OPENEBS_TTL: '6' })
      await stands(t, web(names('r', 4)), 'there')
      t.equal(await first.end('SIGTERM'), 0)
      t.strictSame(await standing(), web(names('r', 4)), 'kept')
      await docker('rm', '-f', 'r0')
      const second = await begin(t, args, { OPENEBS_TTL: '6' })
      const left = Object.fromEntries(Object.entries(web(names('r', 4))).slice(1))
      await stands(t, left, 'the successor removes what is gone')
      await pause(8000)
      await stands(t, left, 'and the rest outlives the first lease')
      t.equal(await second.end('SIGTERM'), 0)
      t.strictSame(await standing(), {}, 'without that all is withdrawn')
      await docker('rm', '-f', 'r1', 'r2', 'r3')
    })
  })

  await t.test('containers that start during the first look', async (t) => {
    await runAll(names('f', 12))
    const sidecar = await begin(t, ['-ip', '10.9.9.9', uri])
    await runAll(names('g', 12), 21_000)
    await stands(t, { ...web(names('f', 12)), ...web(names('g', 12), 21_000) }, 'none is lost')
    await docker('rm', '-f', ...names('f', 12), ...names('g', 12))
    t.equal(await sidecar.end('SIGTERM'), 0)
  })

  await t.test('a SERVICE_ID that two hosts have', async (t) => {
    await run('c1', '-p', '18080:80', '-e', 'SERVICE_ID=one')
    const first = await begin(t, ['-ip', '10.9.9.1', uri], { OPENEBS_HOST: 'a' })
    await stands(t, { 'web/one': '10.9.9.1:18080' }, 'the first one has it')
    const second = await begin(t, ['-ip', '10.9.9.2', uri], { OPENEBS_HOST: 'b' })
    await second.ready()
    const held = until(
      async () => ((await second.get('/readyz')).includes('web/one is held by another') ? true : undefined),
      { ms: 5000 },
    )
    t.ok(await held, 'the second one says that it is held')
    await stands(t, { 'web/one': '10.9.9.1:18080' }, 'and leaves it')
    t.equal(await first.end('SIGTERM'), 0)
    await stands(t, { 'web/one': '10.9.9.2:18080' }, 'until it is free')
    t.equal(await second.end('SIGTERM'), 0)
    await docker('rm', '-f', 'c1')
  })

  await t.test('-internal with several networks', async (t) => {
    for (const network of ['n1', 'n2']) await docker('network', 'create', network)
    await run('multi', '--network', 'n2')
    await docker('network', 'connect', 'n1', 'multi')
    await docker('create', '--name', 'chosen', '--network', 'n1', '--label', 'openebs.network=n2', 'web:1')
    await docker('network', 'connect', 'n2', 'chosen')
    await docker('start', 'chosen')
    const ip = async (name: string, network: string) =>
      (
        await docker('inspect', '-f', `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`, name)
      ).trim()
    const sidecar = await begin(t, ['-internal', uri])
    const wanted = {
      [key('multi')]: `${await ip('multi', 'n1')}:80`,
      [key('chosen')]: `${await ip('chosen', 'n2')}:80`,
    }
    await stands(t, wanted, 'the first by its name, or the one that a label chooses')
    await docker('rm', '-f', 'multi', 'chosen')
    t.equal(await sidecar.end('SIGTERM'), 0)
  })

  await t.test('--net=host, and an IPv6 binding beside the IPv4 one', async (t) => {
    await docker('run', '-d', '--name', 'onhost', '--network', 'host', 'web:1')
    await run('both', '-p', '0.0.0.0:18080:80', '-p', '[::]:18080:80')
    const sidecar = await begin(t, ['-ip', '10.9.9.9', uri])
    const wanted = { [key('onhost')]: '10.9.9.9:80', [key('both')]: '10.9.9.9:18080' }
    await stands(t, wanted, 'the exposed ports stand')
    await docker('rm', '-f', 'onhost', 'both')
    t.equal(await sidecar.end('SIGTERM'), 0)
  })

  await t.test('-deregister on-success', async (t) => {
    const sidecar = await begin(t, ['-ip', '10.9.9.9', '-deregister', 'on-success', uri])
    const say = (name: string, port: number, end: string) =>
      docker(
        ...['run', '-d', '--name', name, '-p', `${port}:80`, 'web:1', '/bin/sh', '-c'],
        `while [ ! -e /end ]; do /bin/sleep 0.1; done; ${end}`,
      )
    await say('good', 20_000, 'exit 0')
    await say('bad', 20_001, 'exit 3')
    await run('killed', '-p', '20002:80')
    await stands(t, web(['good', 'bad', 'killed']), 'there')
    for (const name of ['good', 'bad']) await docker('exec', name, '/bin/sh', '-c', ': >/end')
    await docker('kill', 'killed')
    await stands(t, { [key('bad')]: '10.9.9.9:20001' }, 'what failed by itself stays')
    await docker('rm', '-f', 'good', 'bad', 'killed')
    await stands(t, {}, 'until it is removed')
    t.equal(await sidecar.end('SIGTERM'), 0)
  })

  await t.test('-dry-run prints, and writes nothing', async (t) => {
    const before = await etcd.ctl('get', '--prefix', '', '--keys-only')
    const sidecar = await begin(t, ['-dry-run', '-ip', '10.9.9.9', uri])
    await run('c1', '-p', '18080:80')
    const said = (text: string) => until(async () => sidecar.log.includes(text) || undefined, { ms: 10_000 })
    t.ok(await said(`\nput /services/${key('c1')} 10.9.9.9:18080\n`), 'what it would write')
    await docker('rm', '-f', 'c1')
    t.ok(await said(`\ndelete /services/${key('c1')}\n`), 'and delete')
    t.equal(await etcd.ctl('get', '--prefix', '', '--keys-only'), before, 'etcd is as it was')
    t.equal(await sidecar.end('SIGTERM'), 0)
  })

  await t.test('-retry-attempts: gives up where that is asked for', async (t) => {
    const args = ['-retry-attempts', '2', '-retry-interval', '300', 'etcd://127.0.0.1:1/services']
    const sidecar = await begin(t, args)
    t.equal(await sidecar.ended(), 1)
    t.match(sidecar.log, /given up after 2 retries/)
  })
})

t.test('etcd with TLS, a user and three endpoints', { timeout: 120_000 }, async (t) => {
  const engine = await EngineHost.prepare(t)
  await engine.start()
  await engine.importImage('web:1', ['/bin/sleep'], 'EXPOSE 80', 'CMD ["/bin/sleep","900"]')
  const authority = await Authority.make(t)
  const parties = {
    server: await authority.issue('etcd', ['127.0.0.1']),
    client: await authority.issue('client'),
  }
  const { ca, cert, key } = parties.client
  const etcd = await startEtcd(t, { members: 3, parties })
  for (const command of [
    'user add root:secret --interactive=false',
    'user grant-role root root',
    'user add reg:reg-secret --interactive=false',
    'role add reg',
    'role grant-permission reg readwrite /services/ --prefix',
    'role grant-permission reg readwrite /openebs/v1/fences/ --prefix',
    'user grant-role reg reg',
    'auth enable',
  ])
    await etcd.ctl(...command.split(' '))
  const folder = await mkdtemp(join(tmpdir(), 'tls-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const password = join(folder, 'password')
  await writeFile(password, 'reg-secret\n')
  const env = {
    DOCKER_HOST: engine.endpoint,
    OPENEBS_HOST: 'h1',
    OPENEBS_STORE_CA: ca,
    OPENEBS_STORE_CERT: cert,
    OPENEBS_STORE_KEY: key,
    OPENEBS_STORE_USER: 'reg',
    OPENEBS_STORE_PASSWORD_FILE: password,
  }
  const sidecar = await SidecarProcess.start(t, env, ['-ip', '10.9.9.9', `${etcd.uri}/services`])
  await sidecar.ready()
  const stand = async () =>
    (await etcd.ctl('--user', 'root:secret', 'get', '--prefix', '/services/', '--keys-only')).trim()
  const is = async (wanted: string) =>
    until(async () => ((await stand()) === wanted ? true : undefined), { ms: 10_000 })
  await engine.docker('run', '-d', '--name', 'c1', '-p', '18080:80', 'web:1')
  t.ok(await is('/services/web/h1:c1:80'), 'written by a user who may write there alone')
  await etcd.members[0]?.kill()
  await engine.docker('rm', '-f', 'c1')
  t.ok(await is(''), 'one member less is no matter')
  t.notMatch(sidecar.log, /secret/, 'no password is logged')
  t.equal(await sidecar.end('SIGTERM'), 0)
})

t.test('a thousand starts in a burst', { timeout: 120_000 }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'burst-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const engine = new SyntheticEngine()
  const socket = join(folder, 'docker.sock')
  await engine.listen(socket)
  t.teardown(() => engine.close())
  t.ok(existsSync(socket))
  const etcd = await startEtcd(t)
  const env = { DOCKER_HOST: `unix://${socket}`, OPENEBS_HOST: 'h1' }
  const sidecar = await SidecarProcess.start(t, env, ['-ip', '10.9.9.9', `${etcd.uri}/services`])
  await sidecar.ready()
  const { names } = await engine.run(1000)
  const count = async () =>
    (await etcd.ctl('get', '--prefix', '--keys-only', '/services/')).split('\n').filter((line) => line !== '')
      .length
  await until(async () => ((await count()) === names.length ? true : undefined), { ms: 60_000 })
  t.equal(await count(), 1000, 'all of them')
})
