import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { type EngineEvent, eventKey } from '../../docker/events.ts'
import { type Gap, gapBefore, type Ring, reachesBack } from '../../docker/ring.ts'
import { type WatchTimes, watchEngine, watchTimes } from '../../docker/watch.ts'
import { until } from '../../process/backoff.ts'
import { Failure } from '../../process/failure.ts'
import { decode, type RecordOf } from '../../registry/keys.ts'
import { Newest } from '../../registry/newest.ts'
import { type Call, MemoryStore } from '../../registry/stores/memory.ts'
import { Backlog } from '../../sidecar/backlog.ts'
import { Journal } from '../../sidecar/journal.ts'
import { eventEntry, gapEntry } from '../../sidecar/journal-entries.ts'
import { labelFilter } from '../../sidecar/labels.ts'
import { FakeEngine } from '../support/fake-engine.ts'

const second = 1_000_000_000n
/** Entries are checked against the daemon's clock, and counted by ours: the events here are of now. */
const start = BigInt(Date.now()) * 1_000_000n

/** Event number `index`, one a ms. */
const event = (index: number, change: Partial<EngineEvent> = {}): EngineEvent => ({
  type: 'container',
  action: 'die',
  id: `c${index}`,
  timeNano: String(start + BigInt(index) * 1_000_000n),
  attributes: { name: `n${index}` },
  ...change,
})
const events = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => event(from + index))

/** What a daemon remembers of these events, of which it had announced `before` others. */
const ringOf = (all: readonly EngineEvent[], change: Partial<Ring> = {}): Ring => {
  const kept = all.slice(-256)
  const [oldest] = kept
  const last = kept.at(-1)
  return {
    events: kept,
    oldest: oldest && BigInt(oldest.timeNano),
    complete: all.length < 256,
    now: last ? BigInt(last.timeNano) : start,
    ...change,
  }
}

const log = { info: () => {}, warn: () => {} }

/** A run of the sidecar, as far as its journal goes; `end` is a SIGTERM, `kill` is not. */
const run = (store: MemoryStore, options: { most?: number; queue?: number; ring?: Ring } = {}) => {
  const counts = { dropped: 0, gaps: 0 }
  const journal = new Journal({
    keep: 3600,
    linger: 0,
    most: options.most ?? 1000,
    ...(options.queue && { queue: options.queue }),
    labels: labelFilter(['*']),
    log,
    hooks: { dropped: () => counts.dropped++, gap: () => counts.gaps++ },
  })
  if (options.ring) journal.remembered(options.ring)
  const stop = new AbortController()
  const serving = journal.serve(store, 'h1', stop.signal)
  const kill = async () => {
    stop.abort()
    await serving
  }
  const end = async () => {
    await nextTurn() // a journal that has not begun writes nothing; this store answers within the turn
    stop.abort()
    await journal.flush(2000)
  }
  return { journal, counts, kill, end }
}

const wait = async (t: Test, what: string, condition: () => boolean | Promise<boolean>) =>
  t.ok(await until(async () => (await condition()) || undefined, { ms: 5000, every: 5 }), what)

const entries = async (store: MemoryStore): Promise<(RecordOf<'events'> & { key: string })[]> =>
  (await store.read('events/h1/')).entries.map(({ key, value }) => ({
    ...decode('events', key, value),
    key: key.slice('events/h1/'.length),
  }))
const ids = async (store: MemoryStore): Promise<string[]> =>
  (await entries(store)).map((entry) => (entry.kind === 'event' ? entry.id : 'gap'))
const names = (from: number, to: number) => events(from, to).map(({ id }) => id)

