import t, { type Test } from 'tap'
import type { EngineEvent } from '../../docker/events.ts'
import { type WatchState, type WatchTimes, watchEngine, watchTimes } from '../../docker/watch.ts'
import { pause, until } from '../../process/backoff.ts'
import { createLog } from '../../process/log.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { Sidecar } from '../../sidecar/sidecar.ts'
import { FakeEngine } from '../support/fake-engine.ts'

/** What a real engine cannot be made to do on demand; all else is in test/integration. */

const never = () => 1e9
const looks = ['first look', 'second look']
const quick: WatchTimes = { ...watchTimes, pingEvery: 100, pingLimit: 100, renewAfter: never, proof: 100 }

/** A watch, with all that it said. */
const watch = (t: Test, engine: FakeEngine, times: Partial<WatchTimes> = {}) => {
  const stop = new AbortController()
  const heard = { events: [] as EngineEvent[], resyncs: [] as string[], states: [] as WatchState[] }
  const done = watchEngine(
    engine.docker,
    {
      event: (event) => heard.events.push(event),
      resync: (reason) => heard.resyncs.push(reason),
      state: (state) => heard.states.push(state),
    },
    stop.signal,
    { ...watchTimes, renewAfter: never, ...times },
  )
  t.teardown(async () => {
    stop.abort()
    await done
  })
  return heard
}

const comes = async (t: Test, what: string, condition: () => boolean | Promise<boolean>, ms = 5000) =>
  t.ok(await until(async () => (await condition()) || undefined, { ms, every: 10 }), what)

t.test('an event stream in single bytes', async (t) => {
  const engine = await FakeEngine.start(t)
  engine.chunk = 1
  const heard = watch(t, engine)
  await comes(t, 'connected', () => engine.streams.size === 1)
  for (let index = 0; index < 50; index++) engine.run(`c${index}`)
  await comes(t, 'all events', () => heard.events.length === 50)
  t.equal(heard.events[0]?.attributes.name, 'ä')
  t.equal(heard.resyncs[0], 'first look')
})

t.test('a stream is renewed without a gap, without an event twice', async (t) => {
  const engine = await FakeEngine.start(t)
  let renewals = 0
  let gaps = 0
  const renewAfter = () => {
    renewals++
    return 30
  }
  const heard = watch(t, engine, { renewAfter })
  await comes(t, 'connected', () => engine.streams.size === 1)
  for (let index = 0; index < 200; index++) {
    engine.emit('container', 'die', `c${index}`)
    await pause(2)
    if (engine.streams.size === 0) gaps++
  }
  t.equal(gaps, 0, 'there is a stream at any time')
  await comes(t, 'several renewals', () => renewals > 5)
  await comes(t, 'all events', () => heard.events.length >= 200)
  t.strictSame(
    heard.events.map(({ id }) => id),
    Array.from({ length: 200 }, (_, index) => `c${index}`),
  )
  t.strictSame(heard.resyncs, looks, 'the old stream goes on until the new one has proven itself')
})

t.test('a broken stream: what the daemon still has is proof, what it has lost asks for a list', async (t) => {
  const engine = await FakeEngine.start(t)
  const heard = watch(t, engine, quick)
  await comes(t, 'connected', () => engine.streams.size === 1)
  engine.emit('container', 'die', 'before')
  await comes(t, 'seen', () => heard.events.length === 1)
  engine.breakStreams()
  for (let index = 0; index < 100; index++) engine.emit('container', 'die', `few${index}`)
  await comes(t, 'the missed ones are replayed', () => heard.events.length === 101)
  t.strictSame(heard.resyncs, looks)
  engine.breakStreams()
  for (let index = 0; index < 300; index++) engine.emit('container', 'die', `many${index}`)
  await comes(t, 'a list is asked for', () => heard.resyncs.length === 3)
  t.equal(heard.resyncs[2], 'events may have been missed')
})

t.test('an engine that says nothing is left, and found again', async (t) => {
  const engine = await FakeEngine.start(t)
  const heard = watch(t, engine, quick)
  await comes(t, 'connected', () => heard.states.at(-1)?.kind === 'watching')
  engine.block = /./
  await comes(t, 'two pings missed', () => heard.states.at(-1)?.kind === 'connecting', 2000)
  t.match(heard.states.at(-1), { reason: 'the Docker Engine does not answer' })
  engine.block = undefined
  engine.release()
  await comes(t, 'connected again', () => heard.states.at(-1)?.kind === 'watching', 8000)
})

/** A sidecar on a store in memory. */
const serve = (t: Test, engine: FakeEngine) => {
  const stop = new AbortController()
  const store = new MemoryStore()
  const sidecar = new Sidecar({
    docker: engine.docker,
    endpoint: 'a fake',
    openStore: async () => store,
    host: undefined,
    addresses: ['192.0.2.1'],
    rules: {
      from: 'published',
      networks: [],
      addressLabel: undefined,
      unhealthy: 'mark',
      paused: 'withdraw',
    },
    labels: ['*'],
    onExit: 'withdraw',
    journal: { ttl: 3600, most: 1000 },
    swarmPoll: 5000,
    ttl: 60,
    resyncEvery: 3_600_000, // the periodic list must not help
    run: { instance: 'i', since: new Date().toISOString(), version: '1', seat: undefined },
    log: createLog('test', 'silent'),
  })
  const done = sidecar.run(stop.signal)
  t.teardown(async () => {
    stop.abort()
    await done
  })
  const services = async () => {
    const { entries } = await store.read('services/')
    return entries.map(({ key }) => key.split(':')[1] ?? '').sort()
  }
  return { sidecar, services, store }
}

