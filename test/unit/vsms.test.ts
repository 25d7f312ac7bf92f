import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { until } from '../../process/backoff.ts'
import { Prober } from '../../sidecar/prober.ts'
import { compareClaims, isVsm, portalsOf, portalToAsk, tellsSessions, vsmOf } from '../../sidecar/vsms.ts'
import { parseSessions } from '../../vsm/health.ts'
import { judgeDiscovery, parseListing, probePortal, type Ran } from '../../vsm/probe.ts'
import { bind, container, foreign, ours } from '../support/containers.ts'

const at = { host: 'h1', address: '10.9.9.9' }

t.test('which containers are VSMs, and where they answer', async (t) => {
  t.ok(isVsm(ours()))
  t.ok(isVsm(foreign()))
  t.ok(isVsm(container({ labels: { 'openebs.role': 'target' } })))
  t.notOk(isVsm(container()))
  t.notOk(
    isVsm(foreign({ labels: { 'openebs.role': 'initiator' } })),
    'it shares the image that exposes 3260',
  )
  t.notOk(isVsm(container({ exposed: [{ port: 3260, protocol: 'udp' }] })))
  t.strictSame(portalsOf(ours(), at.address), ['127.0.0.1:23260'])
  t.strictSame(portalsOf(foreign({ bindings: bind('13260:3260', '[::]:13260:3260') }), at.address), [
    '10.9.9.9:13260',
  ])
  t.strictSame(portalsOf(foreign(), at.address), ['172.17.0.2:3260'])
  t.strictSame(portalsOf(foreign({ networks: [{ name: 'b', ipv6: 'fd00::5' }] }), at.address), [
    '[fd00::5]:3260',
  ])
  t.strictSame(portalsOf(foreign({ networkMode: 'host', networks: [] }), at.address), ['10.9.9.9:3260'])
  t.strictSame(portalToAsk(foreign(), at.address)?.[1], '172.17.0.2:3260')
  t.equal(portalToAsk(ours(), at.address), undefined, 'judged by its health check')
  t.ok(portalToAsk(ours({ health: 'none' }), at.address), 'without one it is asked')
  t.equal(portalToAsk(foreign({ state: 'exited' }), at.address), undefined)
})

t.test('the record of a VSM', async (t) => {
  const iqn = 'iqn.2016-09.com.openebs:demo'
  t.strictSame(vsmOf(ours(), at, undefined), {
    vsm: 'demo',
    host: 'h1',
    container: 'vsm-demo',
    containerId: ours().id,
    volume: 'demo',
    portals: ['127.0.0.1:23260'],
    targets: [{ iqn, luns: [{ lun: 1, size: 64 << 20 }] }],
    health: 'healthy',
  })
  t.match(vsmOf(ours({ health: 'unhealthy', healthOutput: 'no LUN' }), at, undefined), {
    health: 'unhealthy',
    reason: 'its health check fails: no LUN',
  })
  t.match(vsmOf(ours({ health: 'starting' }), at, undefined), { health: 'starting' })
  t.match(vsmOf(ours({ state: 'paused' }), at, undefined), {
    health: 'unhealthy',
    reason: 'its container is paused',
  })
  t.match(vsmOf(ours({ state: 'exited', exitCode: 137, bindings: [] }), at, undefined), {
    health: 'unhealthy',
    reason: 'its container is exited with status 137',
    portals: ['10.9.9.9:23260'],
  })
  t.match(vsmOf(foreign(), at, undefined), { vsm: 'san', health: 'starting', targets: [] })
  const probe = { health: 'unknown', reason: 'CHAP', targets: [{ iqn, luns: [] }] } as const
  t.match(vsmOf(foreign(), at, probe), { health: 'unknown', reason: 'CHAP', targets: [{ iqn }] })
  const forged = ours({
    labels: { ...ours().labels, 'vsm.openebs.io/volume-size': '-1', 'openebs.epoch': 'x' },
  })
  t.match(vsmOf(forged, at, undefined).targets, [{ iqn, luns: [] }], 'an unreadable size is left out')
  const claims = [
    foreign({ name: 'demo' }),
    ours({ state: 'exited' }),
    ours({ created: '2026-02-02T00:00:00Z' }),
    ours(),
  ]
  t.strictSame(claims.toSorted(compareClaims), [claims[3], claims[2], claims[1], claims[0]])
})

const listing = `Target:iqn.2020-01.org.x:y Portal:127.0.0.1:13260,1
Lun:0    Type:STORAGE_ARRAY_CONTROLLER
Target:iqn.2016-09.com.openebs:demo Portal:127.0.0.1:13260,1
Lun:0    Type:STORAGE_ARRAY_CONTROLLER
Lun:1    Type:DIRECT_ACCESS (Size:32M)
Lun:12   Type:DIRECT_ACCESS (Size:512 )
`
const ran = (change: Partial<Ran> = {}): Ran => ({
  status: 0,
  missing: false,
  stdout: '',
  stderr: '',
  ...change,
})