t.test('what an event says, and what it must not', async (t) => {
  const entry = (change: Partial<EngineEvent>, labels = ['*']) =>
    eventEntry(event(0, { timeNano: '1795731744000000123', ...change }), labelFilter(labels)).record
  const attributes = { name: 'web', image: 'web:1', exitCode: '137', 'com.example.a': 'b', secret: 'x' }
  t.strictSame(entry({ attributes }), {
    kind: 'event',
    time: '2026-11-26T22:22:24.000000123Z',
    type: 'container',
    action: 'die',
    id: 'c0',
    name: 'web',
    attributes: { image: 'web:1', exitCode: '137', 'com.example.a': 'b', secret: 'x' },
  })
  const of = (change: Partial<EngineEvent>, labels?: string[]) => {
    const record = entry(change, labels)
    return record.kind === 'event' ? record.attributes : undefined
  }
  t.strictSame(of({ attributes }, ['com.example.*']), {
    image: 'web:1',
    exitCode: '137',
    'com.example.a': 'b',
  })
  t.strictSame(of({ attributes: { name: 'a', oldName: '/b' }, action: 'rename' }, ['none']), {
    oldName: '/b',
  })
  t.match(entry({ type: 'volume', id: 'v1', attributes: { driver: 'local' } }), { name: 'v1' })
  const mount = { driver: 'local', container: 'c1', destination: '/d', 'read/write': 'true', propagation: '' }
  t.strictSame(of({ type: 'volume', action: 'mount', attributes: mount }), mount)
  t.strictSame(
    of({ type: 'service', action: 'update', attributes: { name: 's', 'replicas.new': '2', x: 'y' } }),
    {
      'replicas.new': '2',
    },
  )
  t.strictSame(of({ type: 'secret', attributes: { name: 's', 'data.new': 'hush' } }), {})
  const config = { name: 'h1', debug: 'true', 'http-proxy': 'http://user:hush@proxy', mtu: '0', labels: '[]' }
  t.strictSame(of({ type: 'daemon', action: 'reload', attributes: config }), { settings: 'debug,http-proxy' })
  t.strictSame(of({ type: 'builder', action: 'prune', id: '', attributes: { reclaimed: '5' } }), {
    reclaimed: '5',
  })
})

t.test('a queue that is full loses its middle, and says so', async (t) => {
  const numbered = (index: number) => ({ key: String(index).padStart(3, '0') })
  const backlog = new Backlog<{ key: string; lost?: number }>(10, ({ count, from, to }) => ({
    key: `${from}-${to}`,
    lost: count,
  }))
  let lost = 0
  for (let index = 0; index < 30; index++) lost += backlog.push(numbered(index))
  t.equal(lost, 20)
  t.equal(backlog.length, 11)
  t.strictSame(backlog.peek(3), [0, 1, 2].map(numbered))
  backlog.drop(5)
  t.strictSame(backlog.clear(), [{ key: '005-024', lost: 20 }, ...[25, 26, 27, 28, 29].map(numbered)])
  backlog.push(numbered(40))
  backlog.unshift([numbered(39)])
  t.strictSame(backlog.clear(), [numbered(39), numbered(40)])
})

t.test('the newest keys stay, however they come', async () => {
  const key = fc.integer({ min: 0, max: 60 }).map((n) => String(n).padStart(3, '0'))
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.array(fc.array(key, { maxLength: 8 })),
      (most, batches) => {
        const newest = new Newest(most)
        let model: string[] = []
        for (const batch of batches) {
          const turn = newest.admit(batch)
          const wanted = [...new Set([...model, ...batch])].sort().slice(-most)
          t.same(
            turn.enter.filter((one) => model.includes(one)),
            [],
          )
          model = [...model.filter((one) => !turn.leave.includes(one)), ...turn.enter].sort()
          newest.done(turn, 1)
          if (JSON.stringify(model) !== JSON.stringify(wanted) || newest.size !== model.length) return false
          if (!model.every((one) => newest.has(one))) return false
        }
        newest.expire(1)
        return newest.size === 0
      },
    ),
  )
})

t.test('each event once, in order, however often it is reported and the sidecar restarted', async () => {
  const runs = fc.array(
    fc.record({
      /** Events that this run sees, and up to how many of before come again, in which order. */
      sees: fc.integer({ min: 0, max: 12 }),
      again: fc.integer({ min: 0, max: 6 }),
      shuffle: fc.array(fc.nat(), { minLength: 18, maxLength: 18 }),
      /** Killed before it wrote, after it wrote, or ended. */
      fate: fc.constantFrom('early', 'late', 'term'),
      misses: fc.integer({ min: 0, max: 4 }),
    }),
    { maxLength: 6 },
  )
  await fc.assert(
    fc.asyncProperty(runs, async (runs) => {
      let puts = 0
      const store = new MemoryStore()
      const apply = store.apply.bind(store)
      store.apply = async (changes) => {
        const revision = await apply(changes)
        puts += changes.filter(({ kind }) => kind === 'put').length
        return revision
      }
      let count = 0
      for (const { sees, again, shuffle, fate, misses } of [...runs, { ...last, shuffle: [] }]) {
        count += misses
        const { journal, kill, end } = run(store, { ring: ringOf(events(0, count)) })
        const reported = [...events(Math.max(0, count - again), count + sees)]
        count += sees
        // inversions between objects are the daemon's habit
        reported.sort(
          (a, b) => (shuffle[Number(a.id.slice(1)) % 18] ?? 0) - (shuffle[Number(b.id.slice(1)) % 18] ?? 0),
        )
        for (const one of reported) journal.event(one)
        for (const one of reported) if (shuffle.length % 2 === 0) journal.event(one)
        if (fate === 'late') await until(() => journal.waiting === 0 || undefined, { ms: 5000, every: 1 })
        await (fate === 'term' ? end() : kill())
      }
      const found = await entries(store)
      const wanted = events(0, count).map(eventKey)
      await store.close()
      return JSON.stringify(found.map(({ key }) => key)) === JSON.stringify(wanted) && puts === wanted.length
    }),
    { numRuns: 60 },
  )
})
const last = { sees: 1, again: 3, fate: 'term', misses: 0 } as const

