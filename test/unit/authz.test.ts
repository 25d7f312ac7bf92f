import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import t from 'tap'
import type { AuditEntry } from '../../plugin/audit/entry.ts'
import { Authz } from '../../plugin/authz.ts'
import { withAuthz } from '../../plugin/authz-listener.ts'
import { Guard } from '../../plugin/guard/guard.ts'
import type { World } from '../../plugin/guard/world.ts'
import { AuthzRequest } from '../../plugin/protocol.ts'
import { createLog } from '../../process/log.ts'

const known = { id: 'd'.repeat(64), name: 'initiator-y', role: 'initiator', volume: 'y' } as const
const world: World = {
  host: 'h1',
  policy: () => ({ reach: 'ancestors', exceptions: [] }),
  ground: async () => ({ paths: [{ path: '/var/lib/openebs', holds: 'volumes' } as const], volumes: [] }),
  plugin: { names: ['openebs'], id: '9'.repeat(64) },
  image: 'openebs/vsm:1',
  guarded: () => [known],
  volumes: () => ['y'],
  isUsed: () => true,
  users: async () => ['web'],
  resolve: async () => undefined,
  imageOf: async () => undefined,
  readLink: async () => undefined,
  elsewhere: () => undefined,
  volumeOf: async () => undefined,
  pluginOf: async () => undefined,
  execOf: async () => undefined,
  stopped: async () => [],
}
const make = (mode: 'enforce' | 'dry-run') => {
  const seen: AuditEntry[] = []
  let now = Date.parse('2026-01-01T00:00:00Z')
  const authz = new Authz({
    guard: new Guard(
      { isOwn: () => false, policy: () => ({ operators: ['ops'] }), within: 200 },
      () => world,
    ),
    policy: () => ({ mode }),
    guarded: world.guarded,
    record: (entry) => void seen.push(entry),
    clock: () => now,
  })
  return { authz, seen, wait: (ms: number) => (now += ms) }
}
const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64')
const call = (fields: object) => AuthzRequest.parse(fields)

t.test('a request without method or path is denied, whatever the mode', async (t) => {
  const { authz } = make('dry-run')
  for (const empty of [{}, { RequestMethod: 'GET' }, { RequestUri: '/x' }]) {
    const answer = await authz.request(call(empty))
    t.equal(answer.Allow, false)
    t.not(answer.Msg, '')
  }
  t.equal((await authz.request(call({ RequestMethod: 'GET', RequestUri: '/_ping' }))).Allow, true)
  t.equal(authz.asked, 4)
})

const kill = { RequestMethod: 'POST', RequestUri: '/containers/initiator-y/kill?signal=KILL', User: 'bob' }

t.test('what is denied is told to the user, and recorded at once', async (t) => {
  const { authz, seen } = make('enforce')
  t.match(await authz.request(call(kill)), {
    Allow: false,
    Msg: /^openebs: initiator-y cannot be killed: it attaches volume y, which container web on host h1 uses/,
  })
  t.match(seen, [
    {
      time: '2026-01-01T00:00:00.000Z',
      verdict: 'deny',
      rule: 'storage-in-use',
      reason: /cannot be killed/,
      status: 0,
      action: 'kill',
      user: 'bob',
      volume: 'y',
      object: { kind: 'container', name: 'initiator-y' },
      subject: { container: 'initiator-y', containerId: known.id, role: 'initiator', volume: 'y' },
    },
  ])
})

t.test('a dry run lets it pass, and records what would have been', async (t) => {
  const { authz, seen, wait } = make('dry-run')
  t.match(await authz.request(call(kill)), { Allow: true })
  t.equal(seen.length, 0, 'not before it is done')
  wait(30)
  authz.response(call({ ...kill, ResponseStatusCode: 204 }))
  t.match(seen, [{ verdict: 'would-deny', rule: 'storage-in-use', status: 204, ms: 30 }])
})

t.test('every call that changes something is recorded, with nothing of a body', async (t) => {
  const { authz, seen } = make('enforce')
  const id = 'c'.repeat(64)
  const calls = [
    {
      RequestMethod: 'POST',
      RequestUri: '/containers/create?name=web&Env=%5B%22SECRET%3D1%22%5D',
      RequestBody: base64({ Image: 'x', Env: ['SECRET=1'] }),
      ResponseBody: base64({ Id: id }),
      ResponseStatusCode: 201,
    },
    {
      RequestMethod: 'POST',
      RequestUri: '/containers/create?name=vsm-x',
      RequestBody: base64({ Labels: { 'openebs.role': 'target', 'openebs.volume': 'x' } }),
      ResponseBody: base64({ Id: id }),
      ResponseStatusCode: 201,
    },
    { RequestMethod: 'GET', RequestUri: '/containers/json', ResponseStatusCode: 200 },
    { RequestMethod: 'DELETE', RequestUri: '/networks/n1', ResponseStatusCode: 204 },
    { ...kill, User: 'ops', UserAuthNMethod: 'TLS', ResponseStatusCode: 204 },
    {
      RequestMethod: 'POST',
      RequestUri: '/v1.41/volumes/create',
      RequestBody: base64({ Name: 'data', Driver: 'openebs', DriverOpts: { password: 'SECRET' } }),
      ResponseBody: base64({ Name: 'data', Driver: 'openebs' }),
      ResponseStatusCode: 201,
    },
  ]
  for (const fields of calls) {
    t.equal((await authz.request(call(fields))).Allow, true)
    t.equal(authz.response(call(fields)).Allow, true)
  }
  t.match(seen, [
    { action: 'create', uri: '/containers/create?name=web', object: { kind: 'container', name: 'web', id } },
    { action: 'create', status: 201, subject: { container: 'vsm-x', containerId: id, volume: 'x' } },
    { action: 'remove', object: { kind: 'network', name: 'n1' }, verdict: 'allow' },
    { rule: 'operator', user: 'ops', auth: 'TLS', verdict: 'allow' },
    { action: 'create', object: { kind: 'volume', name: 'data' }, volume: 'data', status: 201 },
  ])
  t.equal(seen.length, 5)
  t.notMatch(JSON.stringify(seen), 'SECRET')
})