t.test('what iscsi-ls prints', async (t) => {
  t.strictSame(parseListing(listing), [
    { iqn: 'iqn.2020-01.org.x:y', disks: [] },
    {
      iqn: 'iqn.2016-09.com.openebs:demo',
      disks: [
        { lun: 1, size: 32 << 20 },
        { lun: 12, size: 512 },
      ],
    },
  ])
  const twice = 'Target:a Portal:1,1\nLun:1    Type:DIRECT_ACCESS (Size:1G)\n'
  t.strictSame(parseListing(twice + twice), [{ iqn: 'a', disks: [{ lun: 1, size: 1 << 30 }] }], 'two portals')
  const cut = parseListing(`${twice}Target:a Portal:2,1\n`)
  t.equal(cut[0]?.disks.length, 1, 'the second portal was not listed to its end')
  t.strictSame(parseListing('rubbish\n\nLun:x'), [])
  const chap =
    'list_luns: iscsi_connect failed. Failed to log in to target. Status: Authentication failure(513)\n'
  const refused =
    'discoveryconnect_cb: connection failed : iscsi_service: socket error Connection refused(111).\n'
  const cases: [string, Ran, string, RegExp | undefined][] = [
    ['it answers', ran({ stdout: listing }), 'healthy', undefined],
    ['an ACL hides all', ran(), 'unknown', /names no target/],
    ['CHAP at discovery', ran({ status: 10, stderr: chap }), 'unknown', /Authentication failure/],
    ['nobody listens', ran({ status: 10, stderr: refused }), 'unhealthy', /Connection refused/],
    ['no answer', ran({ status: undefined as never }), 'unhealthy', /no answer within 5 s/],
    ['no iscsi-ls', ran({ status: undefined as never, missing: true }), 'unknown', /not installed/],
  ]
  for (const [name, result, health, reason] of cases) {
    const probe = judgeDiscovery(result, '1.2.3.4:3260', 5000)
    t.equal(probe.health, health, name)
    if (reason) t.match(probe.reason, reason)
  }
})

t.test('a portal is asked for targets, LUNs and exact sizes', async (t) => {
  const calls: string[] = []
  const never = new AbortController().signal
  const fake = (luns: Ran) => async (program: string, args: readonly string[]) => {
    calls.push([program, ...args].join(' '))
    if (program === 'iscsi-readcapacity16') return ran({ stdout: '33554944\n' })
    return args.includes('--show-luns') ? luns : ran({ stdout: listing })
  }
  const probe = await probePortal('1.2.3.4:3260', never, { run: fake(ran({ stdout: listing })) })
  t.equal(probe.health, 'healthy')
  t.strictSame(probe.targets[1]?.luns[0], { lun: 1, size: 33554944 })
  t.ok(calls.includes('iscsi-readcapacity16 --size iscsi://1.2.3.4:3260/iqn.2016-09.com.openebs:demo/1'))
  const half = ran({ status: 10, stdout: listing.slice(0, 60), stderr: 'Authentication failure(513)' })
  const partly = await probePortal('1.2.3.4:3260', never, { run: fake(half) })
  t.match(partly, { health: 'unknown', reason: /not all of their LUNs: Authentication/ })
  t.equal(partly.targets.length, 2, 'the names that discovery told are kept')
})

t.test('who is logged in, as the health check of a target prints it', async (t) => {
  const cases: [output: string, sessions: ReturnType<typeof parseSessions>][] = [
    ['', undefined],
    ['openebs: LUN 1 is not there', undefined],
    ['sessions: ', []],
    ['sessions:', []],
    [
      'sessions: iqn.b:2@fd00::1 iqn.a:1@10.0.0.1 ',
      [
        { initiator: 'iqn.a:1', address: '10.0.0.1' },
        { initiator: 'iqn.b:2', address: 'fd00::1' },
      ],
    ],
    ['a warning\nsessions: iqn.a:1@10.0.0.1', [{ initiator: 'iqn.a:1', address: '10.0.0.1' }]],
    ['sessions: a%20b@c@10.0.0.1', [{ initiator: 'a%20b@c', address: '10.0.0.1' }]],
    ['sessions: iqn.a:1 @10.0.0.1', [{ initiator: 'iqn.a:1' }]],
    ['sessions: iqn.a:1@10.0.0.1 iqn.b:2@10.0...', [{ initiator: 'iqn.a:1', address: '10.0.0.1' }]],
  ]
  for (const [output, sessions] of cases) t.strictSame(parseSessions(output), sessions, output)
  const session = fc.record({ initiator: fc.stringMatching(/^iqn[a-z0-9.:@-]{1,20}$/), address: fc.ipV6() })
  fc.assert(
    fc.property(fc.array(session), fc.array(session), (some, more) => {
      const print = (of: typeof some) =>
        `sessions: ${of.map((one) => `${one.initiator}@${one.address} `).join('')}`
      const all = [...some, ...more]
      const [one, other] = [parseSessions(print(all)), parseSessions(print(all.toReversed()))]
      return one?.length === all.length && JSON.stringify(one) === JSON.stringify(other)
    }),
  )
})