const running = (engine: FakeEngine): string[] =>
  [...engine.containers.values()].flatMap(({ name, running }) => (running ? [name] : [])).sort()

t.test('a burst of 1000 starts, the first of them during the first look', async (t) => {
  const engine = await FakeEngine.start(t)
  for (let index = 0; index < 100; index++) engine.run(`a${index}`)
  const { services, sidecar } = serve(t, engine)
  for (let index = 0; index < 900; index++) {
    engine.run(`b${index}`)
    if (index % 3 === 0) engine.kill(`b${index - 30}`)
    if (index % 100 === 0) await pause(1)
  }
  await comes(t, 'none lost, none stale', async () => `${await services()}` === `${running(engine)}`, 15_000)
  for (const name of running(engine)) engine.kill(name)
  await comes(t, 'all gone', async () => (await services()).length === 0, 15_000)
  // events alone withdraw them: that may be before each has been looked at
  await comes(t, 'ready', async () => (await sidecar.missing()).length === 0)
})

t.test('a container that dies is withdrawn while the engine still holds its lock', async (t) => {
  const engine = await FakeEngine.start(t)
  engine.run('c1')
  const { services, store } = serve(t, engine)
  await comes(t, 'registered', async () => `${await services()}` === 'c1')
  await comes(t, 'subscribed', () => engine.streams.size === 1)
  engine.block = /^\/containers\/\w+\/json/
  engine.kill('c1')
  await comes(t, 'withdrawn by the event alone', async () => (await services()).length === 0, 2000)
  const [entry] = (await store.read('inventory/fake/container/')).entries
  t.match(JSON.parse(entry?.value ?? '{}'), { state: 'exited', exitCode: 137, ports: [] })
  engine.block = undefined
  engine.release()
})

t.test('a container that starts after the list and before the subscription', async (t) => {
  const engine = await FakeEngine.start(t)
  engine.subscribing = 300 // time enough also for a busy machine; a stream has 500 ms for its proof
  const { services } = serve(t, engine)
  await until(() => engine.lists > 0 || undefined, { ms: 5000, every: 1 })
  t.equal(engine.streams.size, 0, 'not subscribed yet')
  engine.block = /^\/containers\/json/ // the second look is not to find it, however late this test sees what happened
  engine.run('c1')
  await comes(t, 'is replayed', async () => `${await services()}` === 'c1', 2000)
  t.equal(engine.lists, 1, 'and was not found by a second list')
  engine.block = undefined
  engine.release()
})

t.test('what the daemon dropped silently is found by the list after the next gap', async (t) => {
  const engine = await FakeEngine.start(t)
  engine.run('old')
  engine.run('gone')
  const { services, store } = serve(t, engine)
  await comes(t, 'registered', async () => `${await services()}` === 'gone,old')
  engine.deaf = true
  engine.kill('old')
  engine.remove('gone')
  engine.run('new')
  engine.deaf = false
  engine.stop()
  await engine.listen()
  await comes(t, 'relisted', async () => `${await services()}` === 'new')
  const containers = (await store.read('inventory/fake/container/')).entries.map(
    ({ value }) => JSON.parse(value).name,
  )
  t.strictSame(containers.sort(), ['new', 'old'])
})

t.test('a list that broke off does not speak for the next one', async (t) => {
  const engine = await FakeEngine.start(t)
  engine.run('gone')
  engine.run('old')
  const { services } = serve(t, engine)
  await comes(t, 'registered', async () => `${await services()}` === 'gone,old')
  await comes(t, 'the second look', () => engine.lists === 2)
  engine.stop()
  engine.cut = true
  await engine.listen()
  const before = engine.lists
  await comes(t, 'listed again, but for the end', () => engine.lists > before + 1)
  engine.deaf = true
  engine.remove('gone')
  engine.cut = false
  await comes(t, 'who is not in the whole list is gone', async () => `${await services()}` === 'old')
})

t.test('a volume driver at work holds up nothing but its volumes', async (t) => {
  const engine = await FakeEngine.start(t)
  engine.volumes.add('v1')
  engine.block = /^\/volumes/
  const { services, sidecar, store } = serve(t, engine)
  engine.run('c1')
  await comes(t, 'containers are registered', async () => `${await services()}` === 'c1')
  t.match(await sidecar.missing(), [/not looked at yet: volume/], 'not listed')
  engine.block = /^\/volumes\/v1/
  engine.release()
  await pause(50)
  t.match(await sidecar.missing(), [/not looked at yet: volume/], 'listed, but not looked at')
  engine.block = undefined
  engine.release()
  await comes(
    t,
    'then the volume',
    async () => (await store.read('inventory/fake/volume/')).entries.length === 1,
  )
  await comes(t, 'and nothing is missing', async () => (await sidecar.missing()).length === 0)
})

t.test('a container whose mount is in the works holds up no other', async (t) => {
  const engine = await FakeEngine.start(t)
  const { services } = serve(t, engine)
  engine.block = /^\/containers\/736c6f77/ // "slow"
  engine.run('slow')
  engine.run('c1')
  engine.run('c2')
  await comes(t, 'the others', async () => `${await services()}` === 'c1,c2')
  engine.block = undefined
  engine.release()
  await comes(t, 'and then this one', async () => `${await services()}` === 'c1,c2,slow')
})