t.test('a start goes on where the last run ended, or says that it does not', async (t) => {
  const store = new MemoryStore()
  const one = run(store, { ring: ringOf(events(0, 3)) })
  await wait(t, 'what the daemon remembers begins the journal', async () => (await ids(store)).length === 3)
  one.journal.event(event(3))
  await one.end()
  t.strictSame(await ids(store), names(0, 4))
  t.equal(one.counts.gaps, 0, 'an empty journal begins without a gap')

  const two = run(store, { ring: ringOf(events(0, 200)) })
  await wait(t, 'caught up', async () => (await ids(store)).length === 200)
  await two.end()
  t.strictSame(await ids(store), names(0, 200), 'what happened meanwhile')

  // 256 others, of which all but 100 are exec events
  const late = events(5000, 5100)
  const three = run(store, { ring: ringOf(late, { complete: false, oldest: start + 4500n * 1_000_000n }) })
  await wait(t, 'caught up', async () => (await ids(store)).length === 301)
  await three.end()
  t.strictSame((await ids(store)).slice(199, 203), ['c199', 'gap', 'c5000', 'c5001'])
  t.match((await entries(store))[200], {
    kind: 'gap',
    from: eventEntry(event(199), labelFilter(['none'])).record.time,
    to: eventEntry(event(4500, { timeNano: String(start + 4500n * 1_000_000n - 1n) }), labelFilter([])).record
      .time,
    reason: /no sidecar ran/,
  })
  t.equal(three.counts.gaps, 1)

  // the daemon was restarted: it remembers nothing
  const empty = (seconds: bigint): Ring => ({
    events: [],
    oldest: undefined,
    complete: true,
    now: start + seconds * second,
  })
  await run(store, { ring: empty(100n) }).end()
  t.equal((await ids(store)).length, 302, 'another gap')
  await run(store, { ring: empty(200n) }).end()
  const tail = (await entries(store)).slice(-2)
  t.strictSame(
    tail.map(({ kind }) => kind),
    ['event', 'gap'],
    'as long as nothing comes, it is one gap',
  )
  t.match(tail[1], {
    from: tail[0]?.time,
    time: gapEntry({ from: 0n, to: start + 200n * second, reason: '' }).record.time,
  })

  const noise: Ring = {
    events: [event(300_000)],
    oldest: start + 150n * second,
    complete: false,
    now: start + 301n * second,
  }
  await run(store, { ring: noise }).end()
  t.strictSame(
    (await ids(store)).slice(-2),
    ['gap', 'c300000'],
    'what is remembered of before proves that nothing is lost',
  )
  await store.close()
})

t.test('what comes in doubt waits until the gap before it is known', async (t) => {
  const store = new MemoryStore()
  const { journal, end } = run(store, { ring: ringOf([]) })
  journal.event(event(0))
  await wait(t, 'written', async () => (await ids(store)).length === 1)
  journal.doubt()
  journal.event(event(9))
  journal.doubt()
  journal.event(event(10))
  t.equal(journal.waiting, 2)
  await until(() => undefined, { ms: 50 })
  t.strictSame(await ids(store), ['c0'])
  const gap: Gap = { from: start, to: start + 9_000_000n - 1n, reason: 'the daemon went away' }
  journal.certain(gap)
  await wait(t, 'all is written', () => journal.waiting === 0)
  t.strictSame(await ids(store), ['c0', 'gap', 'c9', 'c10'])
  journal.doubt()
  journal.event(event(11))
  journal.certain(undefined)
  await end()
  t.strictSame((await ids(store)).slice(-2), ['c10', 'c11'], 'no gap where there is none')
  await store.close()
})

