import t, { type Test } from 'tap'
import { until } from '../../process/backoff.ts'
import { explain, type FailureKind, isFailure } from '../../process/failure.ts'
import { keyParts, keys } from '../../registry/keys.ts'
import type { Change, Check, Entry, Event, Snapshot, Stamp, Store } from '../../registry/store.ts'
import { chunks, limits } from '../../registry/store.ts'
import { type EtcdSettings, openEtcd } from '../../registry/stores/etcd.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { startEtcd } from '../support/etcd.ts'

const put = (key: string, value: string, guard: Change['guard'] = 'absent'): Change => ({
  kind: 'put',
  key,
  value,
  guard,
})
const values = async (store: Store, prefix: string) =>
  (await store.read(prefix)).entries.map(({ key, value }) => `${key}=${value}`)

/** What `promise` fails with; undefined if it does not. */
const kindOf = (promise: Promise<unknown>): Promise<FailureKind | undefined> =>
  promise.then(
    () => undefined,
    (error: unknown) => {
      if (isFailure(error)) return error.kind
      throw error
    },
  )

/** Collects what a watch yields until `done` is true of it; then stops the watch and waits for its end. */
const watched = async (
  store: Store,
  prefix: string,
  from: string,
  done: (events: readonly Event[]) => boolean,
) => {
  const stop = new AbortController()
  const events: Event[] = []
  const batches: number[] = []
  for await (const batch of store.watch(
    prefix,
    from,
    AbortSignal.any([stop.signal, AbortSignal.timeout(10_000)]),
  )) {
    events.push(...batch)
    batches.push(batch.length)
    if (done(events)) stop.abort()
  }
  const texts = events.map((event) =>
    event.kind === 'put' ? `${event.entry.key}=${event.entry.value}` : `-${event.key}`,
  )
  return { events, texts, batches }
}

interface Opened {
  store: Store
  /** Drops the history before now. */
  compact(): Promise<void>
}

