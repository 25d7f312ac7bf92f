import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { type AuditEntry, bounded } from '../../plugin/audit/entry.ts'
import { fromLine, itemOf, lostWith, toLine } from '../../plugin/audit/lines.ts'
import { joined } from '../../plugin/audit/lost.ts'
import { peerName } from '../../plugin/audit/peer.ts'
import { piece, Spill } from '../../plugin/audit/spill.ts'
import { AuditTrail, type TrailOptions } from '../../plugin/audit/trail.ts'
import { auditUri } from '../../plugin/audit/uri.ts'
import { until } from '../../process/backoff.ts'
import { Failure } from '../../process/failure.ts'
import { type Audit, objectKinds, verdicts } from '../../registry/audit.ts'
import { decode, encode } from '../../registry/keys.ts'
import { type Call, MemoryStore } from '../../registry/stores/memory.ts'

const at = (n: number): string => new Date(Date.UTC(2026, 0, 1, 10, 0, 0, n)).toISOString()

const entry = (n: number, more: Partial<AuditEntry> = {}): AuditEntry => ({
  time: at(n),
  user: 'ops',
  method: 'POST',
  uri: '/containers/web/stop',
  action: 'stop',
  object: { kind: 'container', name: `c${n}` },
  verdict: 'allow',
  status: 204,
  ...more,
})

const item = (n: number, more: Partial<AuditEntry> = {}) =>
  itemOf(`audit/h1/${String(Date.parse(at(n))).padStart(14, '0')}-${String(n).padStart(6, '0')}`, {
    ...entry(n, more),
    host: 'h1',
  })

const gap = { host: 'h1', time: at(0), to: at(1), count: 3, reason: 'r' }

const wait = async (t: Test, what: string, probe: () => boolean | Promise<boolean>) =>
  t.ok(await until(async () => (await probe()) || undefined, { ms: 10_000, every: 5 }), what)

t.test('records of older versions are read, and what a newer one adds stays', async (t) => {
  const old = JSON.stringify({
    ...{ action: 'kill', host: 'h1', method: 'POST', status: 204, time: at(0), uri: '/x', user: '' },
    ...{
      verdict: 'allow',
      subject: { container: 'vsm-data', containerId: 'c', role: 'target', volume: 'data' },
    },
  })
  t.match(decode('audit', 'audit/h1/1', old), { action: 'kill', subject: { volume: 'data' } })
  const newer = decode('audit', 'audit/h1/1', encode('audit', { ...entry(1), host: 'h1', weight: 3 }))
  t.match(newer, { weight: 3, object: { name: 'c1' } })
  t.match(decode('audit', 'k', JSON.stringify({ ...gap, kind: 'gap' })), { count: 3 })
  for (const wrong of [
    { ...JSON.parse(old), verdict: 'maybe' },
    { ...gap, kind: 'gap', count: 0 },
    { ...gap },
  ])
    t.throws(() => decode('audit', 'k', JSON.stringify(wrong)), /does not fit/)
})

const allowed = ['name', 'force', 'v', 'link', 'signal', 't', 'filters', 'fromImage', 'repo', 'tag']

t.test('of a request its path is kept, and what of the query is harmless', async (t) => {
  const table: [string, string][] = [
    ['/v1.41/containers/x/stop?t=5&signal=TERM', '/v1.41/containers/x/stop?t=5&signal=TERM'],
    ['/containers/create?name=x&Env=%5B%22SECRET%3D1%22%5D', '/containers/create?name=x'],
    ['/containers/x?force=1&v=true&link=0', '/containers/x?force=1&v=true&link=0'],
    ['/containers/create?Env=a&env=b', '/containers/create'],
    ['//containers/../x', '//containers/../x'],
    ['/x#?name=y', '/x'],
    ['', ''],
  ]
  for (const [uri, expected] of table) t.equal(auditUri(uri), expected, uri)
  const filters = JSON.stringify({ label: ['a=b'] })
  const kept = auditUri(`/volumes/prune?filters=${encodeURIComponent(filters)}`)
  t.equal(new URLSearchParams(kept.split('?')[1]).get('filters'), filters)
  fc.assert(
    fc.property(fc.dictionary(fc.oneof(fc.string(), fc.constantFrom(...allowed)), fc.string()), (query) => {
      const [, kept = ''] = auditUri(`/x?${new URLSearchParams(query)}`).split('?')
      const asked = Object.entries(query).filter(([name]) => allowed.includes(name))
      t.strictSame([...new URLSearchParams(kept)], asked)
    }),
  )
})

