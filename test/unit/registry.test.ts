import fc from 'fast-check'
import t, { type Test } from 'tap'
import { until } from '../../process/backoff.ts'
import { explain, Failure, isFailure } from '../../process/failure.ts'
import { BucketWriter } from '../../registry/buckets.ts'
import { applied, diff } from '../../registry/diff.ts'
import { decode, encode, keyParts, keys, type RecordOf, serviceId } from '../../registry/keys.ts'
import { sidecarOf } from '../../registry/owner.ts'
import { Publisher, type PublisherHooks, type PublisherOptions } from '../../registry/publisher.ts'
import { protocols } from '../../registry/records.ts'
import { Session } from '../../registry/session.ts'
import { type Change, type Entry, type Lease, limits, type Store } from '../../registry/store.ts'
import { appliedBefore } from '../../registry/stores/etcd/transaction.ts'
import { parseStoreUri } from '../../registry/stores/etcd.ts'
import { type Call, MemoryStore } from '../../registry/stores/memory.ts'
import { tree, treeLines } from '../../registry/tree.ts'

const wait = async (t: Test, what: string, probe: () => boolean | Promise<boolean>) =>
  t.ok(await until(async () => (await probe()) || undefined, { ms: 5000, every: 5 }), what)
const values = async (store: MemoryStore, prefix = '') =>
  (await store.read(prefix)).entries.map(({ key, value }) => `${key}=${value}`)
const away = () => {
  throw new Failure('unavailable', 'the store is away')
}

t.test('diff', async (t) => {
  const ours = { id: 'ours', ttl: 10 } as Lease
  const owns = (key: string) => key.startsWith('mine/')
  const key = fc.constantFrom(
    ...['a', 'b', 'c', 'd', 'e'].flatMap((name) => [`mine/${name}`, `theirs/${name}`]),
  )
  const value = fc.constantFrom('1', '2', '3')
  const desired = fc.array(fc.tuple(key, value)).map((pairs) => new Map(pairs))
  const entry = fc.record({
    value,
    revision: fc.nat(9).map(String),
    lease: fc.constantFrom('ours', 'old', undefined),
  })
  const actual = fc
    .array(fc.tuple(key, entry))
    .map(
      (pairs) =>
        new Map(
          pairs.map(([key, { lease, ...rest }]): [string, Entry] => [
            key,
            { key, ...rest, ...(lease && { lease }) },
          ]),
        ),
    )
  const lease = fc.constantFrom(ours, undefined)
  const law = (
    name: string,
    holds: (d: Map<string, string>, a: Map<string, Entry>, l: Lease | undefined) => boolean,
  ) => t.doesNotThrow(() => fc.assert(fc.property(desired, actual, lease, holds), { numRuns: 500 }), name)
  const mine = <T>(map: ReadonlyMap<string, T>) => [...map].filter(([key]) => owns(key)).sort()

  law('applied, it gives what is desired, on the owner’s lease', (d, a, l) => {
    const after = applied(diff(d, a, { owns, lease: l }), a, 'new')
    const got = mine(after).map(([key, entry]) => [key, entry.value, entry.lease])
    return JSON.stringify(got) === JSON.stringify(mine(d).map(([key, value]) => [key, value, l?.id]))
  })
  law('once applied nothing is left to do', (d, a, l) => {
    const after = applied(diff(d, a, { owns, lease: l }), a, 'new')
    return diff(d, after, { owns, lease: l }).length === 0
  })
  law('what is spared stays, unless something is desired there, or this lease has brought it', (d, a, l) => {
    const spares = (key: string) => key < 'mine/c'
    const changes = diff(d, a, { owns, lease: l, spares })
    const stays = (key: string) => spares(key) && (!l || a.get(key)?.lease !== l.id)
    const all = diff(d, a, { owns, lease: l })
    return JSON.stringify(changes) === JSON.stringify(all.filter((c) => c.kind === 'put' || !stays(c.key)))
  })
  law('no key of another is touched', (d, a, l) =>
    diff(d, a, { owns, lease: l }).every(({ key }) => owns(key)),
  )
  law('each key once, guarded by what stands there, puts first', (d, a, l) => {
    const changes = diff(d, a, { owns, lease: l })
    const kinds = changes.map(({ kind }) => kind)
    return (
      new Set(changes.map(({ key }) => key)).size === changes.length &&
      kinds.lastIndexOf('put') < (kinds.indexOf('delete') + 1 || kinds.length + 1) &&
      changes.every(({ key, guard }) =>
        a.has(key)
          ? typeof guard === 'object' && guard.revision === a.get(key)?.revision
          : guard === 'absent',
      )
    )
  })
})