const contract = (name: string, open: (t: Test) => Promise<Opened>) =>
  t.test(name, async (t) => {
    const { store, compact } = await open(t)
    t.teardown(() => store.close())

    await t.test('a guard that does not hold refuses the whole write', async (t) => {
      const first = await store.apply([put('g/a', '1'), put('g/b', '1')])
      t.equal(
        await kindOf(store.apply([put('g/c', '2'), put('g/a', '2')])),
        'conflict',
        'absent, but it is there',
      )
      t.equal(
        await kindOf(store.apply([put('g/z', '2', { revision: first })])),
        'conflict',
        'a revision of no key',
      )
      const second = await store.apply([put('g/a', '2', { revision: first })])
      t.not(second, first)
      t.equal(
        await kindOf(store.apply([put('g/a', '3', { revision: first }), put('g/d', '3')])),
        'conflict',
        'old',
      )
      t.same(await values(store, 'g/'), ['g/a=2', 'g/b=1'], 'nothing of a refused write stands')
      const read = await store.read('g/')
      t.same(
        read.entries.map(({ revision }) => revision),
        [second, first],
        'entries carry the revision of their own last write',
      )
      await store.apply([
        put('g/a', 'any', 'any'),
        { kind: 'delete', key: 'g/b', guard: { revision: first } },
        { kind: 'delete', key: 'g/none', guard: 'any' },
      ])
      t.same(await values(store, 'g/'), ['g/a=any'])
      t.equal(
        await kindOf(store.apply([{ kind: 'delete', key: 'g/a', guard: { revision: first } }])),
        'conflict',
      )
      await store.apply([put('g/b', 'again')])
      t.same(await values(store, 'g/'), ['g/a=any', 'g/b=again'], 'absent holds again after a delete')
    })

    await t.test('what no store takes is invalid', async (t) => {
      const many = (count: number) => Array.from({ length: count }, (_, index) => put(`many/${index}`, ''))
      t.equal(await kindOf(store.apply(many(limits.changes + 1))), 'invalid')
      t.equal(await kindOf(store.apply([put('twice', '1'), put('twice', '2')])), 'invalid')
      t.same(await values(store, 'many/'), [])
      await store.apply(many(limits.changes))
      t.equal((await store.read('many/')).entries.length, limits.changes)
    })

    await t.test('a read is of one revision and of its prefix alone', async (t) => {
      await store.apply([put('p/a/1', ''), put('p/ab/1', ''), put('p/a0', ''), put('p/a', '')])
      t.same(await values(store, 'p/a/'), ['p/a/1='])
      t.same(await values(store, 'p/a'), ['p/a=', 'p/a/1=', 'p/a0=', 'p/ab/1='], 'in the order of the keys')
      const page = Array.from({ length: 2500 }, (_, index) => put(`r/${String(index).padStart(4, '0')}`, '0'))
      for (let at = 0; at < page.length; at += 100) await store.apply(page.slice(at, at + 100))
      let writing = true
      const writer = (async () => {
        for (let n = 1; writing; n++)
          await store.apply([put('r/0000', `${n}`, 'any'), put('r/2499', `${n}`, 'any')])
      })()
      for (let n = 0; n < 10; n++) {
        const { entries } = await store.read('r/')
        t.equal(entries.length, 2500)
        t.equal(entries.at(0)?.value, entries.at(-1)?.value, 'both ends are of the same write')
      }
      writing = false
      await writer
    })

    await t.test('keys are read as they were asked for, and as of one revision', async (t) => {
      const key = (n: number) => `k/${String(n).padStart(4, '0')}`
      const all = Array.from({ length: 450 }, (_, n) => key(n))
      for (const part of chunks(all, limits.changes)) await store.apply(part.map((one) => put(one, '0')))
      await store.apply([put('k/00000', 'begins like a key that is asked for')])
      const { entries, origin, revision } = await store.readKeys(['k/0007', 'k/none', 'k/0000', 'k/0007'])
      t.same(
        entries.map((one) => one.key),
        ['k/0007', 'k/0000'],
        'in order, each once, absent ones left out',
      )
      t.equal(origin, (await store.read('k/')).origin)
      t.equal(revision, (await store.read('k/')).revision)
      t.same((await store.readKeys([])).entries, [])
      const bare = (snapshot: Snapshot) => ({
        ...snapshot,
        entries: snapshot.entries.map(({ value: _, ...stamp }) => stamp),
      })
      t.strictSame(await store.stamps('k/'), bare(await store.read('k/')), 'stamps are all but the values')
      t.strictSame(await store.stampsOf(all), bare(await store.readKeys(all)))
      t.same((await store.stampsOf(['k/none'])).entries, [])
      let writing = true
      const writer = (async () => {
        for (let n = 1; writing; n++)
          await store.apply([put(key(0), `${n}`, 'any'), put(key(449), `${n}`, 'any')])
      })()
      for (let n = 0; n < 10; n++) {
        const read = (await store.readKeys(all)).entries
        t.equal(read.length, 450)
        t.equal(read.at(0)?.value, read.at(-1)?.value, 'both ends are of the same write')
      }
      writing = false
      await writer
    })

    await t.test('whether all is as it was', async (t) => {
      await store.apply([put('m/a', '1'), put('m/b', '1')])
      await store.apply([put('m/c', '1')])
      await store.apply([put('ma', '1')])
      const { entries, origin } = await store.read('m/')
      const [a, b, c] = entries as [Entry, Entry, Entry]
      const stands = async (...stamps: Stamp[]) => (await store.matches('m/', stamps)).holds
      t.ok(await stands(a, b, c))
      t.ok(await stands(c, a, b), 'in any order')
      const verdict = await store.matches('m/', entries)
      t.same(verdict, { holds: true, origin, revision: (await store.read('')).revision })
      t.notOk(await stands(a, b), 'one more than expected, the newest')
      t.notOk(await stands(b, c), 'one more than expected, an older one')
      t.notOk(await stands(a, b, c, { ...a, key: 'm/d' }), 'one less than expected')
      t.notOk(await stands(a, b, { ...c, key: 'm/d' }), 'another key')
      t.notOk(await stands(a, b, { ...c, revision: verdict.revision }), 'another revision')
      t.ok((await store.matches('none/', [])).holds)
      t.notOk((await store.matches('m/', [])).holds)
      t.notOk((await store.matches('none/', [a])).holds)

      const holds = async (...checks: Check[]) => (await store.holds(checks)).holds
      t.ok(
        await holds({ key: 'm/a', guard: a }, { key: 'm/d', guard: 'absent' }, { key: 'm/b', guard: 'any' }),
      )
      t.same(await store.holds([]), verdict)
      t.notOk(await holds({ key: 'm/a', guard: a }, { key: 'm/b', guard: 'absent' }))
      t.notOk(await holds({ key: 'm/d', guard: a }))
      const many = Array.from({ length: 250 }, (_, n): Check => ({ key: `m/none/${n}`, guard: 'absent' }))
      t.ok(await holds(...many, { key: 'm/c', guard: c }))
      t.notOk(await holds(...many, { key: 'm/c', guard: a }), 'the last of many')

      const rewritten = await store.apply([put('m/a', '1', 'any')])
      t.notOk(await stands(a, b, c), 'the same value written again')
      t.notOk(await holds({ key: 'm/a', guard: a }))
      t.ok(await stands({ key: 'm/a', revision: rewritten }, b, c))
      await store.apply([{ kind: 'delete', key: 'm/b', guard: 'any' }, put('m/d', '1')])
      t.notOk(await stands({ key: 'm/a', revision: rewritten }, b, c), 'one for another')
    })

    await t.test('a lease takes its keys with it', async (t) => {
      const lease = await store.grant(60)
      t.equal(lease.ttl, 60)
      await store.apply([{ ...put('l/a', '1'), lease } as Change, put('l/b', '1')])
      t.same(
        (await store.read('l/')).entries.map((entry) => entry.lease),
        [lease.id, undefined],
      )
      await lease.keepAlive()
      await lease.revoke()
      t.same(await values(store, 'l/'), ['l/b=1'])
      t.equal(await kindOf(lease.keepAlive()), 'not-found')
      t.equal(
        await kindOf(store.apply([put('l/d', '1'), { ...put('l/c', '1'), lease } as Change])),
        'not-found',
      )
      t.same(await values(store, 'l/'), ['l/b=1'], 'a put on a dead lease writes nothing')
      await lease.revoke()
      t.pass('revoking twice is no error')
    })

    await t.test('a lease that nobody keeps alive expires', async (t) => {
      const [kept, left] = [await store.grant(1), await store.grant(1)]
      await store.apply([
        { ...put('x/kept', ''), lease: kept } as Change,
        { ...put('x/left', ''), lease: left } as Change,
      ])
      const expired = await until(
        async () => {
          await kept.keepAlive()
          return (await values(store, 'x/')).length < 2 || undefined
        },
        { ms: 8000, every: 100 },
      )
      t.ok(expired, 'it expired')
      t.same(await values(store, 'x/'), ['x/kept='])
      t.equal(await kindOf(left.keepAlive()), 'not-found')
    })

    await t.test('a watch tells everything after its revision, in order', async (t) => {
      const from = (await store.read('')).revision
      const lease = await store.grant(60)
      const first = await store.apply([put('w/a', '1'), put('w/b', '1'), put('other', '1')])
      await store.apply([put('w/a', '2', { revision: first })])
      const following = watched(store, 'w/', from, (events) => events.length >= 6)
      await store.apply([
        { kind: 'delete', key: 'w/b', guard: { revision: first } },
        { ...put('w/c', '3'), lease } as Change,
      ])
      await lease.revoke()
      const { texts, events } = await following
      t.same(new Set(texts.slice(0, 2)), new Set(['w/a=1', 'w/b=1']))
      t.same(texts.slice(2, 3), ['w/a=2'])
      t.same(new Set(texts.slice(3, 5)), new Set(['-w/b', 'w/c=3']))
      t.same(texts.slice(5), ['-w/c'], 'the end of a lease deletes its keys')
      const put0 = events[0]
      t.equal(put0?.kind === 'put' && put0.entry.revision, first)
      t.same(
        (await watched(store, 'w/', first, (all) => all.length >= 4)).texts[0],
        'w/a=2',
        'from just after',
      )
    })

    await t.test('a watch ends with its signal, also when nothing happens', async (t) => {
      const stop = new AbortController()
      const { revision } = await store.read('')
      const ended = (async () => {
        for await (const _ of store.watch('nothing/', revision, stop.signal)) t.fail('nothing happens there')
      })()
      await store.apply([put('quiet', '1', 'any')])
      stop.abort()
      await ended
      for await (const _ of store.watch('nothing/', revision, stop.signal))
        t.fail('it has ended before it began')
    })

    await t.test('a watch that cannot prove its history says conflict', async (t) => {
      const { revision } = await store.read('')
      await store.apply([put('c/a', '1')])
      await store.apply([put('c/b', '1')])
      await compact()
      t.equal(await kindOf(watched(store, 'c/', revision, () => false)), 'conflict')
      const now = (await store.read('c/')).revision
      const following = watched(store, 'c/', now, () => true)
      await store.apply([put('c/c', '1')])
      t.same((await following).texts, ['c/c=1'], 'reading again gives a revision to follow from')
    })

    await t.test('odd names come back as they were', async (t) => {
      const names = [
        'a/b',
        'a%2Fb',
        '100%',
        'ünï çødé 🐳',
        'line\nfeed',
        ' ',
        '..',
        '%%25',
        'ÿ',
        '\u{10ffff}',
      ]
      await store.apply(names.map((name) => put(keys.vsm(name, 'h/1'), name)))
      const { entries } = await store.read('vsms/')
      t.same(
        new Map(entries.map(({ key, value }) => [keyParts(key)[1], value])),
        new Map(names.map((n) => [n, n])),
      )
      t.ok(entries.every(({ key }) => keyParts(key).length === 3 && keyParts(key)[2] === 'h/1'))
      t.equal((await store.read(`${keys.vsm('\u{10ffff}', '').slice(0, -1)}`)).entries.length, 1)
    })
  })