t.test('the name in a certificate is the peer', async (t) => {
  t.equal(peerName([Buffer.from(certificate).toString('base64')]), 'ops')
  for (const none of [undefined, null, [], [''], ['eHg='], [7]]) t.equal(peerName(none), undefined)
})

t.test('an entry has a size that nothing a client says can exceed, and no control characters', async (t) => {
  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 2000 }), fc.constant('\u0001"€'.repeat(2000)))
  const entries = fc.record(
    {
      ...{
        time: fc.constant(at(0)),
        user: text,
        auth: text,
        peer: text,
        method: text,
        uri: text,
        action: text,
      },
      object: fc.record(
        { kind: fc.constantFrom(...objectKinds), name: text, id: text },
        { requiredKeys: ['kind'] },
      ),
      subject: fc.record({ container: text, containerId: text, role: text, volume: text }),
      ...{ volume: text, verdict: fc.constantFrom(...verdicts), rule: text, reason: text },
      ...{ status: fc.nat(599), ms: fc.nat() },
    },
    { requiredKeys: ['time', 'user', 'method', 'uri', 'action', 'object', 'verdict', 'status'] },
  )
  fc.assert(
    fc.property(entries, (one) => {
      const value = encode('audit', { ...bounded(one as AuditEntry), host: 'h1' })
      t.ok(Buffer.byteLength(value) < 10_000, String(value.length))
      t.notMatch(Object.values(bounded(one as AuditEntry)).join(''), /\p{Cc}/u)
      t.strictSame(bounded(bounded(one as AuditEntry)), bounded(one as AuditEntry))
    }),
    { numRuns: 100 },
  )
  const usual = { ...entry(1), rule: 'own', ms: 3, volume: 'data' }
  t.strictSame(bounded(usual), usual, 'a usual one stays as it is')
})

t.test('lines of the files', async (t) => {
  const one = item(1)
  t.strictSame(fromLine(toLine(one)), one, 'read back as written, text by text')
  const lost = itemOf(one.key, { ...gap, kind: 'gap' })
  t.strictSame(fromLine(toLine(lost))?.lost, { count: 3, from: at(0), to: at(1) })
  const foreign = toLine(one).replace('audit/h1/', 'volumes/x/')
  for (const none of ['', '{', 'null', '7', '{"key":"audit/h1/x"}', toLine(one).slice(0, -5), foreign])
    t.equal(fromLine(none), undefined, none.slice(0, 30))
  t.strictSame(lostWith([item(3), lost, item(2)]), { count: 5, from: at(0), to: at(3) })
  const losses = fc.record({ count: fc.nat(), from: fc.nat(999).map(at), to: fc.nat(999).map(at) })
  fc.assert(
    fc.property(losses, losses, (a, b) => {
      const both = joined(a, b)
      t.strictSame(both, joined(b, a))
      t.ok(both.count === a.count + b.count && both.from <= a.from && both.to >= b.to)
    }),
  )
})

t.test('parts of a file end at the end of a line', async (t) => {
  const bytes = Buffer.from(`\n${toLine(item(1))}nonsense\n${toLine(item(2))}`)
  t.match(piece(bytes, 5), { items: [item(1), item(2)], damaged: 1, next: 5 + bytes.length })
  const torn = bytes.subarray(0, -3)
  t.match(piece(torn, 0), { items: [item(1)], damaged: 1 })
  t.match(piece(torn.subarray(piece(torn, 0).next), 100), { items: [], damaged: 1 }, 'and never stand still')
})

/** All that is on the disk, as it would be sent. */
const drained = async (spill: Spill) => {
  const keys: string[] = []
  for (;;) {
    for (let at = 0, part = await spill.read(at); part; at = part.next, part = await spill.read(at))
      keys.push(...part.items.map(({ key }) => key))
    await spill.sent()
    if (spill.empty) return keys
  }
}