const service: RecordOf<'services'> = {
  service: 'web',
  host: 'h1',
  container: 'web-1',
  containerId: 'c1',
  address: '10.0.0.1',
  port: 8080,
  exposedPort: 80,
  protocol: 'tcp',
  tags: [],
  attributes: {},
  health: 'healthy',
}

t.test('keys', async (t) => {
  const name = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('a/b', '%2F', '%', '%25', 'h1', '', 'é/%zz'),
  )
  const law = (what: string, property: fc.IProperty<[string, string, string]>) =>
    t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }), what)
  law(
    'parts come back as they were, and never reach into another part',
    fc.property(name, name, name, (a, b, c) => {
      const same = (key: string, ...parts: string[]) =>
        JSON.stringify(keyParts(key)) === JSON.stringify(parts)
      return (
        same(keys.vsm(a, b), 'vsms', a, b) &&
        same(keys.inventory(a, 'image', b), 'inventory', a, 'image', b) &&
        same(keys.target(a, c), 'targets', a, c) &&
        same(keys.fence(c), 'fences', c)
      )
    }),
  )
  law(
    'different records have different keys',
    fc.property(
      name,
      name,
      name,
      (a, b, c) => (a === b && b === c) || keys.vsm(a, b) !== keys.vsm(b, c) || a === b,
    ),
  )
  law(
    'a sidecar owns its host’s keys and no other’s',
    fc.property(name, name, name, (host, other, thing) => {
      const named = { ...service, service: thing, container: 'c' }
      const of = (h: string) => [
        keys.host(h),
        keys.inventory(h, 'container', thing),
        keys.vsm(thing, h),
        ...protocols.map((protocol) => keys.service({ ...named, host: h, protocol })),
      ]
      const durable = [keys.volume(host), keys.target(host, thing), keys.alive(host), keys.attachment(host)]
      const { owns, prefixes, shared } = sidecarOf(host)
      // A ":" would make "a" the owner of what host "a:b" runs; no host is named so.
      const apart = host === other || host.includes(':') || other.includes(':') || !of(other).some(owns)
      return (
        of(host).every(
          (key) => owns(key) && [...prefixes, ...shared].some((prefix) => key.startsWith(prefix)),
        ) &&
        apart &&
        !durable.some(owns)
      )
    }),
  )
  t.equal(serviceId(service), 'h1:web-1:80')
  t.equal(keys.service({ ...service, protocol: 'udp' }), 'services/web/h1:web-1:80:udp')
  t.ok(keys.audit('h1', 999, 2) < keys.audit('h1', 1000, 0), 'audit keys sort by time')

  t.test('records', async (t) => {
    const text = encode('services', service)
    const shuffled = Object.fromEntries(Object.entries(service).reverse()) as typeof service
    t.equal(encode('services', shuffled), text, 'equal records are equal texts')
    t.same(decode('services', 'k', text), service)
    const newer = JSON.stringify({ ...service, weight: 3 })
    t.match(
      encode('services', decode('services', 'k', newer)),
      /"weight":3/,
      'a newer version’s field survives',
    )
    const refused = (what: () => unknown) => {
      try {
        what()
        return 'accepted'
      } catch (error) {
        return isFailure(error, 'invalid') ? error.message : String(error)
      }
    }
    t.match(
      refused(() => encode('services', { ...service, port: 0 })),
      /services\/ does not fit its schema/,
    )
    t.match(
      refused(() => decode('services', 'services/x/y', '{}')),
      /services\/x\/y does not fit/,
    )
    t.match(
      refused(() => decode('services', 'services/x/y', '{')),
      /services\/x\/y holds no JSON/,
    )
  })
})

