import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { explain, type FailureKind, isFailure } from '../../process/failure.ts'
import { createLog } from '../../process/log.ts'
import { Mirror } from '../../registry/mirror.ts'
import { zookeeper } from '../../registry/stores/zookeeper.ts'
import { fetchZookeeper, type Suite, startZookeeper, type Zookeeper } from '../support/zookeeper.ts'
import type { Node } from '../support/zookeeper-reader.ts'

/** Seconds. */
const ttl = 2
const key = (name: string) => `${name}/10.0.0.1:80`
const value = (name: string, port = 80) => JSON.stringify({ Name: name, IP: '10.0.0.1', PublicPort: port })
const wanted = (...names: string[]) => new Map(names.map((name) => [key(name), value(name)]))
const uriOf = (server: Zookeeper) => `zookeeper://${server.address}/a/services`
const placeOf = (server: Zookeeper, owns?: (key: string) => boolean) =>
  zookeeper({ uri: uriOf(server), ttl, ...(owns && { owns }) })

const look = async (server: Zookeeper): Promise<Record<string, Node>> => {
  await using reader = await server.reader()
  return await reader.tree('/a/services')
}

/** A backend that runs until it is ended, or the test is. */
const run = (t: Test, server: Zookeeper, owns?: (key: string) => boolean) => {
  const backend = new Mirror({ place: placeOf(server, owns), log: createLog('test', 'silent') })
  const stop = new AbortController()
  const running = backend.run(stop.signal, 'withdraw')
  const end = async () => {
    stop.abort()
    await running
  }
  t.teardown(end)
  return { backend, end }
}

const eventually = async (t: Test, what: string, is: () => Promise<boolean> | boolean, ms = 10_000) =>
  t.ok(
    await until(async () => ((await Promise.resolve(is()).catch(() => false)) ? true : undefined), { ms }),
    what,
  )

const refuses = async (t: Test, what: Promise<unknown>, kind: FailureKind) =>
  t.ok(isFailure(await what.catch((error: unknown) => error), kind), kind)

const settled = (t: Test, backend: Mirror, ms = 10_000) =>
  eventually(
    t,
    `in step: ${backend.trouble ?? 'no trouble'}`,
    () => backend.lag() === 0 && !backend.trouble,
    ms,
  )

const names = (found: Record<string, Node>) => Object.keys(found).sort()

const suites: Suite[] = ['bookworm', 'trixie']
for (const suite of suites) {
  const missing = await fetchZookeeper(suite).then(
    () => undefined,
    (error: unknown) => `ZOOKEEPER OF ${suite} CANNOT BE HAD: ${explain(error)}`,
  )
  if (missing) process.emitWarning(missing)
  t.test(`ZooKeeper of ${suite}`, { skip: missing ?? false, timeout: 300_000 }, async (t) =>
    backendTests(t, await startZookeeper(t, suite)),
  )
}

