import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { diagnose } from '../../cli/diagnosis.ts'
import { toFacts } from '../../cli/facts.ts'
import { ls } from '../../cli/ls.ts'
import { type Output, plain } from '../../cli/output.ts'
import { clearPolicy, setPolicy, showPolicy } from '../../cli/policy.ts'
import { Guard } from '../../plugin/guard/guard.ts'
import { isExcepted } from '../../plugin/guard/reach.ts'
import { defaultPolicy, effective, type Policy, parsePolicy } from '../../registry/policy.ts'
import { readPolicy, writePolicy } from '../../registry/stored-policy.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import * as put from '../support/records.ts'

const settings = { ...defaultPolicy, operators: ['root'] }

t.test('what a policy may say', async (t) => {
  for (const text of [
    '{}',
    '{"mode":"enforce","reach":"devices","operators":["alice smith"],"exceptions":[]}',
    '{"exceptions":[{"path":"/","access":"read-only","reason":"monitoring"}]}',
  ])
    t.strictSame(effective(settings, parsePolicy(text)).exceptions, parsePolicy(text).exceptions ?? [])
  for (const [text, message] of [
    ['{"mode":', /the policy is not JSON, or something comes after it: Unexpected end/],
    ['{"mode":"enforce","mode":"dry-run"}', /the policy has the key "mode" twice in one object/],
    ['{"exceptions":[{"path":"/a","Path":"/","reason":"x"}]}', /the policy has the key "Path" twice/],
    ['[]', /expected object/],
    ['{"modes":"enforce"}', /Unrecognized key: "modes"/],
    ['{"mode":"enforced"}', /"enforce"\|"dry-run"[\s\S]*→ at mode/],
    ['{"operators":[""]}', /without blanks[\s\S]*→ at operators\[0\]/],
    ['{"operators":["alice "]}', /without blanks/],
    ['{"exceptions":[{"path":"/a"}]}', /→ at exceptions\[0\]\.reason/],
    ['{"exceptions":[{"path":"/a","reason":" "}]}', /say why/],
    [
      '{"exceptions":[{"path":"a","reason":"x"}]}',
      /expected an absolute path[\s\S]*→ at exceptions\[0\]\.path/,
    ],
    ['{"exceptions":[{"path":"/a/../b","reason":"x"}]}', /write it plainly/],
    ['{"exceptions":[{"path":"/a/","reason":"x"}]}', /write it plainly/],
    ['{"exceptions":[{"path":"/a","reason":"x","until":"now"}]}', /Unrecognized key: "until"/],
  ] as const)
    t.throws(() => parsePolicy(text), { kind: 'invalid', message }, text)
  t.strictSame(effective(settings, {}), settings, 'what it does not say the settings say')
  t.strictSame(effective(settings, { operators: [] }).operators, [], 'none is said as well')
})

t.test('exceptions', async (t) => {
  const path = (path: string, writable = true) => ({ kind: 'path', path, writable }) as const
  const exceptions = parsePolicy(
    '{"exceptions":[{"path":"/srv/all","reason":"x"},{"path":"/srv/look","access":"read-only","reason":"x"}]}',
  ).exceptions as NonNullable<Policy['exceptions']>
  for (const [wish, expected] of [
    [path('/srv/all'), true],
    [path('/srv//all/./a/'), true],
    [path('/srv/all/../secret'), false],
    [path('/srv/allow'), false],
    [path('/srv'), false],
    [path('/srv/look'), false],
    [path('/srv/look', false), true],
    [path('/srv/look/a', false), true],
    [{ kind: 'device', path: '/srv/all' }, false],
    [{ kind: 'volume', name: '/srv/all' }, false],
    [{ kind: 'host', by: '--privileged' }, false],
  ] as const)
    t.equal(isExcepted(wish, exceptions), expected, JSON.stringify(wish))
  fc.assert(
    fc.property(fc.array(fc.constantFrom('a', 'b', '..', '.', ''), { maxLength: 6 }), (parts) => {
      const asked = new URL(`file:///${parts.join('/')}`).pathname.replaceAll(/\/+/g, '/')
      const excepted = isExcepted(path(`/${parts.join('/')}`), [{ path: '/a', access: 'any', reason: 'x' }])
      // the file system and not our own reading says where it leads
      return parts.includes('') || excepted === (asked === '/a' || asked.startsWith('/a/'))
    }),
  )
})