t.test('addresses of etcd', async (t) => {
  t.same(parseStoreUri('etcd://10.0.0.1,[fd00::1]:4001,etcd.local:2379/a/b/'), {
    hosts: ['10.0.0.1:2379', '[fd00::1]:4001', 'etcd.local:2379'],
    tls: false,
    prefix: '/a/b',
  })
  t.same(parseStoreUri('etcds://h'), { hosts: ['h:2379'], tls: true, prefix: '/openebs/v1' })
  t.same(parseStoreUri('etcd://h/').prefix, '/openebs/v1')
  for (const uri of [
    '',
    'etcd://',
    'http://h',
    'etcd:h',
    'etcd://h:0',
    'etcd://h:70000',
    'etcd://a,,b',
    'etcd://h?x',
    'etcd://fd00::1',
  ])
    t.throws(() => parseStoreUri(uri), /expected etcd:\/\/host/, `"${uri}"`)
  try {
    parseStoreUri('etcd://root:sesame@h')
    t.fail('a password in an address is refused')
  } catch (error) {
    t.notMatch(explain(error), /sesame/)
  }
})

t.test('what an earlier try of a transaction left', async (t) => {
  const lease = { id: 'l1' } as Lease
  const changes: Change[] = [
    { kind: 'put', key: 'a', value: '1', guard: 'absent', lease },
    { kind: 'put', key: 'b', value: '2', guard: { revision: '5' } },
    { kind: 'delete', key: 'c', guard: { revision: '6' } },
  ]
  const a = { key: 'a', value: '1', revision: '9', lease: 'l1' }
  const b = { key: 'b', value: '2', revision: '9' }
  const c = { key: 'c', value: '', revision: '6' }
  const of = (...entries: Entry[]) =>
    appliedBefore(changes, new Map(entries.map((entry) => [entry.key, entry])), '20')
  t.equal(of(a, b), '9', 'all of it, at one revision')
  t.equal(of(a, b, c), undefined, 'what was to be deleted stands')
  t.equal(of(a), undefined, 'a put is missing')
  t.equal(of({ ...a, value: 'x' }, b), undefined, 'another value')
  t.equal(of({ ...a, lease: 'l2' }, b), undefined, 'another lease')
  t.equal(of({ ...a, revision: '8' }, b), undefined, 'two revisions')
  t.equal(of({ ...a, revision: '5' }, { ...b, revision: '5' }), undefined, 'the guarded revision')
  t.equal(appliedBefore(changes.slice(2), new Map(), '20'), '20', 'deletes alone')
})

t.test('session', async (t) => {
  let broken: Call | undefined
  const store = new MemoryStore({ before: (call) => (call === broken ? away() : undefined) })
  const stop = new AbortController()
  const session = new Session(store, { ttl: 1 })
  const changes: (string | undefined)[] = []
  session.onChange(() => changes.push(session.current()?.lease.id))
  broken = 'grant'
  session.start(stop.signal)
  t.throws(() => session.start(stop.signal), /a session starts once/)
  t.equal(session.current(), undefined)
  broken = undefined
  await wait(t, 'acquired when the store is back', () => session.current() !== undefined)
  const first = session.current()
  broken = 'keepAlive'
  session.check()
  await until(() => first?.lost.aborted || undefined, { ms: 600 })
  t.equal(first?.lost.aborted, false, 'a store that is away is no lost lease')
  broken = undefined
  store.expire(first?.lease.id ?? '')
  session.check()
  await wait(
    t,
    'replaced',
    () => session.current() !== undefined && session.current()?.lease !== first?.lease,
  )
  t.equal(first?.lost.aborted, true)
  const second = session.current()
  await store.apply([
    { kind: 'put', key: 'a', value: '', guard: 'absent', ...(second && { lease: second.lease }) },
  ])
  await until(() => undefined, { ms: 1500 })
  t.same(await values(store), ['a='], 'kept beyond its TTL')
  await session.revoke()
  t.same(await values(store), [], 'revoked with its keys')
  t.equal(second?.lost.aborted, true)
  t.same(changes, [first?.lease.id, undefined, second?.lease.id, undefined])
  await store.close()
})

