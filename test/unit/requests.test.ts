import t, { type Test } from 'tap'
import { askHosts } from '../../cli/host-doctor.ts'
import { ask } from '../../cli/requests.ts'
import { type Handler, Requests } from '../../plugin/requests.ts'
import { until } from '../../process/backoff.ts'
import { Failure } from '../../process/failure.ts'
import { createLog } from '../../process/log.ts'
import type { DoctorMode, HostFinding } from '../../registry/finding.ts'
import { encode, keys } from '../../registry/keys.ts'
import type { Request } from '../../registry/requests.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'

const log = createLog('test', 'silent')
const alive = (host: string) => ({
  kind: 'put' as const,
  key: keys.alive(host),
  value: encode('alive', { host, version: '1', since: '2026-01-01T00:00:00.000Z', boot: 'b' }),
  guard: 'any' as const,
})

/** A store with a plugin that serves the requests of host h1. */
const serving = async (t: Test, handlers: Record<string, Handler>, run = 'run-1') => {
  const store = new MemoryStore()
  await store.apply([alive('h1')])
  const stop = new AbortController()
  const serve = (name: string) =>
    new Requests({ store, host: 'h1', run: name, handlers, log }).run(stop.signal)
  const running = serve(run)
  t.teardown(async () => {
    stop.abort()
    await running
  })
  return store
}
const question = (kind: string, given = {}) => ({ kind, arguments: given })

t.test('a request is answered in its key, and goes with who asked', async (t) => {
  const seen: string[] = []
  const store = await serving(t, {
    double: async ({ of }, progress) => {
      progress('halfway')
      await until(() => seen.includes('halfway') || undefined, { ms: 2000, every: 5 })
      return { twice: Number(of) * 2 }
    },
  })
  const progress = (doing: string) => void seen.push(doing)
  t.strictSame(await ask(store, 'h1', question('double', { of: 21 }), { progress }), { twice: 42 })
  t.strictSame(seen, ['halfway'])
  t.strictSame((await store.read('requests/')).entries, [], 'nothing of it stays')
})

t.test('what fails says why: by its handler, of an unknown kind, by a bug', async (t) => {
  const store = await serving(t, {
    refuse: async () => {
      throw new Failure('in-use', 'volume v is in use')
    },
    bug: async () => {
      throw new TypeError('secret of ours')
    },
  })
  await t.rejects(ask(store, 'h1', question('refuse')), { kind: 'in-use', message: 'volume v is in use' })
  await t.rejects(ask(store, 'h1', question('toString')), {
    kind: 'invalid',
    message: /knows no request "toString" \(refuse, bug\): is it of another version\?/,
  })
  await t.rejects(ask(store, 'h1', question('bug')), { message: /internal error of the openebs plugin/ })
})

t.test('a plugin that does not live, or does not answer', async (t) => {
  const store = new MemoryStore()
  await t.rejects(ask(store, 'h1', question('x')), {
    kind: 'unavailable',
    message: /the plugin of host h1 does not run: docker plugin enable openebs there/,
  })
  await store.apply([alive('h1')])
  const within = { taken: 50, done: 50 }
  await t.rejects(ask(store, 'h1', question('x'), { within }), {
    kind: 'unavailable',
    message: /the plugin of host h1 does not answer \(is it of an older version\?\) within 0.05 s/,
  })
  t.strictSame((await store.read('requests/')).entries, [])
  const slow = await serving(t, { sleep: () => new Promise(() => {}) })
  await t.rejects(ask(slow, 'h1', question('sleep'), { within: { taken: 2000, done: 100 } }), {
    message: /the plugin of host h1 is not done after 0.1 s/,
  })
})

t.test('what an earlier run of the plugin was at has failed; what was only asked is done', async (t) => {
  const store = new MemoryStore()
  const lease = await store.grant(30)
  const request = (id: string, state: Request['state']): Request => ({
    ...{ host: 'h1', id, kind: 'count', arguments: {}, asked: '2026-01-01T00:00:00.000Z', state },
    ...(state === 'working' && { worker: 'run-0' }),
  })
  for (const one of [request('a', 'asked'), request('w', 'working'), request('d', 'done')])
    await store.apply([
      {
        kind: 'put',
        key: keys.request('h1', one.id),
        value: encode('requests', one),
        guard: 'absent',
        lease,
      },
    ])
  await store.apply([{ kind: 'put', key: keys.request('h1', 'odd'), value: 'x', guard: 'absent', lease }])
  let calls = 0
  const handlers = { count: async () => ++calls }
  const stop = new AbortController()
  const running = new Requests({ store, host: 'h1', run: 'run-1', handlers, log }).run(stop.signal)
  const states = async () =>
    (await store.read('requests/')).entries.flatMap(({ value }) =>
      value === 'x' ? ['odd'] : [JSON.parse(value).state],
    )
  await until(async () => ((await states()).join() === 'done,done,odd,failed' ? true : undefined), {
    ms: 2000,
  })
  t.strictSame(await states(), ['done', 'done', 'odd', 'failed'])
  t.equal(calls, 1)
  t.match((await store.read(keys.request('h1', 'w'))).entries, [
    { lease: lease.id, value: /the plugin ended while it was at it: ask again/ },
  ])
  stop.abort()
  await running
})

t.test('the doctor of the command line, of what plugins found', async (t) => {
  const finding = (id: string, more: Partial<HostFinding> = {}): HostFinding => ({
    ...{ id, check: 'container', subject: `vsm-${id}`, state: 'wrong', text: 'stray' },
    ...{ action: 'remove it', by: 'fix', ...more },
  })
  const asked: DoctorMode[] = []
  const answers = (of: Partial<Record<DoctorMode, HostFinding[]>>) => async (_: string, mode: DoctorMode) => {
    asked.push(mode)
    return of[mode] ?? []
  }
  t.match(await askHosts(['h1'], {}, answers({ look: [finding('a')] })), [
    { state: 'wrong', subject: 'vsm-a on h1', todo: '--fix: remove it' },
  ])
  t.match(await askHosts(['h1'], {}, answers({})), [{ state: 'ok', check: 'plugin' }])
  t.match(
    await askHosts(['h1'], { fix: true }, answers({ fix: [finding('a', { outcome: { done: true } })] })),
    [{ state: 'mended', todo: 'done: remove it' }],
  )
  const failed = finding('a', { outcome: { done: false, reason: 'it hangs' } })
  t.match(await askHosts(['h1'], { fix: true }, answers({ fix: [failed] })), [
    { state: 'wrong', todo: 'not done (remove it): it hangs' },
  ])
  asked.length = 0
  const both = answers({
    adopt: [finding('r', { by: 'adopt', outcome: { done: true } }), finding('a')],
    fix: [finding('a', { outcome: { done: true } })],
  })
  t.match(await askHosts(['h1'], { fix: true, adopt: true }, both), [
    { state: 'mended', subject: 'vsm-r on h1' },
    { state: 'mended', subject: 'vsm-a on h1' },
  ])
  t.strictSame(asked, ['adopt', 'fix'])
  const away = async () => {
    throw new Failure('unavailable', 'the plugin of host h1 does not run')
  }
  t.match(await askHosts(['h1'], {}, away), [{ check: 'plugin', subject: 'h1', state: 'wrong' }])
})
