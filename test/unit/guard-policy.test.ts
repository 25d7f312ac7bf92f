import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { GuardPolicy } from '../../plugin/guard-policy.ts'
import type { HostFacts } from '../../plugin/host.ts'
import { registerHost } from '../../plugin/registration.ts'
import { until } from '../../process/backoff.ts'
import { Failure } from '../../process/failure.ts'
import { decode } from '../../registry/keys.ts'
import { defaultPolicy } from '../../registry/policy.ts'
import { writePolicy } from '../../registry/stored-policy.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'

const settings = { ...defaultPolicy, operators: ['root'] }

/** A follower as the plugin has it, on a file of its own or of an earlier one. */
const start = async (
  t: Test,
  store: MemoryStore,
  { file = join(t.testdir({}), 'policy.json'), isKnown = async () => true } = {},
) => {
  const said: { level: string; fields: { reason?: string }; text: string }[] = []
  const at = (level: string) => (fields: { reason?: string }, text: string) =>
    void said.push({ level, fields, text })
  const log = { debug: () => {}, info: at('info'), warn: at('warn'), error: at('error') } as never
  const policy = new GuardPolicy({ file, settings, log })
  let changes = 0
  policy.onChange(() => changes++)
  await policy.load()
  const stop = new AbortController()
  const running = policy.run(store, isKnown, stop.signal)
  const end = async () => {
    stop.abort()
    await running
  }
  const errors = () => said.filter(({ level }) => level === 'error')
  return { policy, file, said, errors, end, changes: () => changes }
}
type Started = Awaited<ReturnType<typeof start>>

const becomes = (t: Test, { policy }: Started, wanted: object, what: string) =>
  until(
    () => {
      const now: Record<string, unknown> = { ...policy.current(), ...policy.state() }
      return Object.entries(wanted).every(([name, value]) => now[name] === value) || undefined
    },
    { ms: 5000, every: 5 },
  ).then((seen) => t.ok(seen, `${what}: ${JSON.stringify(policy.state())}`))

const put = (store: MemoryStore, value: string) =>
  store.apply([{ kind: 'put', key: 'policy', value, guard: 'any' }])

t.test('a policy is taken over as it comes, changes and goes', async (t) => {
  const store = new MemoryStore()
  const started = await start(t, store)
  const { policy, file, changes } = started
  t.strictSame(policy.current(), settings)
  t.strictSame(policy.state(), { mode: 'dry-run', reach: 'ancestors', policy: 'none' })
  await writePolicy(store, { mode: 'enforce' })
  await becomes(t, started, { mode: 'enforce', reach: 'ancestors', policy: 'in force' }, 'it has come')
  t.strictSame(policy.current().operators, ['root'])
  const before = changes()
  await writePolicy(store, { reach: 'storage', operators: ['ops'] })
  await becomes(t, started, { mode: 'dry-run', reach: 'storage', policy: 'in force' }, 'it has changed')
  t.strictSame(policy.current().operators, ['ops'])
  t.ok(changes() > before, 'and who shows it is told')
  await until(async () => (await readFile(file, 'utf8').catch(() => '')).includes('ops') || undefined, {
    ms: 5000,
  })
  t.equal(await readFile(file, 'utf8'), '{"operators":["ops"],"reach":"storage"}')
  await writePolicy(store, undefined)
  await becomes(t, started, { reach: 'ancestors', policy: 'none' }, 'it has gone')
  t.strictSame(policy.current(), settings)
  t.ok(
    await until(
      () =>
        stat(file).then(
          () => undefined,
          () => true,
        ),
      { ms: 5000 },
    ),
    'nor is it kept',
  )
  await started.end()
})

t.test('a bad policy changes nothing, and is told once', async (t) => {
  let reads = 0
  const store = new MemoryStore({ before: (call) => void (call === 'read' && reads++) })
  const started = await start(t, store)
  await put(store, '{"mode":"off"}')
  await becomes(t, started, { mode: 'dry-run', policy: 'refused' }, 'refused at first')
  t.match(started.errors(), [{ text: /the settings count/ }])
  await writePolicy(store, { mode: 'enforce' })
  await becomes(t, started, { mode: 'enforce', policy: 'in force' }, 'a good one')
  t.equal(started.policy.state().reason, undefined)
  await put(store, '{"mode":"enforce","reech":"storage"}')
  await becomes(t, started, { mode: 'enforce', policy: 'refused' }, 'refused')
  t.match(started.policy.state().reason, /Unrecognized key: "reech"/)
  const before = reads
  await put(store, '{"mode":"enforce","reech":"storage"}')
  t.ok(await until(() => reads > before || undefined, { ms: 5000 }), 'it is looked at again')
  await put(store, 'no JSON')
  await until(() => started.errors().length >= 3 || undefined, { ms: 5000 })
  t.match(
    started.errors().map(({ text, fields }) => `${text}: ${fields.reason}`),
    [/settings count: .*at mode/, /the last good one stays: .*reech/, /the last good one stays: .*no JSON/],
    'the same one only once',
  )
  t.equal(started.policy.current().mode, 'enforce')
  await started.end()
  const again = await start(t, store, { file: started.file })
  t.equal(again.policy.current().mode, 'enforce', 'the last good one was kept')
  await becomes(t, again, { mode: 'enforce', policy: 'refused' }, 'and outlives a restart')
  await writePolicy(store, undefined)
  await becomes(t, again, { mode: 'dry-run', policy: 'none' }, 'a bad one can be cleared')
  await again.end()
})