t.test('publisher', async (t) => {
  let fail: ((call: Call) => void) | undefined
  let reads = 0
  const store = new MemoryStore({
    before: (call) => {
      if (call === 'read') reads += 1
      fail?.(call)
    },
  })
  const counts = { written: 0, retried: 0, conflicted: 0, settled: 0 }
  const passes: number[] = []
  const hooks: PublisherHooks = {
    written: (changes) => (counts.written += changes.length),
    retried: () => (counts.retried += 1),
    conflicted: () => (counts.conflicted += 1),
    settled: () => (counts.settled += 1),
    passed: (ms) => passes.push(ms),
  }
  const stop = new AbortController()
  const session = new Session(store, { ttl: 10 })
  const owns = (key: string) => key.startsWith('own/') && !key.endsWith('/foreign')
  await store.apply([
    { kind: 'put', key: 'own/foreign', value: 'theirs', guard: 'absent' },
    { kind: 'put', key: 'own/left', value: 'by an earlier run', guard: 'absent' },
  ])
  const publisher = new Publisher({ store, session, prefixes: ['own/'], owns, hooks })
  publisher.publish(
    new Map([
      ['own/a', '1'],
      ['elsewhere', 'not ours'],
    ]),
  )
  publisher.start(stop.signal)
  t.ok(publisher.lag() > 0)
  session.start(stop.signal)
  await publisher.settled()
  t.same(await values(store), ['own/a=1', 'own/foreign=theirs'], 'converged, and touched nothing of others')
  t.equal(publisher.lag(), 0)

  t.ok(passes.length > 0 && passes.every((ms) => ms > 0), 'each pass is timed')

  const [written, readsBefore] = [counts.written, reads]
  publisher.publish(new Map([['own/a', '1']]))
  await publisher.settled()
  publisher.publish(new Map([['own/a', '2']]))
  await publisher.settled()
  t.equal(counts.written, written + 1, 'what is equal is not written')
  t.equal(reads, readsBefore, 'nor read again')

  await store.apply([{ kind: 'put', key: 'own/a', value: 'by another hand', guard: 'any' }])
  publisher.publish(new Map([['own/a', '3']]))
  await publisher.settled()
  t.match(await values(store), ['own/a=3'])
  t.equal(counts.conflicted, 1, 'a conflict is read and settled')
  await store.apply([{ kind: 'delete', key: 'own/a', guard: 'any' }])
  publisher.resync()
  await wait(t, 'a resync restores', async () => (await values(store)).includes('own/a=3'))

  fail = (call) => (call === 'apply' ? away() : undefined)
  for (const n of ['4', '5', '6']) publisher.publish(new Map([['own/a', n]]))
  await wait(t, 'it tries on', () => counts.retried >= 2)
  publisher.publish(new Map([['own/a', '7']]))
  fail = undefined
  const before = counts.written
  await publisher.settled()
  t.match(await values(store), ['own/a=7'])
  t.equal(counts.written, before + 1, 'only the newest was written')

  const many = new Map(Array.from({ length: 250 }, (_, n): [string, string] => [`own/many/${n}`, 'old']))
  publisher.publish(many)
  let applies = 0
  fail = (call) => {
    // A newer state comes while the first of three transactions is under way.
    if (call === 'apply' && ++applies === 1) publisher.publish(new Map([['own/a', 'newest']]))
  }
  await wait(t, 'the rest of an outdated pass is left out', async () =>
    (await values(store)).includes('own/a=newest'),
  )
  await publisher.settled()
  t.same((await values(store)).length, 2)
  t.ok(applies <= 3, `${applies} transactions`)

  store.expire(session.current()?.lease.id ?? '')
  publisher.publish(new Map([['own/a', '8']]))
  await publisher.settled()
  t.same(
    (await store.read('own/a')).entries.map(({ value, lease }) => [value, lease]),
    [['8', session.current()?.lease.id]],
    'a write that finds the lease gone gets a new one',
  )
  fail = away
  publisher.publish(new Map())
  const never = publisher.settled().then(
    () => 'settled',
    (error: unknown) => explain(error),
  )
  await publisher.stop()
  t.match(await never, /stopped before all was written/)
  await session.release()
  await store.close()
})