await contract('in memory', async () => {
  const store = new MemoryStore()
  return { store, compact: async () => store.compact() }
})

await contract('in etcd', async (t) => {
  const etcd = await startEtcd(t)
  return { store: await openEtcd({ uri: etcd.uri, writer: 'contract' }), compact: () => etcd.compact() }
})

await t.test('etcd: prefixes are apart', async (t) => {
  const etcd = await startEtcd(t)
  const [v1, v10, other] = await Promise.all(
    ['/o/v1', '/o/v10', ''].map((p) => openEtcd({ uri: etcd.uri + p })),
  )
  if (!v1 || !v10 || !other) throw new Error('three stores were opened')
  await v1.apply([put('a', 'v1')])
  await v10.apply([put('a', 'v10')])
  t.same(await values(v1, ''), ['a=v1'])
  t.same(await values(v10, ''), ['a=v10'])
  t.same(await values(other, ''), [])
  t.match(await etcd.ctl('get', '', '--prefix', '--keys-only'), /^\/o\/v1\/a\s+\/o\/v10\/a\s*$/)
  const events = watched(v1, '', '1', (all) => all.length >= 2)
  await v10.apply([put('b', 'v10')])
  await v1.apply([put('b', 'v1')])
  t.same((await events).texts, ['a=v1', 'b=v1'])
  t.not((await v1.read('')).origin, '')
  await Promise.all([v1, v10, other].map((store) => store.close()))
  t.equal(await kindOf(v1.read('')), 'unavailable', 'a closed store says so')
})