t.test('the last good policy decides without a store', async (t) => {
  let away = false
  const store = new MemoryStore({
    before: () => {
      if (away) throw new Failure('unavailable', 'etcd does not answer')
    },
  })
  await writePolicy(store, { mode: 'enforce', reach: 'devices' })
  const first = await start(t, store)
  await becomes(t, first, { mode: 'enforce' }, 'in force')
  await until(
    () =>
      stat(first.file).then(
        () => true,
        () => undefined,
      ),
    { ms: 5000 },
  )
  away = true
  await first.end()
  const second = await start(t, store, { file: first.file })
  t.match(
    second.policy.state(),
    { mode: 'enforce', reach: 'devices', policy: 'in force' },
    'from its start on',
  )
  away = false
  await writePolicy(store, { mode: 'dry-run' })
  await becomes(t, second, { mode: 'dry-run', reach: 'ancestors' }, 'when it is back')
  await second.end()
  for (const [text, level] of [
    ['{"mode":', 'error'],
    ['{"mode":"off"}', 'error'],
  ] as const) {
    await writeFile(first.file, text)
    away = true
    const damaged = await start(t, store, { file: first.file })
    t.strictSame(damaged.policy.current(), settings, `${text} is none`)
    t.match(damaged.said, [{ level }])
    away = false
    await becomes(t, damaged, { policy: 'in force' }, 'the store has it')
    await damaged.end()
  }
})

t.test('a registry that was wiped has no say', async (t) => {
  const first = new MemoryStore()
  await writePolicy(first, { mode: 'enforce' })
  const started = await start(t, first)
  await becomes(t, started, { mode: 'enforce' }, 'in force')
  await until(
    () =>
      stat(started.file).then(
        () => true,
        () => undefined,
      ),
    { ms: 5000 },
  )
  await started.end()
  let isKnown = false
  let asked = 0
  const wiped = new MemoryStore()
  const again = await start(t, wiped, {
    file: started.file,
    isKnown: async () => {
      asked++
      return isKnown
    },
  })
  await until(() => asked > 0 || undefined, { ms: 5000 })
  await writePolicy(wiped, { mode: 'dry-run', reach: 'storage' })
  await until(() => asked > 1 || undefined, { ms: 5000 })
  t.match(again.policy.state(), { mode: 'enforce', reach: 'ancestors', policy: 'in force' })
  isKnown = true
  await writePolicy(wiped, { mode: 'dry-run', reach: 'devices' })
  await becomes(t, again, { mode: 'dry-run', reach: 'devices' }, 'adopted')
  await again.end()
})

t.test('a policy that cannot be kept is in force all the same', async (t) => {
  const store = new MemoryStore()
  const started = await start(t, store, { file: join(t.testdir({}), 'no', 'such', 'folder') })
  await writePolicy(store, { mode: 'enforce' })
  await becomes(t, started, { mode: 'enforce' }, 'in force')
  t.ok(await until(() => started.said.some(({ level }) => level === 'warn') || undefined, { ms: 5000 }))
  await started.end()
})

t.test('the registry shows how the guard of a host stands', async (t) => {
  const store = new MemoryStore()
  const { policy, end } = await start(t, store)
  await using stack = new AsyncDisposableStack()
  const silent = { debug() {}, info() {}, warn() {}, error() {} } as never
  await registerHost(stack, { store, facts: { host: 'h1' } as HostFacts, guard: policy, log: silent })
  const alive = async () => {
    const [entry] = (await store.readKeys(['alive/h1'])).entries
    return entry && decode('alive', entry.key, entry.value)
  }
  const shows = (wanted: string) =>
    until(async () => ((await alive())?.guard?.policy === wanted ? true : undefined), { ms: 5000 })
  t.ok(await shows('none'))
  const since = (await alive())?.since
  await put(store, '{"mode":"off"}')
  t.ok(await shows('refused'))
  t.match(await alive(), { guard: { mode: 'dry-run', reach: 'ancestors', reason: /Invalid option/ } })
  await writePolicy(store, { mode: 'enforce' })
  t.ok(await shows('in force'))
  t.match(await alive(), { since, guard: { mode: 'enforce' } }, 'of the same run')
  await end()
})