/** A session, which already holds a lease where `holding`, and a publisher of what is below own/ and of the keys below all/ that end in /h1. */
const publishing = async (
  t: Test,
  store: Store,
  { holding, ...options }: Partial<PublisherOptions> & { holding?: boolean } = {},
) => {
  const stop = new AbortController()
  const session = new Session(store, { ttl: 60 })
  const owns = (key: string) => key.startsWith('own/') || (key.startsWith('all/') && key.endsWith('/h1'))
  const publisher = new Publisher({ store, session, prefixes: ['own/'], shared: ['all/'], owns, ...options })
  if (!holding) publisher.start(stop.signal)
  session.start(stop.signal)
  if (holding) {
    await wait(t, 'it holds a lease', () => session.current() !== undefined)
    publisher.start(stop.signal)
  }
  t.teardown(async () => {
    stop.abort()
    await publisher.stop()
    await session.release()
    await store.close()
  })
  return { publisher, session }
}
const of = (...pairs: string[]) =>
  new Map(pairs.map((pair) => pair.split('=') as [key: string, value: string]))
const foreign = (store: MemoryStore, key: string, value?: string) =>
  store.apply([
    value === undefined ? { kind: 'delete', key, guard: 'any' } : { kind: 'put', key, value, guard: 'any' },
  ])

/** Which prefixes are searched, and which keys and prefixes are read with their values, in a store that is not empty. */
const observed = async () => {
  const store = new MemoryStore()
  const [reads, searches]: [string[], string[]] = [[], []]
  const asked: (readonly string[])[] = []
  const { read, readKeys } = store
  store.read = (prefix) => {
    reads.push(prefix)
    return read.call(store, prefix)
  }
  store.stamps = async (prefix) => {
    searches.push(prefix)
    const found = await read.call(store, prefix)
    return { ...found, entries: found.entries.map(({ value: _, ...stamp }) => stamp) }
  }
  store.readKeys = (keys) => {
    asked.push(keys)
    return readKeys.call(store, keys)
  }
  await foreign(store, 'all/b/h2', 'theirs')
  await foreign(store, 'all/left/h1', 'by an earlier run')
  return { store, reads, searches, asked }
}

t.test('what others have beside our keys is searched at the start and at a sweep alone', async (t) => {
  const { store, reads, searches, asked } = await observed()
  const sweepEvery = 300
  const { publisher, session } = await publishing(t, store, { sweepEvery })
  publisher.publish(of('own/a=1', 'all/a/h1=1'))
  await publisher.settled()
  const began = performance.now()
  t.same([reads.splice(0), searches.splice(0)], [['own/'], ['all/']], 'all of it at first')
  t.same(asked.splice(0), [['all/left/h1']], 'but the values of our own keys alone')
  t.same(await values(store), ['all/a/h1=1', 'all/b/h2=theirs', 'own/a=1'])

  await foreign(store, 'all/a/h1')
  await foreign(store, 'all/ghost/h1', 'x')
  publisher.resync()
  await wait(t, 'a resync restores', async () => (await values(store, 'all/a')).length === 1)
  t.notOk(searches.includes('all/'), 'without a search among what all have')
  t.same(asked.splice(0), [['all/a/h1']])
  t.match(await values(store, 'all/'), ['all/a/h1=1', 'all/b/h2=theirs', 'all/ghost/h1=x'])
  await until(() => performance.now() > began + 1.2 * sweepEvery || undefined, { ms: 5000 })
  publisher.resync()
  await wait(t, 'a sweep finds the rest', async () => (await values(store, 'all/ghost')).length === 0)

  searches.length = 0
  store.expire(session.current()?.lease.id ?? '')
  session.check()
  await wait(t, 'a new lease', () => searches.includes('all/'))
  await publisher.settled()
  await wait(t, 'all is back', async () => (await values(store)).length === 3)
})