t.test('the files: bounded, in order, and there after a crash', async (t) => {
  const folder = join(t.testdir(), 'audit')
  const items = Array.from({ length: 40 }, (_, n) => item(n))
  const length = toLine(item(10)).length
  const spill = new Spill(folder, 20 * length)
  t.equal(await spill.open(), undefined)
  t.equal(await spill.add(items.slice(0, 3)), 3)
  const added = 3 + (await spill.add(items.slice(3)))
  t.ok(added >= 16 && added <= 20, `${added} fit`)
  t.equal(await spill.add(items.slice(added)), 0, 'and no more')
  const files = await readdir(folder)
  t.strictSame(files.sort(), ['newer.jsonl', 'older.jsonl'])
  let size = 0
  for (const file of files) {
    const { mode, size: own } = await stat(join(folder, file))
    t.equal(mode & 0o777, 0o600, 'for root alone')
    size += own
  }
  t.ok(size <= 20 * length)
  await spill.keepLost({ count: 4, from: at(1), to: at(2) })
  await spill.close()

  await writeFile(join(folder, 'newer.jsonl'), '{"key":"audit/h1/torn', { flag: 'a' })
  const next = new Spill(folder, 30 * length)
  t.match(await next.open(), { count: 4, from: at(1), to: at(2) })
  t.notOk(next.empty)
  t.equal(await next.add([item(39)]), 1)
  t.strictSame(
    await drained(next),
    [...items.slice(0, added), item(39)].map(({ key }) => key),
  )
  await next.keepLost(undefined)
  await next.close()
  t.strictSame(await readdir(folder), [])
  await writeFile(join(folder, 'lost.json'), '{')
  t.equal(await new Spill(folder, 100).open(), undefined, 'nonsense is nothing')
})

t.test('what is added comes out once and in order, however it is read meanwhile', async (t) => {
  const folder = join(t.testdir(), 'audit')
  const length = toLine(item(10)).length
  const steps = fc.array(fc.oneof(fc.integer({ min: 1, max: 7 }), fc.constant('read' as const)), {
    maxLength: 20,
  })
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 1, max: 4 }), async (todo, lines) => {
      const spill = new Spill(folder, 10 * length, Math.floor(1.5 * lines * length))
      await spill.open()
      const added: string[] = []
      const seen: string[] = []
      let position = 0
      const read = async () => {
        const part = await spill.read(position)
        position = part?.next ?? 0
        seen.push(...(part?.items ?? []).map(({ key }) => key))
        if (!part) await spill.sent()
      }
      for (const step of todo) {
        if (step === 'read') await read()
        else {
          const items = Array.from({ length: step }, (_, n) => item(10 + added.length + n))
          added.push(...items.slice(0, await spill.add(items)).map(({ key }) => key))
        }
      }
      while (!spill.empty) await read()
      await spill.close()
      t.strictSame(seen, added)
    }),
    { numRuns: 60 },
  )
})

/** A store that can be away, and what a trail said. */
const stage = (t: Test, options: Partial<TrailOptions> = {}) => {
  const world = { away: false }
  const applied: string[] = []
  const store = new MemoryStore({
    before: (call: Call) => {
      if (world.away && call !== 'read') throw new Failure('unavailable', 'the store is away')
    },
  })
  const apply = store.apply.bind(store)
  store.apply = async (changes) => {
    const revision = await apply(changes)
    applied.push(...changes.map(({ key }) => key))
    return revision
  }
  t.teardown(() => store.close())
  const said: string[] = []
  const say = (_: object, text?: string) => void said.push(text ?? '')
  const folder = join(t.testdir(), 'audit')
  const open = (more: Partial<TrailOptions> = {}) => {
    const trail = new AuditTrail({ folder, log: { info: say, warn: say }, every: 20, ...options, ...more })
    t.teardown(() => trail.stop(0))
    return trail
  }
  const there = async (): Promise<Audit[]> =>
    (await store.read('audit/')).entries.map(({ key, value }) => decode('audit', key, value))
  const calls = async () => (await there()).flatMap((one) => (one.kind === 'gap' ? [] : [one.object?.name]))
  const gaps = async () => (await there()).filter((one) => one.kind === 'gap')
  return { world, store, applied, said, folder, open, calls, gaps }
}
const names = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => `c${from + n}`)
const all = (trail: AuditTrail, from: number, to: number) => {
  for (let n = from; n < to; n++) trail.record(entry(n))
}
/** All lines of the files; of none where they change at that moment. */
const texts = async (folder: string): Promise<string[]> => {
  try {
    const files = (await readdir(folder)).filter((file) => file.endsWith('.jsonl'))
    const all = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')))
    return all.join('').split('\n').filter(Boolean)
  } catch {
    return []
  }
}
const lines = async (folder: string) => (await texts(folder)).length