t.test('a decision goes by the policy of its moment', async (t) => {
  let policy = effective(defaultPolicy, {})
  const world = {
    host: 'h1',
    policy: () => policy,
    ground: async () => ({
      paths: [{ path: '/var/lib/openebs', holds: 'volumes' } as const],
      volumes: ['openebs-etcd'],
    }),
    plugin: { names: ['openebs'], id: '9'.repeat(64) },
    image: 'openebs/vsm:1',
    guarded: () => [{ id: 'a'.repeat(64), name: 'vsm-data', role: 'target', volume: 'data' } as const],
    volumes: () => ['data'],
    isUsed: () => true,
    users: async () => [],
    resolve: async () => undefined,
    imageOf: async () => undefined,
    readLink: async () => undefined,
    elsewhere: () => undefined,
    volumeOf: async () => undefined,
    pluginOf: async () => undefined,
    execOf: async () => undefined,
    stopped: async () => [],
  }
  const guard = new Guard({ isOwn: () => false, policy: () => policy, within: 200 }, () => world)
  const create = async (HostConfig: object) => {
    const body = Buffer.from(JSON.stringify({ HostConfig })).toString('base64')
    const asked = { method: 'POST', uri: '/containers/create', user: 'bob', auth: 'TLS', headers: {}, body }
    return (await guard.decide(asked)).verdict
  }
  const look = { Binds: ['/var/lib/openebs/data:/x:ro'] }
  t.match(await create(look), { allow: false, rule: 'reaches-storage' })
  const excepted = { path: '/var/lib/openebs/data', access: 'read-only', reason: 'backup' } as const
  policy = effective(defaultPolicy, { exceptions: [excepted] })
  t.strictSame(await create(look), { allow: true, rule: 'exception' }, 'and the audit trail says so')
  t.match(await create({ Binds: ['/var/lib/openebs/data:/x'] }), { rule: 'reaches-storage' })
  t.match(
    await create({ Binds: [...look.Binds, '/var/lib/openebs/other:/y:ro'] }),
    { rule: 'reaches-storage' },
    'one exception excuses nothing else',
  )
  t.match(await create({ ...look, PidMode: 'container:vsm-data' }), { rule: 'storage-in-use' })
  t.strictSame(await create({}), { allow: true })
  policy = effective(defaultPolicy, { reach: 'devices' })
  t.match(await create({ Privileged: true }), { rule: 'reaches-storage' })
  policy = effective(defaultPolicy, { operators: ['bob'] })
  t.match(await create(look), { allow: true, rule: 'operator' })
})

const recorder = () => {
  const printed: string[] = []
  const output: Output = {
    style: plain,
    print: (text) => printed.push(...text.split('\n')),
    say: (text) => printed.push(text),
  }
  return { output, printed, take: () => printed.splice(0) }
}

t.test('policies are set, shown and cleared', async (t) => {
  const store = new MemoryStore()
  const { output, take } = recorder()
  const good = `{ "mode": "enforce", "exceptions": [
    { "path": "/srv", "access": "read-only", "reason": "backup" }, { "path": "/opt", "reason": "tools" }] }`
  const folder = t.testdir({
    'good.json': good,
    'bad.json': '{"mode":"enforced"}',
  })
  const show = (options = {}) => showPolicy(store, options, output)
  await t.rejects(show(), { kind: 'not-found', message: /no policy is set/ })
  await t.rejects(setPolicy(store, join(folder, 'bad.json'), output), { kind: 'invalid', message: /at mode/ })
  await t.rejects(show(), { kind: 'not-found', message: /no policy/ }, 'nothing bad is written')
  await setPolicy(store, join(folder, 'good.json'), output)
  t.match(take(), [/^the policy is set: /])
  await setPolicy(store, join(folder, 'good.json'), output)
  t.match(take(), [/this one already/])
  const guard = { mode: 'enforce', reach: 'ancestors' } as const
  await store.apply([put.alivePut('h1', { guard: { ...guard, policy: 'in force' } })])
  await store.apply([put.alivePut('h2', { guard: { ...guard, policy: 'refused', reason: 'too new' } })])
  await store.apply([put.alivePut('h3')])
  await show()
  t.strictSame(take(), [
    'mode        enforce',
    "reach       the plugins' settings",
    "operators   the plugins' settings",
    'exceptions  /srv, read-only: backup',
    '            /opt: tools',
    'guard of h1  enforce, ancestors; policy in force',
    'guard of h2  enforce, ancestors; policy refused: too new',
    'guard of h3  -',
  ])
  await show({ json: true })
  t.strictSame(parsePolicy(take().join('\n')), parsePolicy(good))
  await ls(store, 'alive', {}, output)
  t.match(take(), [/GUARD$/, /^h1 .* policy in force$/, /^h2 .* policy refused: too new$/, /^h3 .* -$/])
  const { entries } = await store.read('alive/')
  t.match(
    diagnose(toFacts(entries, Date.now())).filter(({ check }) => check === 'policy'),
    [
      {
        subject: 'h2',
        state: 'wrong',
        text: /refuses the policy .*\(enforce, ancestors\): too new$/,
        todo: /policy check/,
      },
    ],
  )
  await clearPolicy(store, output)
  await clearPolicy(store, output)
  t.match(take(), [/^the policy is gone/, /^no policy was set/])
  await t.rejects(show(), { kind: 'not-found', message: /no policy/ })
  await store.apply([put.raw('policy', '{"mode":"off"}')])
  await t.rejects(show(), { kind: 'invalid', message: /at mode/ })
  await setPolicy(store, join(folder, 'good.json'), output)
  t.match(take(), [/^the policy is set/], 'a bad one can be replaced')
})