t.test('the store is away: the first and the last are kept, and what is lost is said', async (t) => {
  let away = true
  const before = (call: Call) => {
    if (away && call !== 'read') throw new Failure('unavailable', 'away')
  }
  const store = new MemoryStore({ before })
  const { journal, counts, end } = run(store, { ring: ringOf([]), queue: 10 })
  for (const one of events(0, 30)) journal.event(one)
  t.equal(counts.dropped, 20)
  away = false
  await wait(t, 'written', () => journal.waiting === 0)
  t.strictSame(await ids(store), [...names(0, 5), 'gap', ...names(25, 30)])
  t.match((await entries(store))[5], { reason: /20 were dropped/ })
  t.equal(counts.gaps, 1)
  t.equal(journal.kept, 11)
  away = true
  journal.event(event(31))
  const began = performance.now()
  await end()
  t.ok(performance.now() - began < 4000, 'the end does not wait for the store')
  await store.close()
})

t.test('the store has lost what it had: the journal says so when it goes on', async (t) => {
  const store = new MemoryStore()
  const { journal, kill } = run(store, { ring: ringOf([]) })
  for (const one of events(0, 5)) journal.event(one)
  await wait(t, 'written', async () => (await entries(store)).length === 5)
  await kill()
  const kept = (await store.read('events/h1/')).entries.slice(-1)
  for (const { key } of (await store.read('events/h1/')).entries.slice(0, -1))
    await store.apply([{ kind: 'delete', key, guard: 'any' }])
  const stop = new AbortController()
  const serving = journal.serve(store, 'h1', stop.signal)
  journal.event(event(5))
  await wait(t, 'all that is known', async () => (await entries(store)).length === 3)
  stop.abort()
  await serving
  const entryOf = (index: number) => eventEntry(event(index), labelFilter(['*']))
  const [gap, ...others] = await entries(store)
  t.match(gap, {
    kind: 'gap',
    reason: /has lost entries/,
    from: entryOf(0).record.time,
    to: entryOf(3).record.time,
  })
  t.strictSame(
    others.map(({ key }) => key),
    [kept[0]?.key.slice('events/h1/'.length), entryOf(5).key],
  )
})

t.test('no more than the newest are kept', async (t) => {
  const store = new MemoryStore()
  const largest = { changes: 0 }
  const apply = store.apply.bind(store)
  store.apply = async (changes) => {
    largest.changes = Math.max(largest.changes, changes.length)
    const revision = await apply(changes)
    t.ok((await store.read('events/h1/')).entries.length <= 120, 'at no time more')
    return revision
  }
  const one = run(store, { ring: ringOf([]), most: 120 })
  for (const event of events(0, 1000)) one.journal.event(event)
  await one.end()
  t.strictSame(await ids(store), names(880, 1000))
  t.equal(one.journal.kept, 120)
  const two = run(store, { ring: ringOf(events(0, 1001)), most: 120 })
  await wait(t, 'the count is right after a restart', async () => (await ids(store)).at(-1) === 'c1000')
  t.strictSame(await ids(store), names(881, 1001))
  two.journal.event(event(3))
  await two.end()
  t.strictSame(await ids(store), names(881, 1001), 'what is older than all that is kept is not written')
  await run(store, { ring: ringOf(events(0, 1001)), most: 5 }).end()
  await wait(t, 'a lower limit holds from the start', async () => (await ids(store)).length === 5)
  t.strictSame(await ids(store), names(996, 1001))
  t.ok(largest.changes <= 100)
  await store.close()
})