t.test('entries get into the store, those from before its start too, with a lease of a week', async (t) => {
  const { store, open, calls, folder, said } = stage(t)
  const granted: number[] = []
  const grant = store.grant.bind(store)
  store.grant = (ttl) => {
    granted.push(ttl)
    return grant(ttl)
  }
  const trail = open()
  all(trail, 0, 3)
  trail.start(store, 'h1')
  t.throws(() => trail.start(store, 'h1'), /starts once/)
  all(trail, 3, 200)
  trail.record(entry(200, { time: 'never' }))
  await wait(t, 'written', async () => (await calls()).length === 200)
  t.strictSame(await calls(), names(0, 200), 'in order')
  t.equal(trail.lost, 1, 'what is none is counted')
  t.strictSame(granted, [7 * 86_400 + 600], 'one lease for all of them')
  const { entries } = await store.read('audit/')
  t.match(entries[0]?.key, /^audit\/h1\/\d{14}-\d{6}$/)
  all(trail, 201, 204)
  await trail.stop()
  t.equal((await calls()).length, 203, 'what waits at the end is written')
  t.equal(await lines(folder), 0, 'nothing on the disk')
  t.match(said, [/none/, /lost/])
})

t.test('while the store is away entries go to the disk, and then into the store', async (t) => {
  const { world, applied, open, calls, gaps, folder, store, said } = stage(t)
  const trail = open()
  trail.start(store, 'h1')
  all(trail, 0, 5)
  await wait(t, 'written', async () => (await calls()).length === 5)
  world.away = true
  all(trail, 5, 300)
  await wait(t, 'on the disk', async () => (await lines(folder)) === 295)
  all(trail, 300, 310)
  await wait(t, 'more on the disk', async () => (await lines(folder)) === 305)
  t.notOk(trail.settled)
  world.away = false
  all(trail, 310, 315)
  await wait(t, 'all in the store', async () => (await calls()).length === 315 && trail.settled)
  t.strictSame(await calls(), names(0, 315), 'each once, in order of time')
  t.strictSame(await gaps(), [])
  t.equal(new Set(applied).size, 315)
  await wait(
    t,
    'the files go',
    async () => (await readdir(folder)).length === 0 && said.some((text) => /is in the store/.test(text)),
  )
  t.strictSame(
    said.filter((text) => /disk/.test(text)),
    [
      'the store does not take the audit trail: it goes to the disk',
      'what the audit trail had on the disk is in the store',
    ],
  )
  await trail.stop()
})

t.test('what a run leaves on the disk the next one sends', async (t) => {
  const { world, open, calls, gaps, folder, store } = stage(t)
  world.away = true
  const killed = open()
  killed.start(store, 'h1')
  all(killed, 0, 10)
  await wait(t, 'on the disk', async () => (await lines(folder)) === 10)
  // as after SIGKILL: nothing of the first run does anything more
  let left: string[] = []
  await wait(t, 'read', async () => {
    left = await texts(folder)
    return left.length === 10
  })
  await killed.stop(0)
  await writeFile(join(folder, 'newer.jsonl'), `${left.join('\n')}\n{"key":"audit/h1/0179`)
  const stopped = open()
  stopped.start(store, 'h1')
  all(stopped, 10, 15)
  await stopped.stop(0)
  t.equal(stopped.lost, 0, 'a stop writes what waits to the disk')
  t.strictSame(await calls(), [])
  world.away = false
  const last = open()
  last.start(store, 'h1')
  await wait(t, 'all in the store', async () => (await calls()).length === 15)
  t.strictSame(await calls(), names(0, 15))
  t.strictSame(await gaps(), [])
  await wait(t, 'the files go', async () => (await readdir(folder)).length === 0)
  await last.stop()
})