t.test('calls that are alike, and those of which the Engine tells no end', async (t) => {
  const { authz, seen, wait } = make('enforce')
  const prune = { RequestMethod: 'POST', RequestUri: '/images/prune' }
  await authz.request(call(prune))
  await authz.request(call(prune))
  for (const status of [200, 409, 500]) authz.response(call({ ...prune, ResponseStatusCode: status }))
  t.strictSame(
    seen.splice(0).map(({ status }) => status),
    [200, 409],
    'an answer that was not asked about is none',
  )
  await authz.request(call(prune))
  wait(199_000)
  authz.sweep()
  t.equal(seen.length, 0)
  wait(1_000)
  authz.sweep()
  const { ms, ...entry } = seen.pop() ?? {}
  t.match(entry, { time: '2026-01-01T00:00:00.000Z', verdict: 'allow', status: 0 }, 'failed, or goes on')
  t.equal(ms, undefined)
  authz.response(call({ ...prune, ResponseStatusCode: 200 }))
  for (let n = 0; n < 1500; n++)
    await authz.request(call({ RequestMethod: 'DELETE', RequestUri: `/networks/n${n}` }))
  t.equal(seen.length, 500, 'of very many the oldest are taken for ended')
  for (const uri of ['/containers/web/wait', '/containers/web/resize?h=1&w=1'])
    await authz.request(call({ RequestMethod: 'POST', RequestUri: uri }))
  t.equal(seen.length, 500, 'what changes nothing is not recorded')
})

t.test('what comes over the wire', async (t) => {
  const { authz } = make('enforce')
  const others = createServer(
    withAuthz(
      authz,
      createLog('test', 'silent'),
      (asked, response) => void response.end(`other ${asked.url}`),
    ),
  )
  await new Promise<void>((resolve) => others.listen(0, '127.0.0.1', resolve))
  t.teardown(() => others.close())
  const { port } = others.address() as AddressInfo
  const post = (path: string, body: string): Promise<string> =>
    new Promise((resolve, reject) => {
      request({ port, path, method: 'POST' }, (response) => resolve(text(response)))
        .once('error', reject)
        .end(body)
    })
  const ask = async (body: string) => JSON.parse(await post('/AuthZPlugin.AuthZReq', body))
  t.match(await ask(JSON.stringify(kill)), { Allow: false, Msg: /cannot be killed/ })
  t.match(await ask(JSON.stringify({ RequestMethod: 'GET', RequestUri: '/_ping' })), { Allow: true, Msg: '' })
  for (const unreadable of ['', '{', '[]', 'null', '{"RequestMethod":1}', `"${'x'.repeat(2 ** 24)}"`])
    t.match(await ask(unreadable), { Allow: false, Msg: /could not be read/ }, unreadable.slice(0, 20))
  t.match(JSON.parse(await post('/AuthZPlugin.AuthZRes', '{')), { Allow: true })
  t.equal(await post('/VolumeDriver.List', '{}'), 'other /VolumeDriver.List')

  const failing = new Authz({
    guard: {
      decide: () => Promise.reject(new Error('a bug')),
    } as unknown as Guard,
    policy: () => ({ mode: 'dry-run' }),
    guarded: () => [],
    record: () => undefined,
  })
  others.removeAllListeners('request').on(
    'request',
    withAuthz(failing, createLog('test', 'silent'), () => undefined),
  )
  t.match(await ask(JSON.stringify(kill)), { Allow: false, Msg: /internal error of the plugin/ })
})

t.test('what waits for its end is bounded, and keeps no body', async (t) => {
  const { authz, seen, wait } = make('enforce')
  const create = {
    RequestMethod: 'POST',
    RequestUri: '/containers/create?name=vsm-x',
    RequestBody: base64({ Labels: { 'openebs.role': 'target', 'openebs.volume': 'x' } }),
  }
  for (let n = 0; n < 150; n++) await authz.request(call(create))
  t.equal(seen.length, 50, 'of calls that are alike the oldest are taken for ended')
  wait(200_000)
  authz.sweep()
  t.equal(seen.length, 150)
  t.ok(seen.every(({ subject, object }) => !subject && object.name === 'vsm-x'))
})
