import http, { type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { Failure } from '../../process/failure.ts'
import { listen } from '../../process/listener.ts'
import { encode, keys } from '../../registry/keys.ts'
import { revisionOf } from '../../registry/observe.ts'
import type { Service } from '../../registry/records.ts'
import { SharedWatch } from '../../registry/shared-watch.ts'
import type { Event, Store } from '../../registry/store.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { createApp } from '../../sidecar/http/app.ts'
import { EventStream } from '../../sidecar/http/event-stream.ts'
import { EventReader } from '../support/event-reader.ts'

const service = (name: string, host = 'h1', attributes: Record<string, string> = {}): Service => ({
  service: name,
  host,
  container: 'c1',
  containerId: 'a'.repeat(64),
  address: '10.0.0.1',
  port: 8080,
  exposedPort: 80,
  protocol: 'tcp',
  tags: [],
  attributes,
  health: 'none',
})
const keyOf = (name: string, host = 'h1') => keys.service(service(name, host))
const put = (record: Service) => ({
  kind: 'put' as const,
  key: keys.service(record),
  value: encode('services', record),
  guard: 'any' as const,
})
const raw = (key: string, value: string) => ({ kind: 'put' as const, key, value, guard: 'any' as const })
const remove = (key: string) => ({ kind: 'delete' as const, key, guard: 'any' as const })

/** Counts the watches that are open. */
class Counted extends MemoryStore {
  open = 0
  begun = 0
  override async *watch(...args: Parameters<MemoryStore['watch']>): AsyncGenerator<readonly Event[]> {
    this.open += 1
    this.begun += 1
    try {
      yield* super.watch(...args)
    } finally {
      this.open -= 1
    }
  }
}

const serve = async (t: Test, store: () => Store | undefined) => {
  const stop = new AbortController()
  const app = createApp({
    missing: async () => [],
    warnings: () => [],
    metrics: new Registry(),
    store,
    stop: stop.signal,
  })
  const server = await listen(app, { host: '127.0.0.1', port: 0 })
  t.teardown(() => server[Symbol.asyncDispose]())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const get = async (path: string, init?: RequestInit) => {
    const response = await fetch(url + path, init)
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }
  return { url, get, stop }
}

t.test('records are served, and nothing else', async (t) => {
  const store = new MemoryStore()
  const [a, b, odd] = [service('web'), service('web', 'h2'), service('a/b%c')]
  await store.apply([
    ...[a, b, odd].map(put),
    raw('services/web/h1:broken:1', 'oops'),
    raw('services/x/h2:broken:1', '{}'),
    raw('secrets/data', '{"password":"geheim"}'),
    raw('fences/sidecar%2Fh1', '{}'),
  ])
  const { get } = await serve(t, () => store)
  t.match(await get('/v1/services'), {
    status: 200,
    body: {
      collection: 'services',
      records: [{ key: keys.service(odd) }, { key: keys.service(a), record: a }, { key: keys.service(b) }],
      unreadable: [{ key: 'services/web/h1:broken:1', reason: /no JSON/ }, { key: /h2:broken/ }],
    },
  })
  t.match((await get('/v1/services?host=h2')).body, {
    records: [{ key: keys.service(b) }],
    unreadable: [{ key: 'services/x/h2:broken:1' }],
  })
  t.strictSame((await get('/v1/services?host=h9')).body.records, [])
  t.match((await get('/v1/services/web/')).body, { records: [{ record: a }, { record: b }] }, 'below a key')
  const one = { status: 200, body: { key: keys.service(a), record: a, changed: '2', revision: '2' } }
  t.match(await get(`/v1/${keys.service(a)}`), one, 'one record')
  t.match(
    await get(`/v1/${keys.service(odd)}`),
    { status: 200, body: { record: odd } },
    'by its key as it is',
  )
  t.match((await get('/v1/services/a%2Fb%25c/h1%3Ac1%3A80')).body, { record: odd }, 'by its encoded parts')
  t.match(await get('/v1'), { status: 200, body: { collections: /^/ } })
  for (const [path, status, error] of [
    ['/v1/services/web/h3:c:1', 404, /nothing at services\/web\/h3:c:1/],
    ['/v1/services/web', 404, /nothing at/],
    ['/v1/secrets', 404, /no such collection: one of hosts/],
    ['/v1/secrets/data', 404, /no such collection/],
    ['/v1/fences/sidecar%2Fh1', 404, /no such collection/],
    ['/v1/services/web/h1:broken:1', 409, /cannot read/],
    ['/v1/services?hots=h1', 400, /no parameter "hots" here: only host/],
    ['/v1/services?host=a&host=b', 400, /more than once/],
    ['/v1/services/%', 400, /percent-encoded/],
    ['/v2', 404, /no such resource: \/v2/],
  ] as const)
    t.match(await get(path), { status, body: { error } }, path)
  t.match(await get('/v1/services', { method: 'DELETE' }), { status: 405 })
})

t.test('a store that is away, or not there yet', async (t) => {
  const away = new MemoryStore({
    before: () => {
      throw new Failure('unavailable', 'etcd does not answer')
    },
  })
  const { get } = await serve(t, () => away)
  t.match(await get('/v1/hosts'), { status: 503, body: { error: 'etcd does not answer' } })
  t.match(await get('/v1/hosts/h1'), { status: 503 })
  let store: MemoryStore | undefined
  const { get: early, url } = await serve(t, () => store)
  t.match(await early('/v1/hosts'), { status: 503, body: { error: /not connected/ } })
  const reader = await EventReader.open(t, `${url}/v1/watch?prefix=hosts/`)
  t.ok(await reader.wait(({ comments }) => comments.some((one) => /waiting: not connected/.test(one))))
  store = new MemoryStore()
  t.ok(await reader.wait((one) => one.count('ready') === 1), 'the stream goes on when there is one')
})

t.test('a stream: snapshot, changes, and where to resume', async (t) => {
  const store = new Counted()
  await store.apply([put(service('a')), put(service('b')), raw('secrets/s', '{}'), raw('hosts/h1', 'oops')])
  const { url } = await serve(t, () => store)
  const all = await EventReader.open(t, `${url}/v1/watch`)
  const reader = await EventReader.open(t, `${url}/v1/watch?prefix=services/`)
  t.ok(await reader.wait((one) => one.count('ready') === 1))
  t.strictSame(reader.messages, [
    { event: 'put', data: { key: keyOf('a'), record: service('a') }, id: undefined },
    { event: 'put', data: { key: keyOf('b'), record: service('b') }, id: undefined },
    { event: 'ready', data: { revision: '2' }, id: '2' },
  ])
  await store.apply([put(service('c')), remove(keyOf('a')), raw('secrets/s', '{"new":1}')])
  await store.apply([raw('hosts/h1', 'worse')])
  await store.apply([put(service('d'))])
  t.ok(await reader.wait((one) => one.messages.length === 6))
  t.strictSame(
    reader.messages.slice(3).map(({ event, data, id }) => [event, data.key, id]),
    [
      ['put', keyOf('c'), undefined],
      ['delete', keyOf('a'), '3'],
      ['put', keyOf('d'), '5'],
    ],
    'the id comes with the last change of a revision',
  )
  t.ok(await all.wait((one) => one.registry.has(keyOf('d'))))
  t.notMatch(JSON.stringify(all.messages), /secrets/, 'secrets are not told')
  t.match(
    all.messages.findLast(({ data }) => data.key === 'hosts/h1'),
    { event: 'put', data: { unreadable: /no JSON/ } },
    'what cannot be read is said to be so',
  )
  reader.close()
  t.ok(await reader.wait((one) => one.ended !== undefined))
  await store.apply([remove(keyOf('d')), put(service('e'))])
  reader.messages.splice(0)
  await reader.connect()
  t.ok(await reader.wait((one) => one.messages.length === 2))
  t.strictSame(
    reader.messages.map(({ event, data }) => [event, data.key]),
    [
      ['delete', keyOf('d')],
      ['put', keyOf('e')],
    ],
  )
  const from = await EventReader.open(t, `${url}/v1/watch?prefix=services/&from=5`)
  t.ok(await from.wait((one) => one.messages.length === 2))
  t.strictSame(from.messages, reader.messages, '?from= is the same')
  for (const one of [all, reader, from]) one.close()
  t.ok(await until(() => store.open === 0 || undefined, { ms: 2000 }), 'the watch ends with its readers')
})

t.test('where the history is lost, a new snapshot follows', async (t) => {
  const store = new MemoryStore()
  await store.apply([put(service('a')), put(service('b'))])
  const { url } = await serve(t, () => store)
  const reader = await EventReader.open(t, `${url}/v1/watch?prefix=services/`)
  t.ok(await reader.wait((one) => one.count('ready') === 1))
  reader.close()
  t.ok(await reader.wait((one) => one.ended !== undefined))
  await store.apply([remove(keyOf('a')), put(service('c'))])
  store.compact()
  reader.messages.splice(0)
  await reader.connect()
  t.ok(await reader.wait((one) => one.count('ready') === 1))
  t.match(reader.messages, [
    { event: 'reset', id: '', data: { reason: /no longer kept/ } },
    { event: 'put', data: { key: keyOf('b') } },
    { event: 'put', data: { key: keyOf('c') } },
    { event: 'ready', id: '3' },
  ])
  t.strictSame([...reader.registry.keys()], [keyOf('b'), keyOf('c')])
})

t.test('wrong questions are refused before a stream begins', async (t) => {
  const { get } = await serve(t, () => new MemoryStore())
  for (const [query, error] of [
    ['prefix=secrets/', /prefix "secrets\/": expected one of hosts\//],
    ['prefix=serv', /expected one of/],
    ['from=abc', /"abc" is no revision/],
    ['form=1', /no parameter "form"/],
  ] as const)
    t.match(await get(`/v1/watch?${query}`), { status: 400, body: { error } }, query)
  t.match(await get('/v1/watch', { headers: { 'Last-Event-ID': '-1' } }), { status: 400 })
})

t.test('many readers share a watch, and all streams end at a stop', async (t) => {
  const store = new Counted()
  const { url, stop } = await serve(t, () => store)
  const readers = await Promise.all(
    Array.from({ length: 50 }, () => EventReader.open(t, `${url}/v1/watch?prefix=services/`)),
  )
  for (const reader of readers) t.ok(await reader.wait((one) => one.count('ready') === 1))
  for (let n = 0; n < 20; n++) await store.apply([put(service('web', 'h1', { n: String(n) }))])
  for (const reader of readers) t.ok(await reader.wait((one) => one.count('put') === 20))
  t.equal(store.begun, 1, 'one watch for all')
  stop.abort()
  for (const reader of readers) t.ok(await reader.wait((one) => one.ended === 'whole'))
  t.ok(await until(() => store.open === 0 || undefined, { ms: 2000 }))
})

t.test(
  'whoever joins a shared watch, wherever, hears what comes after that, once and in order',
  async (t) => {
    const joins = fc.array(fc.record({ at: fc.nat(30), back: fc.nat(30) }), { maxLength: 8 })
    await t.resolves(
      fc.assert(
        fc.asyncProperty(joins, async (plan) => {
          const store = new MemoryStore() // at revision 1
          const shared = new SharedWatch(store)
          const end = new AbortController()
          const heard: { from: number; revisions: number[] }[] = []
          const running: Promise<void>[] = []
          const join = (from: number) => {
            const one = { from, revisions: [] as number[] }
            heard.push(one)
            const read = async () => {
              for await (const events of shared.watch('services/', String(from), end.signal))
                one.revisions.push(...events.map((event) => Number(revisionOf(event))))
            }
            running.push(read())
          }
          for (let revision = 1; revision <= 30; revision++) {
            for (const { at, back } of plan) if (at === revision) join(Math.max(1, revision - back))
            await store.apply([put(service('web', 'h1', { n: String(revision) }))])
          }
          const whole = () => heard.every(({ revisions }) => revisions.at(-1) === 31) || undefined
          await until(whole, { ms: 2000, every: 1 })
          end.abort()
          await Promise.all(running)
          const wanted = (from: number) => Array.from({ length: 31 - from }, (_, index) => from + 1 + index)
          const right = heard.every(({ from, revisions }) => String(revisions) === String(wanted(from)))
          return right && shared.open === 0
        }),
        { numRuns: 50 },
      ),
    )
  },
)

t.test('a reader that falls behind what is kept is refused, the others go on', async (t) => {
  const store = new MemoryStore()
  const shared = new SharedWatch(store, 2000)
  const end = new AbortController()
  const fast: number[] = []
  const running = (async () => {
    for await (const events of shared.watch('services/', '1', end.signal)) fast.push(events.length)
  })()
  const slow = shared.watch('services/', '1', end.signal)
  const first = slow.next()
  await store.apply([put(service('web'))])
  t.match(await first, { done: false })
  for (let n = 0; n < 20; n++) {
    await store.apply([put(service('web', 'h1', { n: String(n) }))])
    await pause(1)
  }
  await t.rejects(slow.next(), { kind: 'denied', message: /too slow/ })
  t.equal(
    fast.reduce((sum, one) => sum + one, 0),
    21,
  )
  const again = shared.watch('services/', '3', end.signal)
  t.match(await again.next(), { value: { length: 19 } }, 'it may begin anew, with a watch of its own')
  t.equal(shared.open, 2)
  await again.return(undefined)
  end.abort()
  await running
  t.equal(shared.open, 0)
})

t.test('a reader whose revision the store has never had does not wait for it with others', async (t) => {
  const store = new MemoryStore()
  const { watch } = store
  const begun: string[] = []
  store.watch = (prefix, from, signal) => {
    begun.push(from)
    // as a store does that has lost its data
    if (Number(from) > 100) throw new Failure('conflict', `it has lost what it had at revision ${from}`)
    return watch.call(store, prefix, from, signal)
  }
  const shared = new SharedWatch(store)
  const end = new AbortController()
  const first = shared.watch('services/', '1', end.signal)
  const news = first.next()
  await t.rejects(shared.watch('services/', '5000', end.signal).next(), {
    kind: 'conflict',
    message: /has lost/,
  })
  t.strictSame(begun, ['1', '5000'])

  await store.apply([raw('elsewhere', '1')])
  const { revision } = await shared.read('services/')
  const second = shared.watch('services/', revision, end.signal)
  const same = second.next()
  await store.apply([put(service('web'))])
  t.strictSame((await same).value, (await news).value)
  t.strictSame(begun, ['1', '5000'], 'one that has read first shares the watch that runs')
  end.abort()
  await Promise.all([first.return(undefined), second.return(undefined)])
  t.equal(shared.open, 0)
})

/** A server whose one response is handed out. */
const oneResponse = async (t: Test): Promise<{ url: string; response: Promise<ServerResponse> }> => {
  const { promise, resolve } = Promise.withResolvers<ServerResponse>()
  const server = await listen((_request, response) => resolve(response), { host: '127.0.0.1', port: 0 })
  t.teardown(() => server[Symbol.asyncDispose]())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, response: promise }
}

t.test('a reader that takes nothing is dropped; a quiet stream shows that it lives', async (t) => {
  const never = new AbortController().signal
  const stuck = await oneResponse(t)
  const request = http.get(stuck.url, (response) => {
    response.pause()
    response.on('error', () => {}) // dropped, as it should be
  })
  request.on('error', () => {})
  t.teardown(() => request.destroy())
  const stream = new EventStream(await stuck.response, never, { wait: 300 })
  for (let n = 0; n < 100 && !stream.signal.aborted; n++) await stream.send('x'.repeat(1e6))
  t.ok(stream.signal.aborted, 'dropped before 100 MB were gathered')
  await stream[Symbol.asyncDispose]()

  const quiet = await oneResponse(t)
  const opening = EventReader.open(t, quiet.url)
  const beating = new EventStream(await quiet.response, never, { every: 20 })
  const reader = await opening
  t.ok(await reader.wait(({ comments }) => comments.length >= 3), 'comments')
  await beating[Symbol.asyncDispose]()
  t.ok(await reader.wait((one) => one.ended === 'whole'))
})