t.test('where nothing can be left by an earlier run, nothing is searched', async (t) => {
  const { store, searches } = await observed()
  const { publisher } = await publishing(t, store, { inherited: false, sweepEvery: 300, holding: true })
  publisher.publish(of('own/a=1', 'all/a/h1=1'))
  await publisher.settled()
  t.same(searches, [])
  t.same(await values(store), ['all/a/h1=1', 'all/b/h2=theirs', 'all/left/h1=by an earlier run', 'own/a=1'])
  const swept = async () => {
    publisher.resync()
    return (await values(store, 'all/left')).length === 0
  }
  await wait(t, 'but by the next sweep', swept)
})

t.test('what another hand changes is put right at once, unless it goes on and on', async (t) => {
  const store = new MemoryStore()
  let fights = true
  let theirs = 0
  let conflicts = 0
  const told: string[] = []
  const log = { info: () => {}, warn: (_: unknown, text?: string) => void told.push(text ?? '') }
  const hooks: PublisherHooks = { conflicted: (keys) => (conflicts += keys.length) }
  const { publisher } = await publishing(t, store, { hooks, log })
  publisher.publish(of('own/a=1', 'own/b=1'))
  await publisher.settled()
  const { revision } = await store.read('')
  let writes = 0
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  void (async () => {
    for await (const events of store.watch('own/', revision, stop.signal)) writes += events.length
  })()
  const healed = async () => String(await values(store)) === 'own/a=1,own/b=1'
  await foreign(store, 'own/a')
  await wait(t, 'a deletion', healed)
  await foreign(store, 'own/b', '2')
  await wait(t, 'an edit', healed)
  await foreign(store, 'own/c', '3')
  await wait(t, 'a key that nobody wants', healed)
  await wait(t, 'counted', () => conflicts === 3)
  await wait(t, 'and seen', () => writes === 6)

  const fighter = (async () => {
    while (fights) {
      if ((await values(store, 'own/a'))[0] !== 'own/a=theirs') {
        theirs += 1
        await foreign(store, 'own/a', 'theirs')
      }
      await until(() => undefined, { ms: 1 })
    }
  })()
  await until(() => undefined, { ms: 1000 })
  const before = writes
  publisher.publish(of('own/a=1', 'own/b=2'))
  await wait(
    t,
    'other keys are written all the same',
    async () => (await values(store, 'own/b'))[0] === 'own/b=2',
  )
  t.ok(theirs > 3 && theirs < 12, `a fight is bounded: ${theirs} rounds`)
  t.ok(before < 30, `${before} writes`)
  fights = false
  await fighter
  await wait(t, 'in the end it is right', async () => (await values(store, 'own/a'))[0] === 'own/a=1')
  t.same(told, ['put right what another hand had changed'], 'told once')
})

t.test('a watch that cannot go on begins anew', async (t) => {
  const store = new MemoryStore()
  const { watch } = store
  let broken = true
  let begun = 0
  store.watch = (prefix, from, signal) => {
    begun += 1
    if (broken) throw new Failure('conflict', 'the history is gone')
    return watch.call(store, prefix, from, signal)
  }
  const { publisher } = await publishing(t, store)
  publisher.publish(of('own/a=1'))
  await publisher.settled()
  await wait(t, 'it is tried', () => begun > 0)
  await foreign(store, 'own/a', '2')
  await wait(t, 'what was missed a resync finds', async () => (await values(store))[0] === 'own/a=1')
  broken = false
  const before = begun
  await wait(t, 'it is tried again', () => begun > before)
  await foreign(store, 'own/a', '3')
  await wait(t, 'and it follows', async () => (await values(store))[0] === 'own/a=1')
})