t.test('another run wrote some of it; an entry is refused', async (t) => {
  const store = new MemoryStore()
  const one = run(store, { ring: ringOf([]) })
  one.journal.event(event(0))
  await wait(t, 'it writes', async () => (await ids(store)).length === 1)
  const other = run(store, { ring: ringOf([event(0)]) })
  for (const event of events(1, 40)) other.journal.event(event)
  await other.end()
  const revision = (await store.read('events/h1/')).entries.map((entry) => entry.revision)
  for (const event of events(0, 60)) one.journal.event(event)
  await wait(t, 'written', () => one.journal.waiting === 0)
  const after = (await store.read('events/h1/')).entries.map((entry) => entry.revision)
  t.strictSame(after.slice(0, 40), revision, 'what is there is not touched')
  t.strictSame(await ids(store), names(0, 60))

  const apply = store.apply.bind(store)
  store.apply = async (changes) => {
    if (changes.some((change) => change.kind === 'put' && change.value.includes('huge')))
      throw new Failure('invalid', 'too large')
    return apply(changes)
  }
  one.journal.event(event(60))
  one.journal.event(event(61, { attributes: { label: 'huge' } }))
  one.journal.event(event(62))
  await wait(t, 'written', () => one.journal.waiting === 0)
  t.strictSame((await ids(store)).slice(-3), ['c60', 'gap', 'c62'])
  t.equal(one.counts.dropped, 1)
  await one.end()

  const before = (call: Call) => {
    if (call === 'read') throw new Failure('unavailable', 'away')
  }
  const blind = run(new MemoryStore({ before }), { ring: ringOf([event(0)]) })
  blind.journal.event(event(1))
  await blind.end()
  t.equal(blind.journal.waiting, 1, 'a journal that cannot be read is not written')
  await store.close()
})

/** A watch with all that it said about gaps; a journal's view of it. */
const quick: WatchTimes = { ...watchTimes, pingEvery: 100, pingLimit: 100, renewAfter: () => 1e9, proof: 200 }
const watch = (t: Test, engine: FakeEngine, times: Partial<WatchTimes> = {}) => {
  const stop = new AbortController()
  const heard = {
    ids: [] as string[],
    doubts: [] as string[],
    certain: 0,
    gaps: [] as Gap[],
    rings: [] as Ring[],
  }
  const done = watchEngine(
    engine.docker,
    {
      event: ({ id }) => heard.ids.push(id),
      resync: () => {},
      state: () => {},
      remembered: (ring) => heard.rings.push(ring),
      doubt: (reason) => heard.doubts.push(reason),
      certain: (gap) => {
        heard.certain++
        if (gap) heard.gaps.push(gap)
      },
    },
    stop.signal,
    { ...quick, ...times },
  )
  t.teardown(async () => {
    stop.abort()
    await done
  })
  return heard
}

t.test('a watch tells what the daemon remembers, and when that is not enough', async (t) => {
  const engine = await FakeEngine.start(t)
  for (let index = 0; index < 20; index++) engine.emit('container', 'exec_start: x', 'noise')
  engine.emit('container', 'die', 'old')
  const heard = watch(t, engine)
  await wait(t, 'what was before', () => heard.rings.length === 1)
  t.strictSame(
    heard.rings[0]?.events.map(({ id }) => id),
    ['old'],
    'without the noise',
  )
  t.equal(heard.rings[0]?.complete, true)
  engine.emit('container', 'die', 'one')
  await wait(t, 'seen', () => heard.ids.includes('one'))
  t.equal(heard.doubts.length, 0)

  engine.breakStreams()
  engine.emit('container', 'die', 'two')
  await wait(t, 'the stream reaches back', () => heard.certain === 1 && heard.ids.includes('two'))
  t.strictSame(heard.gaps, [])

  engine.breakStreams()
  for (let index = 0; index < 300; index++) engine.emit('container', 'die', `many${index}`)
  await wait(t, 'more than it remembers', () => heard.certain === 2)
  t.equal(heard.gaps.length, 1)
  t.match(heard.gaps[0], { reason: /does not remember/ })
  const { from = 0n, to = 0n } = heard.gaps[0] ?? {}
  t.ok(from <= to)

  engine.stop()
  await engine.listen()
  await wait(t, 'it was restarted', () => heard.certain === 3)
  t.equal(heard.gaps.length, 2)
})

t.test('a daemon that is asked what it remembers and does not say is asked again', async (t) => {
  const engine = await FakeEngine.start(t)
  engine.emit('container', 'die', 'old')
  const heard = watch(t, engine)
  await wait(t, 'watching', () => heard.rings.length === 1)
  engine.emit('container', 'die', 'one')
  await wait(t, 'seen', () => heard.ids.includes('one'))
  engine.stop()
  engine.block = /^\/info/
  await engine.listen()
  await wait(t, 'connected again', () => engine.streams.size === 1)
  engine.emit('container', 'die', 'two')
  await wait(t, 'events come all the same', () => heard.ids.includes('two'))
  t.equal(heard.certain, 0, 'but are in doubt')
  engine.block = undefined
  engine.release()
  await wait(t, 'until it says', () => heard.certain === 1)
  t.equal(heard.gaps.length, 1)
})