t.test('how large the LUN of a target is, by its health check before its label', async (t) => {
  const luns = (healthOutput: string) => vsmOf(ours({ healthOutput }), at, undefined).targets[0]?.luns
  const labelled = luns('')
  t.strictSame(luns('size: 4096\nsessions: '), [{ lun: 1, size: 4096 }])
  t.strictSame(luns('sessions: '), labelled, 'one of an older version does not say')
  t.strictSame(luns('size: many\nsessions: size: 5'), labelled)
  t.not(labelled?.[0]?.size, 4096)
})

t.test('sessions are known of a healthy target of ours alone', async (t) => {
  const healthOutput = 'sessions: iqn.a:1@10.0.0.1'
  const known = { sessions: [{ initiator: 'iqn.a:1', address: '10.0.0.1' }] }
  const sessions = (of: ReturnType<typeof ours>) => {
    const { sessions } = vsmOf(of, at, undefined)
    t.equal(tellsSessions(of), sessions !== undefined)
    return sessions
  }
  t.strictSame(sessions(ours({ healthOutput })), known.sessions)
  t.equal(sessions(ours({ healthOutput, health: 'unhealthy' })), undefined)
  t.equal(sessions(ours({ healthOutput, health: 'starting' })), undefined)
  t.equal(sessions(ours({ healthOutput, state: 'exited' })), undefined)
  t.equal(sessions(foreign({ healthOutput, health: 'healthy' })), undefined)
})

t.test('portals: a few at a time, new ones at once, forgotten ones for good', async (t) => {
  const stop = new AbortController()
  let running = 0
  let most = 0
  let changes = 0
  const asked: string[] = []
  const open = Promise.withResolvers<void>()
  const prober = new Prober(
    async (portal) => {
      asked.push(portal)
      most = Math.max(most, ++running)
      await open.promise
      running--
      return { health: 'healthy', targets: [] }
    },
    () => changes++,
    stop.signal,
    { steady: 60_000, retry: 60_000, atOnce: 2 },
  )
  prober.follow(new Map(['a', 'b', 'c', 'd'].map((key) => [key, `${key}:3260`])))
  prober.follow(new Map([['b', 'b:3260']]))
  prober.follow(
    new Map([
      ['b', 'b:3260'],
      ['c', 'c:1'],
      ['d', 'd:3260'],
    ]),
  )
  open.resolve()
  await sleep(5)
  t.equal(most, 2)
  t.strictSame(asked, ['a:3260', 'b:3260', 'c:1', 'd:3260'], 'whoever was forgotten meanwhile is not asked')
  t.strictSame(
    ['a', 'b', 'c', 'd'].map((key) => prober.answer(key)?.health),
    [undefined, 'healthy', 'healthy', 'healthy'],
  )
  t.equal(changes, 3, 'an answer for nobody changes nothing')
  stop.abort()
  t.equal(prober.answer('b'), undefined)
})

t.test(
  'a portal that does not answer is asked again after growing pauses, one that does steadily',
  async (t) => {
    const stop = new AbortController()
    t.teardown(() => stop.abort())
    const times: number[] = []
    let healthy = false
    let changes = 0
    const prober = new Prober(
      async () => {
        times.push(performance.now())
        return { health: healthy ? 'healthy' : 'unhealthy', targets: [] }
      },
      () => changes++,
      stop.signal,
      { steady: 400, retry: 40, atOnce: 1 },
    )
    const pauses = async (count: number) => {
      times.length = 0
      t.ok(await until(() => times.length > count || undefined, { ms: 10_000, every: 5 }))
      return times.slice(1, count + 1).map((time, index) => time - (times[index] ?? 0))
    }
    prober.follow(new Map([['a', 'a:3260']]))
    const unhealthy = await pauses(6)
    // a pause is between half of it and all of it: 20-40, 40-80, 80-160, 160-320, then 200-400
    for (const [index, least] of [20, 40, 80, 160, 200, 200].entries())
      t.ok((unhealthy[index] ?? 0) >= least - 2, `pause ${index}: ${unhealthy[index]} ms`)
    t.equal(changes, 1, 'the same answer is no change')
    healthy = true
    for (const pause of await pauses(2)) t.ok(pause >= 198, `steady: ${pause} ms`)
    t.equal(changes, 2)
    t.equal(prober.answer('a')?.health, 'healthy')
  },
)