t.test('over many transactions all puts come before any delete', async (t) => {
  const store = new MemoryStore()
  const { apply } = store
  const kinds: string[] = []
  let under = 0
  let most = 0
  store.apply = async (changes) => {
    most = Math.max(most, ++under)
    await until(() => undefined, { ms: 2 })
    const revision = await apply.call(store, changes)
    kinds.push(...changes.map(({ kind }) => kind))
    under -= 1
    return revision
  }
  const { publisher } = await publishing(t, store)
  const many = (name: string) => of(...Array.from({ length: 450 }, (_, n) => `own/${name}/${n}=1`))
  publisher.publish(many('old'))
  await publisher.settled()
  kinds.length = 0
  publisher.publish(many('new'))
  await publisher.settled()
  t.equal(kinds.lastIndexOf('put') + 1, kinds.indexOf('delete'))
  t.equal(kinds.length, 900)
  t.equal(most, limits.transactions)
})

t.test('another may take the place of the owner', async (t) => {
  const store = new MemoryStore()
  const { publisher } = await publishing(t, store, { isTaken: ({ value }) => value === 'another' })
  publisher.publish(of('own/me=1', 'own/a=1'))
  await publisher.settled()
  await foreign(store, 'own/me', 'another')
  await wait(t, 'it is seen', () => publisher.taken.aborted)
  publisher.publish(of('own/me=1', 'own/a=2'))
  await t.rejects(publisher.settled(), /stopped before all was written/)
  t.same(await values(store), ['own/a=1', 'own/me=another'], 'and nothing is written any more')
})

t.test('buckets', async (t) => {
  let fail: ((call: Call) => void) | undefined
  let granted = 0
  const store = new MemoryStore({
    before: (call) => {
      if (call === 'grant') granted += 1
      fail?.(call)
    },
  })
  let now = 0
  const stop = new AbortController()
  const queue: string[] = []
  const refused: string[] = []
  const writer = new BucketWriter(
    store,
    {
      next: (size) => {
        const batch = queue.slice(0, size)
        if (batch.length === 0) return undefined
        return {
          size: batch.length,
          changes: (lease) =>
            batch.map((name) => ({ kind: 'put', key: `audit/h1/${name}`, value: name, guard: 'any', lease })),
          written: () => void queue.splice(0, batch.length),
          refused: () => void refused.push(...queue.splice(0, batch.length)),
        }
      },
    },
    { keep: 60, span: 600, now: () => now },
  )
  const running = writer.run(stop.signal)
  const append = (...names: string[]) => {
    queue.push(...names)
    writer.wake()
  }
  const written = () => wait(t, 'written', () => queue.length === 0)
  append('1', '2')
  await written()
  now = 599_000
  append('3')
  await written()
  t.equal(granted, 1, 'one lease for ten minutes')
  now = 601_000
  append('4')
  await written()
  const entries = (await store.read('audit/')).entries
  t.equal(new Set(entries.map(({ lease }) => lease)).size, 2)
  store.expire(entries[0]?.lease ?? '')
  t.same(await values(store), ['audit/h1/4=4'], 'a bucket goes as a whole')

  let failed = 0
  fail = () => {
    failed += 1
    away()
  }
  append('a', 'b')
  await wait(t, 'tried again', () => failed > 1)
  fail = undefined
  await written()
  t.same((await values(store)).slice(1), ['audit/h1/a=a', 'audit/h1/b=b'])

  store.expire(entries.at(-1)?.lease ?? '')
  append('5')
  await written() // a lost lease is replaced
  const apply = store.apply.bind(store)
  store.apply = async (changes) => {
    if (changes.some(({ key }) => key.endsWith('poison'))) throw new Failure('invalid', 'too large')
    return apply(changes)
  }
  append('6', 'poison', '7')
  await written()
  t.same(
    (await values(store)).slice(-3),
    ['5', '6', '7'].map((n) => `audit/h1/${n}=${n}`),
    'one bad entry costs itself',
  )
  t.same(refused, ['poison'])
  fail = away
  append('8')
  stop.abort()
  await writer.drain(50, running)
  t.same(queue, ['8'], 'a store that is away holds up no end')
  fail = undefined
  await writer.drain(1000)
  t.same(queue, [], 'and what waits is written at the end')
  await store.close()
})