await t.test('etcd: users and TLS fail in words', async (t) => {
  const etcd = await startEtcd(t, { tls: true, args: ['--bcrypt-cost', '4'] })
  const failing = async (settings: Partial<EtcdSettings>) => {
    const store = await openEtcd({ uri: etcd.uri, ca: etcd.ca, limit: 2000, ...settings })
    try {
      await store.read('')
      return 'nothing failed'
    } catch (error) {
      if (!isFailure(error)) throw error
      return `${error.kind}: ${explain(error)} ${store.description}`
    } finally {
      await store.close()
    }
  }
  t.match(await failing({}), 'nothing failed')
  t.match(await failing({ ca: '/nowhere/ca.pem' }).catch(explain), /ca: cannot read \/nowhere\/ca.pem/)
  const store = await openEtcd({ uri: etcd.uri, limit: 600 })
  t.match(await store.read('').catch(explain), /the TLS connection fails.*self.signed certificate/)
  await store.close()
  await etcd.ctl('user', 'add', 'root:sesame-1')
  await etcd.ctl('user', 'add', 'reader:sesame-2')
  await etcd.ctl('user', 'grant-role', 'root', 'root')
  await etcd.ctl('auth', 'enable')
  t.match(await failing({}), /^denied: .*asks for a user and password/)
  const wrong = await failing({ user: 'root', password: 'sesame-9' })
  t.match(wrong, /^denied: .*does not accept the user or its password/)
  t.notMatch(wrong, /sesame/)
  t.match(
    await failing({ user: 'reader', password: 'sesame-2' }),
    /^denied: .*does not permit this to user reader/,
  )
  t.match(await failing({ user: 'root', password: 'sesame-1' }), 'nothing failed')
})