t.test('who sets a policy overwrites none that came meanwhile', async (t) => {
  let raced = false
  const store: MemoryStore = new MemoryStore({
    before: async (call) => {
      if (call !== 'apply' || raced) return
      raced = true
      await writePolicy(store, { mode: 'enforce' })
    },
  })
  await t.rejects(writePolicy(store, { mode: 'dry-run' }), { kind: 'conflict', message: /policy/ })
  t.equal((await readPolicy(store)).text, '{"mode":"enforce"}')
})

/** The command as a shell has it, away from any store. */
const registrator = async (args: readonly string[], input = '') => {
  const child = execFile(
    process.execPath,
    [join(import.meta.dirname, '../../cli/main.ts'), 'policy', ...args],
    {
      env: { PATH: process.env.PATH, OPENEBS_STORE: 'etcd://127.0.0.1:1' },
    },
  )
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (text: string) => (stdout += text))
  child.stderr?.on('data', (text: string) => (stderr += text))
  child.stdin?.end(input)
  const [status] = await once(child, 'close')
  return { status, stdout, stderr }
}

t.test('policies are checked and tried without a store', async (t) => {
  const folder = t.testdir({
    'good.json': '{"mode":"enforce","operators":["alice"]}',
    'dry.json': '{}',
    'bad.json': '{"mode":"enforced"}',
    'stop.json': JSON.stringify({
      method: 'POST',
      path: '/containers/vsm-data/stop',
      world: { host: 'h1', volumes: [{ name: 'data', used: true, users: ['web'] }] },
    }),
    'look.json': '{"method":"GET","path":"/info"}',
  })
  const file = (name: string) => join(folder, `${name}.json`)
  const good = ['--policy', file('good')]
  const [checked, refused, missing, denied, json, dry, allowed, operator, odd, both] = await Promise.all([
    registrator(['check', file('good')]),
    registrator(['check', '-'], '{"mode":"enforced"}'),
    registrator(['check', file('none')]),
    registrator(['test', ...good, file('stop')]),
    registrator(['test', ...good, '--json', file('stop')]),
    registrator(['test', '--policy', file('dry'), file('stop')]),
    registrator(['test', ...good, file('look')]),
    registrator(
      ['test', ...good, '-'],
      '{"method":"POST","path":"/containers/openebs-etcd/stop","user":"alice","auth":"TLS"}',
    ),
    registrator(['test', ...good, '-'], '{"method":"POST","path":"/x","boddy":{}}'),
    registrator(['test', '--policy', '-', '-'], '{}'),
  ])
  t.match(checked, { status: 0, stdout: 'the policy is good\n' })
  t.match(refused, { status: 2, stderr: /Invalid option[\s\S]*→ at mode/ })
  t.match(missing, { status: 2, stderr: /cannot read .*none\.json/ })
  t.match(denied, {
    status: 5,
    stdout:
      'deny by rule storage-in-use: vsm-data cannot be stopped: it serves volume data, which container web on host h1 uses. Stop web first\n',
  })
  t.equal(json.status, 5)
  t.match(JSON.parse(json.stdout), { verdict: 'deny', rule: 'storage-in-use', reason: /cannot be stopped/ })
  t.match(dry, { status: 5, stdout: /^would-deny by rule storage-in-use: / })
  t.match(allowed, { status: 0, stdout: 'allow\n' })
  t.match(operator, { status: 0, stdout: 'allow by rule operator\n' })
  t.match(odd, { status: 2, stderr: /the request is refused[\s\S]*"boddy"/ })
  t.match(both, { status: 2, stderr: /cannot both come from standard input/ })
})