t.test('tree', async (t) => {
  const at = '2026-01-01T00:00:00Z'
  const uuid = '0b0c9dfe-5a4b-4d2e-9d3c-3f4d1c1f2a33'
  const entry = (key: string, value: string): Entry => ({ key, value, revision: '1' })
  const volume = (name: string, host: string): Entry =>
    entry(
      keys.volume(name),
      encode('volumes', {
        name,
        uuid,
        spec: { size: 3 * 2 ** 29, fs: 'ext4' },
        placement: { host },
        wanted: 'present',
        created: at,
      }),
    )
  const image = { kind: 'image' as const, host: 'h1', name: 'i', tags: [], size: 1, created: at }
  const entries = [
    entry(
      keys.host('h1'),
      encode('hosts', {
        host: 'h1',
        address: '10.0.0.1',
        engine: { version: '29.1.0', os: 'linux', arch: 'amd64', kernel: '6.1', storage: 'overlay2' },
        versions: { sidecar: '0.1.0' },
        capacity: { cpus: 2, memory: 1 },
        instance: 'i1',
        since: at,
      }),
    ),
    entry(keys.alive('h1'), encode('alive', { host: 'h1', version: '0.1.0', since: at, boot: 'b' })),
    volume('data', 'h1'),
    volume('far', 'h2'),
    entry(
      keys.target('h1', 'data'),
      encode('targets', {
        volume: 'data',
        host: 'h1',
        uuid,
        iqn: 'iqn.2016-09.com.openebs:data',
        portal: '10.0.0.1:3260',
        epoch: 1,
        phase: 'ready',
        container: 'vsm-data',
        containerId: 'c2',
      }),
    ),
    entry(
      keys.attachment('data'),
      encode('attachments', { volume: 'data', host: 'h3', epoch: 1, state: 'claimed', since: at }),
    ),
    entry(
      keys.vsm('data', 'h1'),
      encode('vsms', {
        vsm: 'data',
        host: 'h1',
        container: 'vsm-data',
        containerId: 'c2',
        portals: ['10.0.0.1:3260'],
        targets: [],
        health: 'unknown',
        reason: 'CHAP',
      }),
    ),
    entry(keys.service(service), encode('services', service)),
    ...['1', '2'].map((id) =>
      entry(keys.inventory('h1', 'image', id), encode('inventory', { ...image, id })),
    ),
    entry('services/broken/x', 'no JSON'),
    entry('unknown/x', '{}'),
    entry('policy', '{}'),
  ]
  const hosts = tree(entries)
  t.same(treeLines(hosts), [
    'h1  10.0.0.1  Docker 29.1.0  plugin',
    '  volumes',
    '    data  1.5 GiB ext4  ready  attached to h3 (claimed)',
    '  VSMs',
    '    data  10.0.0.1:3260  targets unknown  unknown: CHAP',
    '  services',
    '    web  web-1  10.0.0.1:8080/tcp  healthy',
    '  inventory',
    '    2 images',
    'h2  not registered',
    '  volumes',
    '    far  1.5 GiB ext4  pending  not attached',
  ])
  t.same(JSON.parse(JSON.stringify(hosts)), hosts, 'it is its own JSON form')
  t.same(tree([]), [])
})