t.test(
  'a daemon that does not say at the first start what it remembers leaves nothing in doubt',
  async (t) => {
    const engine = await FakeEngine.start(t)
    engine.mute = true
    const heard = watch(t, engine)
    await wait(t, 'asked again', () => engine.recalls > 1)
    engine.mute = false
    await wait(t, 'until it says', () => heard.rings.length === 1)
    t.strictSame([heard.doubts, heard.certain], [[], 0], 'what was never in doubt need not become certain')
  },
)

/** This very process stands still, and with it the engine: what it missed is what no stream was sent. */
const standStill = (ms: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
/** What is announced in `work` goes into no stream that is open now; the daemon remembers it. */
const unsent = (engine: FakeEngine, work: () => void) => {
  const streams = [...engine.streams]
  engine.streams.clear()
  work()
  for (const stream of streams) engine.streams.add(stream)
}

t.test('a process that stood still asks what it missed', async (t) => {
  const engine = await FakeEngine.start(t)
  const heard = watch(t, engine, { stall: 300 })
  await wait(t, 'watching', () => engine.streams.size === 1 && heard.rings.length === 1)
  standStill(400)
  await wait(t, 'asked', () => heard.certain === 1)
  t.strictSame(heard.gaps, [], 'it remembers that nothing has happened since its start')
  engine.emit('container', 'die', 'one')
  await wait(t, 'seen', () => heard.ids.includes('one'))
  await until(() => undefined, { ms: 250 }) // so that it counts as of before
  unsent(engine, () => engine.emit('container', 'die', 'dropped'))
  engine.emit('container', 'die', 'after')
  standStill(400)
  await wait(t, 'what the daemon dropped', () => heard.ids.includes('dropped'))
  t.match(heard.doubts.at(-1), /stood still/)
  t.strictSame(heard.gaps, [])
  await until(() => undefined, { ms: 250 })
  unsent(engine, () => {
    for (let index = 0; index < 300; index++) engine.emit('container', 'die', `many${index}`)
  })
  standStill(400)
  await wait(t, 'more than it remembers', () => heard.gaps.length === 1)
  t.match(heard.gaps[0], { reason: /stood still .* does not remember/ })
})

t.test('a stream that is renewed where the last event is long gone', async (t) => {
  const engine = await FakeEngine.start(t)
  let renewals = 0
  const renewAfter = () => {
    renewals++
    return 100
  }
  const heard = watch(t, engine, { renewAfter, proof: 100 })
  await wait(t, 'watching', () => engine.streams.size === 1)
  engine.emit('container', 'die', 'one')
  await wait(t, 'seen', () => heard.ids.includes('one'))
  for (let index = 0; index < 300; index++) engine.emit('container', 'exec_start: x', 'noise')
  const before = renewals
  await wait(t, 'renewed', () => renewals >= before + 3)
  t.strictSame(heard.doubts, [], 'no doubt while the old stream brings what the new one brings')
  unsent(engine, () => {
    for (let index = 0; index < 300; index++) engine.emit('container', 'die', `many${index}`)
  })
  await wait(t, 'the old stream is dead, as the new one shows', () => heard.gaps.length === 1)
  t.match(heard.doubts, [/had fallen silent/])
})

t.test('what proves that nothing is lost', async (t) => {
  const ring = ringOf(events(5000, 5100), { complete: false, oldest: start })
  const after = (seconds: bigint) => start + seconds * second
  t.ok(reachesBack(ring, eventKey(event(5000)), 0n), 'the last event is remembered')
  t.notOk(reachesBack(ring, eventKey(event(4999)), after(1n)))
  t.notOk(reachesBack(ring, undefined, after(1n)), 'stamps can be out of order')
  t.ok(reachesBack(ring, eventKey(event(4999)), after(2n)), 'something of before is remembered')
  t.notOk(reachesBack(ringOf([]), undefined, after(9n)), 'nothing is remembered')
  t.strictSame(gapBefore(ring, start - 5n, 'why'), { from: start - 5n, to: start - 1n, reason: 'why' })
  t.strictSame(gapBefore(ringOf([], { now: after(3n) }), start, 'why'), {
    from: start,
    to: after(3n),
    reason: 'why',
  })
})