async function backendTests(t: Test, server: Zookeeper): Promise<void> {
  t.test('ephemeral nodes below persistent ones, gone with the session', async (t) => {
    const { backend, end } = run(t, server)
    backend.publish(wanted('web', 'db'))
    await settled(t, backend)
    const found = await look(server)
    t.same(names(found), [key('db'), key('web')])
    t.equal(found[key('web')]?.value, value('web'))
    t.ok(Object.values(found).every(({ owner }) => owner !== 0n))
    {
      await using reader = await server.reader()
      t.equal((await reader.get('/a/services/web'))?.owner, 0n)
    }
    backend.publish(new Map([[key('web'), value('web', 81)]]))
    await settled(t, backend)
    const changed = await look(server)
    t.same(names(changed), [key('web')])
    t.equal(changed[key('web')]?.value, value('web', 81))
    t.equal(changed[key('web')]?.czxid, found[key('web')]?.czxid, 'changed in place')
    {
      await using reader = await server.reader()
      t.same(await reader.children('/a/services'), ['web'], 'an emptied service goes too')
    }
    await end()
    t.same(await look(server), {}, 'at once')
  })

  t.test(
    'a session that is kept outlives its run for the timeout, and the next run takes over',
    async (t) => {
      const session = await placeOf(server).open()
      await session.apply([{ kind: 'put', key: key('kept'), value: value('kept') }])
      await session.end('keep')
      const before = await look(server)
      t.same(names(before), [key('kept')])
      const { backend, end } = run(t, server)
      backend.publish(wanted('kept'))
      await settled(t, backend)
      t.not((await look(server))[key('kept')]?.owner, before[key('kept')]?.owner, 'in the new session')
      await pause(ttl * 1000 + 1500)
      t.same(names(await look(server)), [key('kept')], 'it stays when the old session ends')
      await end()
    },
  )

  t.test('what a killed process has left is gone after the timeout', async (t) => {
    const store = join(import.meta.dirname, '../../registry/stores/zookeeper.ts')
    const program = `
      import { zookeeper } from ${JSON.stringify(store)}
      const session = await zookeeper({ uri: ${JSON.stringify(uriOf(server))}, ttl: ${ttl} }).open()
      await session.apply([{ kind: 'put', key: 'dead/10.0.0.1:80', value: '{}' }])
      console.log('written')`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    await pause(ttl * 1000 + 1500)
    t.same(names(await look(server)), ['dead/10.0.0.1:80'], 'an idle session is kept alive')
    child.kill('SIGKILL')
    const killed = performance.now()
    await eventually(t, 'gone', async () => Object.keys(await look(server)).length === 0)
    t.ok(performance.now() - killed < ttl * 1000 + 2000)
  })

  t.test('others: held, taken when they go, and never touched', async (t) => {
    await using reader = await server.reader()
    await reader.put('/a/services/web/10.0.0.1:80', 'foreign', true)
    await reader.put('/a/services/else/10.0.0.9:80', 'foreign')
    await reader.put('/a/services/%zz/strange%name', 'foreign')
    await reader.put('/a/services/leaf')
    const { backend, end } = run(t, server)
    backend.publish(wanted('web', 'mine'))
    await settled(t, backend)
    t.same(backend.held, [key('web')])
    t.equal((await reader.get('/a/services/web/10.0.0.1:80'))?.value, 'foreign')
    await reader.remove('/a/services/web/10.0.0.1:80')
    backend.resync()
    await eventually(t, 'taken', async () => (await look(server))[key('web')]?.value === value('web'))
    t.same(backend.held, [])
    backend.publish(new Map())
    await settled(t, backend)
    t.same(names(await look(server)), ['%zz/strange%name', 'else/10.0.0.9:80'])
    t.ok(await reader.get('/a/services/leaf'))
    for (const path of ['%zz/strange%name', '%zz', 'else/10.0.0.9:80', 'else', 'leaf'])
      await reader.remove(`/a/services/${path}`)
    await end()
  })

  t.test('a session that was read does not take what another hand has put there since', async (t) => {
    const session = await placeOf(server).open()
    t.teardown(() => session.end('withdraw'))
    await session.read(new Set([key('late')]))
    await using reader = await server.reader()
    await reader.put('/a/services/late/10.0.0.1:80', 'foreign', true)
    await refuses(t, session.apply([{ kind: 'put', key: key('late'), value: '{}' }]), 'conflict')
    await session.apply([{ kind: 'delete', key: key('late') }])
    t.equal((await reader.get('/a/services/late/10.0.0.1:80'))?.value, 'foreign')
  })

  t.test('by its form one of ours: taken over, and removed where it is not wanted', async (t) => {
    const old = await placeOf(server).open()
    await old.apply(['a', 'b'].map((name) => ({ kind: 'put', key: key(name), value: 'old' }) as const))
    await old.end('keep')
    const { backend, end } = run(t, server, (key) => key.includes('/10.0.0.1:'))
    backend.publish(wanted('a'))
    await settled(t, backend)
    const found = await look(server)
    t.same(names(found), [key('a')])
    t.equal(found[key('a')]?.value, value('a'))
    await end()
    // the end of the old session is a transaction, which the next test must not count
    await pause(ttl * 1000 + 1500)
  })

  t.test('another hand deletes and changes: back at a resync, which else writes nothing', async (t) => {
    const { backend, end } = run(t, server)
    backend.publish(wanted('a', 'b'))
    await settled(t, backend)
    {
      await using reader = await server.reader()
      await reader.remove(`/a/services/${key('a')}`)
      await reader.remove('/a/services/a')
      await reader.put(`/a/services/${key('b')}`, 'changed')
    }
    backend.resync()
    await eventually(t, 'back', async () => {
      const found = await look(server)
      return found[key('a')]?.value === value('a') && found[key('b')]?.value === value('b')
    })
    const zxid = await server.zxid()
    backend.resync()
    backend.publish(wanted('a', 'b'))
    await settled(t, backend)
    await pause(1000)
    t.equal(await server.zxid(), zxid)
    await end()
  })

  t.test('odd names', async (t) => {
    const odd = ['a/b', '..', '.', '100%', '%2F', 'tab\tin', '\u{1f433}', 'é', 'a b', '\ue000']
    const { backend, end } = run(t, server)
    backend.publish(wanted(...odd))
    await settled(t, backend)
    const nodes = [
      'a%2Fb',
      '%2E%2E',
      '%2E',
      '100%25',
      '%252F',
      'tab%09in',
      '%F0%9F%90%B3',
      'é',
      'a b',
      '%EE%80%80',
    ]
    t.same(names(await look(server)), nodes.map((node) => `${node}/10.0.0.1:80`).sort())
    const zxid = await server.zxid()
    backend.resync()
    backend.publish(wanted(...odd))
    await settled(t, backend)
    t.ok((await server.zxid()) - zxid <= 1, 'they are known again')
    await end()
  })

  t.test('what it cannot carry is invalid', async (t) => {
    const session = await placeOf(server).open()
    t.teardown(() => session.end('withdraw'))
    const put = (key: string, value: string) => session.apply([{ kind: 'put', key, value }])
    await refuses(t, put(key('large'), 'x'.repeat(1_048_577)), 'invalid')
    await put(key('large'), 'x'.repeat(1_000_000))
    await refuses(t, put('nameless', ''), 'invalid')
    for (const uri of [
      'zookeeper://',
      'zookeeper://h:0/',
      'zookeeper://h:1:2',
      'http://h',
      'zookeeper://h/a//b',
      'zookeeper://h/../b',
    ])
      await refuses(t, (async () => zookeeper({ uri, ttl }))(), 'invalid')
  })

  t.test('a thousand entries', async (t) => {
    const { backend, end } = run(t, server)
    const many = wanted(...Array.from({ length: 1000 }, (_, index) => `service-${index}`))
    let began = performance.now()
    backend.publish(many)
    await settled(t, backend)
    const wrote = performance.now() - began
    t.equal(Object.keys(await look(server)).length, 1000)
    began = performance.now()
    backend.publish(new Map())
    await settled(t, backend)
    t.comment(`written in ${Math.round(wrote)} ms, removed in ${Math.round(performance.now() - began)} ms`)
    t.ok(wrote < 5000)
    await end()
  })

  t.test('a server that hangs: every call ends, and what had expired is written again', async (t) => {
    const { backend, end } = run(t, server)
    backend.publish(wanted('a', 'b'))
    await settled(t, backend)
    const session = await placeOf(server).open()
    server.pause()
    t.teardown(() => server.resume())
    const began = performance.now()
    await refuses(t, session.read(new Set()), 'unavailable')
    await refuses(t, session.apply([{ kind: 'put', key: key('x'), value: '' }]), 'unavailable')
    await refuses(t, session.end('withdraw'), 'unavailable')
    await refuses(t, placeOf(server).open(), 'unavailable')
    t.ok(performance.now() - began < 14_000)
    backend.publish(wanted('a', 'c'))
    server.resume()
    await eventually(t, 'converged', async () => {
      const found = await look(server)
      // in a new session or, where the server hears of us before it looks at its clock, in the old one
      return names(found).join() === [key('a'), key('c')].join()
    })
    await settled(t, backend)
    await end()
  })

  t.test('a server that dies and comes back with its data', async (t) => {
    const { backend, end } = run(t, server)
    backend.publish(wanted('a', 'b'))
    await settled(t, backend)
    await server.kill()
    backend.publish(wanted('b', 'c'))
    await eventually(t, 'it says so', () => backend.trouble !== undefined && backend.lag() > 0)
    await server.start()
    await settled(t, backend, 15_000)
    t.same(names(await look(server)), [key('b'), key('c')])
    await pause(ttl * 1000 + 2000)
    t.same(names(await look(server)), [key('b'), key('c')])
    await server.kill()
    const began = performance.now()
    await end()
    t.ok(performance.now() - began < 6000, 'it ends without the server')
    await server.start()
    await eventually(t, 'gone after the timeout', async () => Object.keys(await look(server)).length === 0)
  })
}

t.test('without a server it is unavailable, and of several one will do', { timeout: 60_000 }, async (t) => {
  const nobody = zookeeper({ uri: 'zookeeper://127.0.0.1:1/x', ttl })
  const failure = await nobody.open().catch((error: unknown) => error)
  t.ok(isFailure(failure, 'unavailable'))
  const server = await startZookeeper(t)
  const one = zookeeper({ uri: `zookeeper://127.0.0.1:1,[::1]:1,${server.address}`, ttl })
  const session = await one.open()
  await session.apply([{ kind: 'put', key: 'at/the:root', value: '1' }])
  await using reader = await server.reader()
  t.equal((await reader.get('/at/the:root'))?.value, '1')
  await session.end('withdraw')
})