t.test('what fits nowhere is counted, over a restart as well, and the trail says how many', async (t) => {
  const { world, open, calls, gaps, folder, store, said } = stage(t, { room: 4000, queue: 10 })
  const fitting = 2 * Math.floor(2000 / (toLine(item(100)).length + 1))
  world.away = true
  const first = open()
  first.start(store, 'h1')
  let n = 0
  const flood = async () => {
    all(first, n, n + 10)
    n += 10
    return first.lost > 20 && (await lines(folder)) >= fitting
  }
  await wait(t, 'it is full', flood)
  await wait(t, 'the disk knows', async () => (await readdir(folder)).includes('lost.json'))
  await first.stop(0)
  const second = open()
  second.start(store, 'h1')
  all(second, n, n + 10)
  n += 10
  world.away = false
  await wait(t, 'all is told', async () => {
    const told = (await gaps()).reduce((sum, one) => sum + (one.kind === 'gap' ? one.count : 0), 0)
    return (await calls()).length + told === n
  })
  t.ok((await calls()).length >= fitting, 'both files were full of entries')
  const [gap] = await gaps()
  t.match(gap, { host: 'h1', reason: /no more could wait/ })
  if (gap?.kind === 'gap') t.ok(gap.time < gap.to && gap.time > at(0) && gap.to < at(n))
  t.match(said.join('\n'), /entries of the audit trail are lost/)
  await wait(t, 'the files go', async () => (await readdir(folder)).length === 0)
  await second.stop()
})

t.test('one entry that the store never takes costs itself', async (t) => {
  const { open, calls, gaps, store } = stage(t)
  const apply = store.apply.bind(store)
  store.apply = async (changes) => {
    if (changes.some((change) => change.kind === 'put' && change.value.includes('poison')))
      throw new Failure('invalid', 'too large')
    return apply(changes)
  }
  const trail = open()
  trail.start(store, 'h1')
  all(trail, 0, 3)
  trail.record(entry(3, { user: 'poison' }))
  all(trail, 4, 6)
  await wait(t, 'written', async () => (await calls()).length === 5 && (await gaps()).length === 1)
  t.match(await gaps(), [{ count: 1, time: at(3), to: at(3) }])
  await trail.stop()
})

t.test('a disk that fails costs nothing while the store takes entries', async (t) => {
  const { world, open, calls, folder, store, said } = stage(t)
  await mkdir(join(folder, '..'), { recursive: true })
  await writeFile(folder, 'no folder')
  const trail = open()
  trail.start(store, 'h1')
  all(trail, 0, 3)
  await wait(t, 'written', async () => (await calls()).length === 3)
  world.away = true
  all(trail, 3, 6)
  await wait(t, 'it is said', () => said.some((text) => /cannot use its folder/.test(text)))
  world.away = false
  await wait(t, 'they waited in memory', async () => (await calls()).length === 6)
  await trail.stop()
})

const certificate = `-----BEGIN CERTIFICATE-----
MIIBljCCAT2gAwIBAgIUDCZo7etywfbgNzTBW5nxuzXhD3MwCgYIKoZIzj0EAwIw
IDEQMA4GA1UECgwHRXhhbXBsZTEMMAoGA1UEAwwDb3BzMCAXDTI2MTEyNzIzNTIz
NFoYDzIxMjYxMTAzMjM1MjM0WjAgMRAwDgYDVQQKDAdFeGFtcGxlMQwwCgYDVQQD
DANvcHMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATpembltldxSanW00Tv/LA2
ls8NxfWCsg08nuWa6RVwhF7YvOiuPITYUYIetd0AzM3xHIQ50xwRAwaqQvZAZj4l
o1MwUTAdBgNVHQ4EFgQU3oMT+rbz7oDM1AK2wzhUEUDcuVUwHwYDVR0jBBgwFoAU
3oMT+rbz7oDM1AK2wzhUEUDcuVUwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQD
AgNHADBEAiB16fl4F9MrO6TJFwvKGjesz4NdEO7u27mMVvD0b1u2NAIgeg+Ntd9/
OwJ7dVorQotfR1mRQ39vCGUQrohRu+3eU1s=
-----END CERTIFICATE-----
`
