import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import t, { type Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { isFailure } from '../../process/failure.ts'
import { Publisher, type PublisherHooks } from '../../registry/publisher.ts'
import { Session } from '../../registry/session.ts'
import type { Change, Entry, Store } from '../../registry/store.ts'
import { type EtcdSettings, openEtcd } from '../../registry/stores/etcd.ts'
import { startEtcd } from '../support/etcd.ts'
import { startProxy } from '../support/proxy.ts'

const put = (key: string, value: string, guard: Change['guard'] = 'absent'): Change => ({
  kind: 'put',
  key,
  value,
  guard,
})
const range = (count: number) => Array.from({ length: count }, (_, index) => index)
const byKey = async (store: Store, prefix: string): Promise<Map<string, Entry>> =>
  new Map((await store.read(prefix)).entries.map((entry) => [entry.key, entry]))

const open = async (t: Test, settings: EtcdSettings): Promise<Store> => {
  const store = await openEtcd(settings)
  t.teardown(() => store.close())
  return store
}

/** How many ms the promise took, and the kind it failed with. */
const timed = async (promise: Promise<unknown>): Promise<{ ms: number; kind: string }> => {
  const began = performance.now()
  const kind = await promise.then(
    () => 'none',
    (error: unknown) => (isFailure(error) ? error.kind : String(error)),
  )
  return { ms: performance.now() - began, kind }
}

const stalls = monitorEventLoopDelay({ resolution: 10 })
stalls.enable()
/** ms that a busy machine may take to let all processes concerned run; a wait without a bound lasts longer. */
const room = 2000

/**
 * Takes the time from `from` on, and says whether a promise of `limit` ms was kept. This process's own standing still since
 * then is not counted, nor what the machine needs to get to it.
 */
const stopwatch = () => {
  stalls.reset()
  const from = performance.now()
  return (t: Test, limit: number, what: string, ms = performance.now() - from) => {
    const stalled = stalls.max / 1e6
    const found = `${what}: promised within ${limit} ms, took ${Math.round(ms)}`
    t.ok(ms < limit + room + stalled, `${found}; this test stood still for up to ${Math.round(stalled)}`)
  }
}

/** Polls until `probe` holds; the test fails after `ms`. */
const wait = async (t: Test, what: string, probe: () => boolean | Promise<boolean>, ms = 10_000) =>
  t.ok(await until(async () => (await probe()) || undefined, { ms, every: 20 }), what)

/** A session and a publisher that own everything below own/. */
const publishing = (t: Test, store: Store, ttl: number, hooks: PublisherHooks = {}) => {
  const stop = new AbortController()
  const session = new Session(store, { ttl })
  const owns = (key: string) => key.startsWith('own/')
  const publisher = new Publisher({ store, session, prefixes: ['own/'], owns, hooks })
  publisher.start(stop.signal)
  session.start(stop.signal)
  t.teardown(async () => {
    stop.abort()
    await publisher.stop()
    await session.release()
  })
  return { session, publisher }
}

await t.test('without etcd every call fails as unavailable, in its bound', async (t) => {
  const etcd = await startEtcd(t)
  const proxy = await startProxy(t, etcd.member.address)
  const store = await open(t, { uri: `etcd://${proxy.address}`, limit: 1200, writer: 'bound' })
  const lease = await store.grant(60)
  await store.apply([put('a', '1')])
  const all = () =>
    Promise.all([
      timed(store.read('')),
      timed(store.apply([put('b', '1')])),
      timed(store.apply([put('c', '1', 'any')])),
      timed(store.grant(10)),
      timed(lease.keepAlive()),
      timed(lease.revoke()),
    ])
  etcd.member.pause()
  const hung = stopwatch()
  for (const { ms, kind } of await all()) {
    t.equal(kind, 'unavailable', 'it hangs')
    hung(t, 1200, 'a call', ms)
  }
  etcd.member.resume()
  t.ok(proxy.accepted <= 2, `all calls share a connection, also those that time out: ${proxy.accepted}`)
  await etcd.member.kill()
  const gone = stopwatch()
  for (const { ms, kind } of await all()) {
    t.equal(kind, 'unavailable', 'it is gone')
    gone(t, 1200, 'a call', ms)
  }
  await etcd.member.start()
  const back = stopwatch()
  await wait(t, 'it answers again', async () => (await timed(store.read(''))).kind === 'none')
  back(t, 3000, 'an answer')
})

await t.test('a write that was given up never lands on a newer one', async (t) => {
  const etcd = await startEtcd(t, { members: 3 })
  const leader = await etcd.leader()
  const hanging = etcd.members.find((member) => member !== leader) ?? leader
  const others = etcd.members.filter((member) => member !== hanging)
  const healthyUri = `etcd://${others.map(({ address }) => address).join(',')}`
  const healthy = await open(t, { uri: healthyUri })
  const stale = await open(t, { uri: `etcd://${hanging.address}`, limit: 700, writer: 'plugin/h1' })
  const unfenced = await open(t, { uri: `etcd://${hanging.address}`, limit: 700 })
  for (const n of range(100)) await healthy.apply([put(`guarded/${n}`, 'old')])
  const before = await byKey(stale, 'guarded/')
  hanging.pause()
  const given = await Promise.all(
    range(100).flatMap((n) => [
      timed(
        stale.apply([put(`guarded/${n}`, 'stale', { revision: before.get(`guarded/${n}`)?.revision ?? '' })]),
      ),
      timed(stale.apply([put(`created/${n}`, 'stale')])),
      timed(unfenced.apply([put(`control/${n}`, 'stale')])),
    ]),
  )
  t.same(new Set(given.map(({ kind }) => kind)), new Set(['unavailable']), 'all 300 writes were given up')
  // The writer goes on by way of another member: rewrites what it guards, and does not want what it had created.
  const writer = await open(t, { uri: healthyUri, writer: 'plugin/h1' })
  const now = await byKey(writer, 'guarded/')
  t.equal((await writer.read('created/')).entries.length, 0)
  for (const n of range(100)) {
    const guard = { revision: now.get(`guarded/${n}`)?.revision ?? '' }
    await writer.apply([put(`guarded/${n}`, 'new', guard)])
  }
  hanging.resume()
  const landed = async () => (await healthy.read('control/')).entries.length
  await wait(t, 'late writes really arrive', async () => (await landed()) > 0)
  let count = -1
  await wait(t, 'and no more of them come', async () => {
    const last = count
    count = await landed()
    await pause(300)
    return count === last
  })
  t.comment(`${count} of 100 writes with neither a moved key nor a fence landed late`)
  const after = [...(await byKey(healthy, 'guarded/')).values()]
  t.equal(after.filter(({ value }) => value !== 'new').length, 0, 'of 100 guarded ones none')
  t.equal((await healthy.read('created/')).entries.length, 0, 'of 100 creations before the fence none')
  await stale.apply([put('created/0', 'again')])
  t.equal((await byKey(healthy, 'created/')).get('created/0')?.value, 'again', 'the writer itself can go on')
})

await t.test('a write whose answer got lost is settled', async (t) => {
  const etcd = await startEtcd(t)
  const proxy = await startProxy(t, etcd.member.address)
  const direct = await open(t, { uri: etcd.uri })
  const store = await open(t, { uri: `etcd://${proxy.address}`, limit: 3000, writer: 'lost' })
  const first = await store.apply([put('mine', '1'), put('theirs', '1'), put('gone', '1')])
  const lose = async (changes: Change[], meanwhile: () => Promise<unknown> = async () => {}) => {
    const { revision } = await direct.read('')
    proxy.mute()
    const outcome = timed(store.apply(changes))
    await wait(t, 'etcd has done it', async () => (await direct.read('')).revision !== revision)
    await meanwhile()
    proxy.cut()
    proxy.open()
    return (await outcome).kind
  }
  const change = [
    put('mine', '2', { revision: first }),
    put('new', '2'),
    { kind: 'delete', key: 'gone', guard: 'any' },
  ]
  t.equal(await lose(change as Change[]), 'none', 'what was done counts as done')
  t.same([...(await byKey(store, '')).values()].map(({ value }) => value).filter((v) => v === '2').length, 2)
  const overwrite = async () => {
    const at = (await byKey(direct, 'theirs')).get('theirs')?.revision ?? ''
    await direct.apply([put('theirs', '3', { revision: at })])
  }
  t.equal(
    await lose([put('theirs', '2', { revision: first })], overwrite),
    'conflict',
    'and what is gone as conflict',
  )
  t.equal((await byKey(direct, 'theirs')).get('theirs')?.value, '3')
  t.equal(await lose([put('once', '1')]), 'none')
  t.equal(
    (await timed(store.apply([put('once', '1')]))).kind,
    'conflict',
    'without a fault the same text is a conflict',
  )
})

await t.test('a watch loses nothing over dropped connections', async (t) => {
  const etcd = await startEtcd(t)
  const proxy = await startProxy(t, etcd.member.address)
  const writer = await open(t, { uri: etcd.uri })
  const store = await open(t, { uri: `etcd://${proxy.address}`, limit: 600 })
  const stop = new AbortController()
  const seen: string[] = []
  const { revision } = await store.read('')
  const following = (async () => {
    for await (const batch of store.watch('', revision, stop.signal))
      for (const event of batch) seen.push(event.kind === 'put' ? event.entry.value : event.key)
  })()
  const write = async (from: number, to: number) => {
    for (let n = from; n < to; n++) await writer.apply([put('k', `${n}`.padEnd(500), 'any')])
  }
  const expected = (count: number) => range(count).map((n) => `${n}`.padEnd(500))
  await write(0, 1)
  await wait(t, 'it follows', () => seen.length === 1)
  proxy.refuse()
  await write(1, 301)
  // The history is on its way when the connection drops again, three times.
  for (const bytes of [2000, 20_000, 100_000]) {
    const { cuts } = proxy
    proxy.cutAfter(bytes)
    proxy.open()
    await wait(t, `dropped after ${bytes} bytes`, () => proxy.cuts > cuts)
  }
  await wait(t, '300 of 300', () => seen.length >= 301)
  t.same(seen, expected(301), 'each once and in order')
  const writing = write(301, 901)
  for (const _ of range(8)) {
    const { cuts } = proxy
    proxy.cutAfter(15_000)
    await until(() => proxy.cuts > cuts || undefined, { ms: 2000, every: 5 })
  }
  await writing
  await wait(t, '600 of 600 while it drops every 15 kB', () => seen.length >= 901)
  t.same(seen, expected(901), 'each once and in order')
  stop.abort()
  await following
})

await t.test('connections that a firewall has forgotten are replaced', async (t) => {
  const etcd = await startEtcd(t)
  const proxy = await startProxy(t, etcd.member.address)
  const direct = await open(t, { uri: etcd.uri })
  const store = await open(t, { uri: `etcd://${proxy.address}` })
  const stop = new AbortController()
  let seen = 0
  const { revision } = await store.read('')
  const following = (async () => {
    for await (const batch of store.watch('', revision, stop.signal)) seen += batch.length
  })()
  await direct.apply([put('a', '1')])
  await wait(t, 'it follows', () => seen === 1)
  proxy.forget()
  await direct.apply([put('b', '1')])
  const forgotten = stopwatch()
  const { ms, kind } = await timed(store.apply([put('c', '1')]))
  t.equal(kind, 'none', `a write takes ${Math.round(ms)} ms, and fails not`)
  await wait(t, 'the watch is back', () => seen === 3)
  forgotten(t, 6000, 'the watch')
  const { accepted } = proxy
  await until(() => undefined, { ms: 4000 })
  t.equal(proxy.accepted, accepted, 'a quiet watch is not taken for a silent one')
  stop.abort()
  await following
})

await t.test('a watch notices that etcd lost its data', async (t) => {
  const [first, second] = [await startEtcd(t), await startEtcd(t)]
  const proxy = await startProxy(t, first.member.address)
  const other = await open(t, { uri: second.uri })
  for (const n of range(5)) await other.apply([put(`x/${n}`, '')])
  const store = await open(t, { uri: `etcd://${proxy.address}`, limit: 600 })
  await store.apply([put('a', '1')])
  const { revision, origin } = await store.read('')
  const stop = AbortSignal.timeout(10_000)
  let events = 0
  const outcome = timed(
    (async () => {
      for await (const batch of store.watch('', '1', stop)) events += batch.length
    })(),
  )
  await wait(t, 'it follows', () => events === 1)
  proxy.retarget(second.member.address)
  t.equal((await outcome).kind, 'conflict', 'another cluster')
  t.not((await store.read('')).origin, origin)
  const ahead = `${Number(revision) + 1000}`
  const behind = async () => {
    for await (const _ of store.watch('', ahead, stop)) t.fail('nothing is to be seen')
  }
  t.equal((await timed(behind())).kind, 'conflict', 'a revision that is yet to come')
})

await t.test('a lease outlives an outage that is longer than its TTL', async (t) => {
  const etcd = await startEtcd(t)
  const store = await open(t, { uri: etcd.uri, limit: 600 })
  const { session, publisher } = publishing(t, store, 2)
  const desired = new Map(range(2000).map((n) => [`own/${n}`, 'x'.repeat(300)]))
  publisher.publish(desired)
  await publisher.settled()
  const held = session.current()
  await etcd.member.kill()
  publisher.publish(desired.set('own/late', ''))
  await pause(3500) // the outage itself: longer than the TTL
  await etcd.member.start()
  const back = stopwatch()
  await publisher.settled()
  back(t, 4000, 'what came meanwhile is written')
  const lasting = until(() => held?.lost.aborted || undefined, { ms: 3500, every: 50 })
  t.equal(await lasting, undefined, 'the lease was not given up')
  t.equal(
    (await store.read('own/')).entries.filter(({ lease }) => lease === held?.lease.id).length,
    2001,
    'all kept',
  )
})

await t.test('a lost lease is replaced, and everything published anew', async (t) => {
  const etcd = await startEtcd(t)
  const store = await open(t, { uri: etcd.uri })
  let written = 0
  const { session, publisher } = publishing(t, store, 60, {
    written: (changes) => (written += changes.length),
  })
  publisher.publish(new Map(range(500).map((n) => [`own/${n}`, `${n}`])))
  await publisher.settled()
  const held = session.current()
  await etcd.ctl('lease', 'revoke', BigInt(held?.lease.id ?? 0).toString(16))
  // A change finds the lease gone long before the next renewal would, after 20 s.
  const lost = stopwatch()
  publisher.publish(new Map(range(501).map((n) => [`own/${n}`, `${n}`])))
  await publisher.settled()
  lost(t, 1500, 'all is back')
  t.equal(held?.lost.aborted, true, 'whoever used the old lease was told')
  const entries = (await store.read('own/')).entries
  t.equal(entries.filter(({ lease }) => lease === session.current()?.lease.id).length, 501)
  t.equal(written, 500 + 501, 'each once')
})

await t.test('after a hang the newest state stands, soon', async (t) => {
  const etcd = await startEtcd(t)
  const store = await open(t, { uri: etcd.uri, writer: 'sidecar/h1' })
  let written = 0
  const { publisher } = publishing(t, store, 10, { written: (changes) => (written += changes.length) })
  publisher.publish(new Map([['own/k', '0']]))
  await publisher.settled()
  etcd.member.pause()
  const hang = performance.now()
  let published = 0
  for (let n = 1; performance.now() - hang < 2500; n++) {
    published += 1
    publisher.publish(
      new Map([
        ['own/k', `${n}`],
        [`own/passing/${n}`, ''],
      ]),
    )
    await pause(2)
  }
  publisher.publish(new Map([['own/k', 'newest']]))
  t.ok(publisher.lag() > 2000)
  etcd.member.resume()
  const resumed = stopwatch()
  await publisher.settled()
  resumed(t, 4000, 'the newest state')
  t.same(
    [...(await byKey(store, 'own/')).values()].map(({ key, value }) => `${key}=${value}`),
    ['own/k=newest'],
  )
  t.ok(
    written < published / 5,
    `what came and went in between was not written: ${written} changes of ${published}`,
  )
  t.equal(publisher.lag(), 0)
})

await t.test('a cluster that loses its leader goes on without an error', async (t) => {
  const etcd = await startEtcd(t, { members: 3 })
  const store = await open(t, { uri: etcd.uri, writer: 'cluster' })
  const failed: string[] = []
  let longest = 0
  const stop = new AbortController()
  const revisions = new Map<string, string>()
  const writers = range(4).map(async (w) => {
    for (let n = 0; !stop.signal.aborted; n++) {
      const key = `w/${w}`
      const revision = revisions.get(key)
      const began = performance.now()
      try {
        revisions.set(
          key,
          await store.apply([put(key, `${n}`, revision === undefined ? 'absent' : { revision })]),
        )
      } catch (error) {
        failed.push(isFailure(error) ? error.kind : String(error))
        revisions.delete(key)
        return
      }
      longest = Math.max(longest, performance.now() - began)
      await pause(5)
    }
  })
  const goesOn = async (what: string) => {
    const before = (await store.read('')).revision
    await wait(t, what, async () => Number((await store.read('')).revision) > Number(before) + 100)
  }
  await goesOn('it writes')
  const stopped = await etcd.leader()
  stopped.pause()
  await goesOn('it writes while the leader hangs')
  stopped.resume()
  await goesOn('it writes when that one is back')
  const killed = await until(() => etcd.leader().catch(() => undefined), { ms: 5000 })
  await killed?.kill()
  await goesOn('it writes without the leader')
  stop.abort()
  await Promise.all(writers)
  t.same(failed, [], 'no write failed or was refused')
  t.comment(`longest write ${Math.round(longest)} ms`)
})

await t.test('a closed store lets its process end', async (t) => {
  const etcd = await startEtcd(t)
  const script = `
    import { openEtcd } from './registry/stores/etcd.ts'
    const store = await openEtcd({ uri: '${etcd.uri}' })
    const lease = await store.grant(10)
    await lease.keepAlive()
    const watching = (async () => { for await (const _ of store.watch('', '1', new AbortController().signal)); })()
    await store.apply([{ kind: 'put', key: 'a', value: '', guard: 'absent', lease }])
    await store.close()
    await watching
    console.log('closed')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  const closed = stopwatch()
  const [status] = await once(child, 'exit')
  t.equal(status, 0)
  closed(t, 1000, 'its end after closing')
})
