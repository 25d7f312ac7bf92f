import { Command } from 'commander'
import t, { type Test } from 'tap'
import { type AuditOptions, audit } from '../../cli/audit.ts'
import { diagnose } from '../../cli/diagnosis.ts'
import { doctor } from '../../cli/doctor.ts'
import { type EventsOptions, events } from '../../cli/events.ts'
import { toFacts } from '../../cli/facts.ts'
import { age, since, time } from '../../cli/format.ts'
import { get } from '../../cli/get.ts'
import { type LsOptions, ls } from '../../cli/ls.ts'
import { type Output, plain } from '../../cli/output.ts'
import { addSettings, readStoreSettings } from '../../cli/settings.ts'
import { showVsm } from '../../cli/vsm.ts'
import { type WatchOptions, watch } from '../../cli/watch.ts'
import { until } from '../../process/backoff.ts'
import { Failure } from '../../process/failure.ts'
import { describeSettings } from '../../process/settings.ts'
import { inventoryKinds } from '../../registry/records.ts'
import { size } from '../../registry/size.ts'
import type { Change } from '../../registry/store.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { settings as sidecarSettings } from '../../sidecar/settings.ts'
import * as put from '../support/records.ts'

/** What a command printed and said. */
const recorder = () => {
  const printed: string[] = []
  const said: string[] = []
  const output: Output = {
    style: plain,
    print: (text) => printed.push(...text.split('\n')),
    say: (text) => said.push(text),
  }
  return { output, printed, said, parsed: () => JSON.parse(printed.join('\n')) }
}

const filled = async (...changes: Change[]): Promise<MemoryStore> => {
  const store = new MemoryStore()
  for (const change of changes) await store.apply([change])
  return store
}

const never = new AbortController().signal

const shown = async (store: MemoryStore, collection?: string, options: LsOptions = {}) => {
  const record = recorder()
  await ls(store, collection, options, record.output)
  return record
}

t.test('tables of collections', async (t) => {
  const store = await filled(
    put.hostPut('h1', {
      addresses: ['10.0.0.1', 'fd00::1'],
      swarm: { node: 'n', role: 'manager', leader: true },
    }),
    put.hostPut('another-host', { left: true }),
    put.servicePut('web', 'h1', {
      tags: ['prod', 'eu'],
      health: 'healthy',
      endpoints: [
        { address: '10.0.0.1', port: 8080 },
        { address: 'fd00::1', port: 8080 },
      ],
    }),
    put.servicePut('dns-with-a-long-name', 'another-host', {
      protocol: 'udp',
      state: 'paused',
      health: 'healthy',
    }),
    put.containerPut('h1', 'z', { state: 'exited', exitCode: 137 }),
    put.containerPut('h1', 'a', { health: 'unhealthy' }),
    put.raw('vsms/odd/h1', '{}'),
    put.volumePut('日本', 'h1'),
    put.volumePut('data', 'h1'),
  )
  t.strictSame((await shown(store, 'services')).printed, [
    'SERVICE               ENDPOINTS                              CONTAINER                  HOST          HEALTH   TAGS',
    'dns-with-a-long-name  10.0.0.1:8080/udp                      dns-with-a-long-name-1:80  another-host  paused   -',
    'web                   10.0.0.1:8080/tcp, [fd00::1]:8080/tcp  web-1:80                   h1            healthy  prod, eu',
  ])
  t.strictSame(
    (await shown(store, 'inventory', { host: 'h1' })).printed.map((line) => line.slice(0, 49).trimEnd()),
    [
      'KIND       NAME  HOST  STATE               ID',
      'container  a     h1    running, unhealthy  610000',
      'container  z     h1    exited (137)        7a0000',
    ],
    'by name',
  )
  t.match((await shown(store, 'hosts')).printed, [
    /^HOST +ADDRESS +DOCKER +SYSTEM +CPUS +MEMORY +SWARM +SIDECAR +UP$/,
    /^another-host +10\.0\.0\.1 .* left$/,
    /^h1 +10\.0\.0\.1, fd00::1 +28\.5\.1 +linux 6\.1\.0 amd64 +2 +4 GiB +leader +0\.1\.0 +\d+ d$/,
  ])
  t.strictSame(
    (await shown(store, 'volumes')).printed.map((line) => line.slice(0, line.indexOf('GiB') + 3).trimEnd()),
    ['VO', 'data    1 GiB', '日本    1 GiB'],
    'wide letters count twice',
  )
  const odd = await shown(store, 'vsms')
  t.strictSame(odd.printed, ['no VSMs'])
  t.match(odd.said, [/^1 record cannot be read, the first is vsms\/odd\/h1/])
  t.strictSame((await shown(store, 'services', { host: 'h9' })).printed, ['no services of host h9'])
  t.strictSame((await shown(store, 'inventory', { kind: 'image' })).printed, ['no images'])
  t.match((await shown(new MemoryStore(), 'hosts')).printed, [/is a sidecar running/])
  t.match((await shown(new MemoryStore())).printed, [/is a sidecar running/])
  t.match((await shown(store, 'inventory/', { kind: 'container', json: true })).parsed(), {
    collection: 'inventory',
    records: [{ record: { name: 'a' } }, { record: { name: 'z' } }],
  })
  await t.rejects(shown(store, 'sevices'), {
    kind: 'invalid',
    message: /no collection "sevices": there are hosts/,
  })
  await t.rejects(shown(store, 'hosts', { kind: 'image' }), { kind: 'invalid', message: /--kind/ })
  await t.rejects(shown(store, 'inventory', { kind: 'images' }), { message: /expected one of container/ })
  await t.rejects(shown(store, undefined, { host: 'h9' }), { kind: 'not-found', message: /known: .*h1/ })
})

t.test('each kind of the inventory has a table', async (t) => {
  const base = { host: 'h1', id: put.idOf('x'), name: 'x' }
  const created = '2026-01-01T00:00:00Z'
  const more = {
    container: {
      image: 'i',
      state: 'running',
      health: 'none',
      labels: {},
      networks: [{ name: 'n' }],
      ports: [{ port: 80, protocol: 'tcp', hostAddress: '0.0.0.0', hostPort: 8080 }],
      volumes: [],
      created,
    },
    image: { tags: ['x:1'], size: 1536, created },
    network: { driver: 'bridge', scope: 'local', subnets: ['10.0.0.0/24'] },
    plugin: { enabled: false, reference: 'openebs:1' },
    volume: { driver: 'local', scope: 'local', labels: {} },
    node: { role: 'manager', leader: true, availability: 'active', state: 'ready', address: '10.0.0.1' },
    service: {
      image: 'i',
      mode: 'replicated',
      replicas: 3,
      labels: {},
      ports: [{ port: 80, protocol: 'tcp', mode: 'ingress' }],
    },
    task: { service: 's', node: 'n', state: 'starting', wanted: 'running' },
    secret: {},
    config: {},
  } as const
  const cells = {
    container: '0.0.0.0:8080->80/tcp',
    image: '1.5 KiB',
    network: '10.0.0.0/24',
    plugin: 'disabled',
    volume: 'local',
    node: 'leader',
    service: '3 wanted',
    task: 'starting, to be running',
    secret: 'x',
    config: 'x',
  }
  const store = await filled(
    ...inventoryKinds.map((kind) =>
      put.raw(`inventory/h1/${kind}/x`, JSON.stringify({ kind, ...base, ...more[kind] })),
    ),
  )
  for (const kind of inventoryKinds) {
    const { printed, said } = await shown(store, 'inventory', { kind })
    t.equal(printed.length, 2, kind)
    t.ok(printed[1]?.includes(cells[kind]), `${kind}: ${printed[1]}`)
    t.strictSame(said, [])
  }
})

t.test('single records', async (t) => {
  const store = await filled(
    put.hostPut('h1'),
    put.hostPut('h10'),
    put.raw('odd', 'no JSON'),
    put.raw('secrets/data', 'geheim'),
  )
  const got = async (key: string, json = false) => {
    const record = recorder()
    await get(store, key, { json }, record.output)
    return record
  }
  t.match((await got('hosts/h1')).parsed(), { host: 'h1' })
  t.match((await got('hosts/h1', true)).parsed(), { key: 'hosts/h1', revision: '2', record: { host: 'h1' } })
  t.match((await got('hosts/', true)).parsed(), [{ key: 'hosts/h1' }, { key: 'hosts/h10' }])
  t.equal((await got('hosts/')).printed.filter((line) => line.startsWith('hosts/')).length, 2)
  t.strictSame((await got('odd')).printed, ['no JSON'])
  t.match((await got('odd', true)).parsed(), { key: 'odd', value: 'no JSON' })
  await t.rejects(got('hosts/h'), { kind: 'not-found', message: /nothing at hosts\/h; there is hosts\/h1, / })
  for (const key of ['secrets/data', 'secrets/', 'secrets'])
    await t.rejects(got(key), { kind: 'denied', message: /secrets are not shown/ })
})

const at = (clock: string) => `2026-01-01T${clock}.000Z`

t.test('the journal', async (t) => {
  const store = await filled(
    put.eventPut('h1', at('10:00:00')),
    put.eventPut('h2', at('10:00:01'), { action: 'die', attributes: { image: 'web:1', exitCode: '137' } }),
    put.eventPut('h1', at('10:00:02'), {
      type: 'network',
      action: 'connect',
      name: 'bridge',
      attributes: {},
    }),
    put.gapPut('h2', at('10:00:03'), { from: at('10:00:01') }),
    put.gapPut('h1', at('09:00:00')),
    put.raw('events/h1/odd', '{}'),
  )
  const journal = async (options: EventsOptions = {}) => {
    const record = recorder()
    await events(store, options, never, record.output)
    return record
  }
  const { printed, said } = await journal()
  t.strictSame(printed.slice(1), [
    '2026-01-01 10:00:00.000  h1        container  start         web-1             image=web:1',
    '2026-01-01 10:00:01.000  h2        container  die           web-1             image=web:1 exitCode=137',
    '2026-01-01 10:00:02.000  h1        network    connect       bridge',
    '2026-01-01 10:00:03.000  h2        ---- GAP: events between 2026-01-01 10:00:01.000 and 2026-01-01 10:00:03.000 may be missing: the Docker Engine restarted ----',
  ])
  t.match(printed[0], /GAP: events between the beginning and 2026-01-01 09/)
  t.match(said, [/^1 entry cannot be read/])
  t.match(
    (await journal({ type: 'network', since: at('10:00:00') })).printed,
    [/network/, /GAP/],
    'gaps stay',
  )
  t.match(
    (await journal({ host: 'h2', json: true })).printed.map((line) => JSON.parse(line)),
    [{ key: /^events\/h2\//, record: { action: 'die' } }, { record: { kind: 'gap' } }],
  )
  t.strictSame((await journal({ host: 'h3' })).printed, ['no events of host h3'])
  t.strictSame((await journal({ since: '1s', type: 'image' })).printed, [
    'no image events since 1s (6 others)',
  ])
  await t.rejects(journal({ since: 'yesterday' }), { kind: 'invalid', message: /--since: expected 30s/ })
})

/** Runs a command that follows, until the test ends. */
const following = (t: Test, work: (signal: AbortSignal) => Promise<void>) => {
  const stop = new AbortController()
  const running = work(stop.signal)
  t.teardown(async () => {
    stop.abort()
    await running
  })
}
const lines = (of: readonly string[], number: number) =>
  until(() => of.length >= number || undefined, { ms: 5000, every: 5 })

t.test('following the journal', async (t) => {
  const store = await filled(put.eventPut('h1', at('10:00:00')))
  const { output, printed, said } = recorder()
  following(t, (signal) => events(store, { follow: true }, signal, output))
  t.ok(await lines(printed, 1))
  await store.apply([put.eventPut('h1', at('10:00:01'), { action: 'die' })])
  t.ok(await lines(printed, 2))
  store.compact() // the watch that runs notices at its next look
  await store.apply([put.gapPut('h1', at('10:00:02'))])
  t.ok(await lines(printed, 3))
  t.match(printed, [/ start /, / die /, /GAP/], 'each once')
  t.match(said, [], 'nothing was lost')
})

/** What operators and the guard did, with one entry of an older version and one that cannot be read. */
const audited = () =>
  filled(
    put.auditPut('h1', at('10:00:00'), { action: 'create', status: 201, user: 'ops' }),
    put.auditPut('h2', at('10:00:01'), {
      ...{
        action: 'stop',
        verdict: 'deny',
        rule: 'target-in-use',
        reason: 'volume data is in use',
        status: 0,
      },
      object: { kind: 'container', name: 'vsm-data', id: put.idOf('vsm-data') },
      subject: { container: 'vsm-data', containerId: put.idOf('vsm-data'), role: 'target', volume: 'data' },
    }),
    put.auditPut('h1', at('10:00:02'), {
      ...{ action: 'remove', method: 'DELETE', verdict: 'would-deny', rule: 'own', status: 200 },
      ...{ object: { kind: 'volume', name: 'data' }, volume: 'data', user: 'ops' },
    }),
    put.auditPut('h1', at('10:00:03'), {
      action: 'kill',
      object: { kind: 'container', id: put.idOf('web-1') },
    }),
    put.auditGapPut('h2', at('10:00:04'), at('10:00:06'), 12),
    put.raw(
      'audit/h1/01767261605000-000001',
      JSON.stringify({
        ...{ action: 'start', host: 'h1', method: 'POST', status: 204, time: at('10:00:05'), uri: '/x' },
        ...{ user: '', verdict: 'allow', subject: { container: 'vsm-old', containerId: '', volume: 'old' } },
      }),
    ),
    put.raw('audit/h2/odd', '{}'),
    put.eventPut('h1', at('10:00:00'), { action: 'create' }),
    put.eventPut('h1', '2026-01-01T10:00:03.000500000Z', { action: 'die', attributes: { exitCode: '137' } }),
    put.eventPut('h1', at('10:00:01'), {
      ...{ type: 'network', action: 'connect', id: 'n', name: 'bridge' },
      attributes: { container: put.idOf('web-1') },
    }),
    put.eventPut('h2', at('10:00:02'), { name: 'other', id: put.idOf('other') }),
    put.gapPut('h1', at('10:00:09')),
  )

t.test('the audit trail', async (t) => {
  const store = await audited()
  const trail = async (options: AuditOptions = {}) => {
    const record = recorder()
    await audit(store, options, never, record.output)
    return record
  }
  const { printed, said } = await trail()
  t.strictSame(printed, [
    '2026-01-01 10:00:00.000  h1        ops       allow       create    container web-1           -         201',
    '2026-01-01 10:00:01.000  h2        -         deny        stop      container vsm-data        data      -    target-in-use: volume data is in use',
    '2026-01-01 10:00:02.000  h1        ops       would-deny  remove    volume data               data      200  own',
    '2026-01-01 10:00:03.000  h1        -         allow       kill      container 7765622d3100    -         204',
    '2026-01-01 10:00:04.000  h2        ---- GAP: 12 calls between 2026-01-01 10:00:04.000 and 2026-01-01 10:00:06.000 not kept: the store did not take them ----',
    '2026-01-01 10:00:05.000  h1        -         allow       start     container vsm-old         old       204',
  ])
  t.strictSame(said, ['1 entry cannot be read'])
  const found = async (options: AuditOptions) =>
    (await trail({ ...options, json: true })).printed.map((line) => {
      const { key, record } = JSON.parse(line)
      return `${key.split('/')[0]} ${record.kind === 'gap' ? 'gap' : record.action}`
    })
  const gap = 'audit gap'
  t.strictSame(await found({ host: 'h1', user: 'ops' }), ['audit create', 'audit remove'])
  t.strictSame(
    await found({ user: '-' }),
    ['audit stop', 'audit kill', gap, 'audit start'],
    'the unix socket',
  )
  t.strictSame(await found({ verdict: 'deny' }), ['audit stop', gap], 'a gap may hide a denial')
  t.strictSame(await found({ action: 'kill' }), ['audit kill', gap])
  t.strictSame(await found({ volume: 'data' }), ['audit stop', 'audit remove', gap])
  t.strictSame(await found({ volume: 'old' }), [gap, 'audit start'])
  t.strictSame(await found({ since: at('10:00:05') }), [gap, 'audit start'], 'a gap that lasts until then')
  const ofWeb = ['audit create', 'audit kill', gap]
  t.strictSame(await found({ container: 'web-1' }), ofWeb, 'by name, and where only its ID is told')
  t.strictSame(await found({ container: put.idOf('web-1').slice(0, 8) }), ofWeb, 'by the beginning of its ID')
  t.strictSame(await found({ container: 'web' }), [gap], 'not by the beginning of its name')
  t.strictSame((await trail({ host: 'h3' })).printed, ['no calls in the audit trail of host h3'])
  t.match((await trail({ host: 'h1', user: 'nobody' })).printed, [
    'no calls in the audit trail of host h1 (4 others)',
  ])
  const empty = recorder()
  await audit(await filled(), {}, never, empty.output)
  t.match(empty.printed, [/is the plugin among the authorization plugins/])
  await t.rejects(trail({ verdict: 'maybe' }), {
    kind: 'invalid',
    message: /--verdict: expected one of allow, deny/,
  })
  await t.rejects(trail({ events: true }), { kind: 'invalid', message: /--events needs --container/ })
  t.match((await shown(store, 'audit')).printed, [
    /^TIME +HOST +USER +VERDICT/,
    /ops +allow +create +container web-1/,
  ])
})

t.test('denials are seen at a glance', async (t) => {
  const record = recorder()
  const style = { ...plain, bad: (text: string) => `<${text}>`, odd: (text: string) => `(${text})` }
  await audit(await audited(), {}, never, { ...record.output, style })
  t.match(record.printed, [
    /^2.*create/,
    /^<2.*vsm-data.*>$/,
    /^\(2.*would-deny.*\)$/,
    /^2/,
    /^\(2.*GAP.*\)$/,
    /^2/,
  ])
})

t.test('what happened to a container stands between the calls on it', async (t) => {
  const store = await audited()
  const { output, printed } = recorder()
  await audit(store, { container: 'web-1', host: 'h1', events: true }, never, output)
  t.strictSame(printed, [
    '2026-01-01 10:00:00.000  h1        ops       allow       create    container web-1           -         201',
    '2026-01-01 10:00:00.000  h1        -         event       create    container web-1           -         -    image=web:1',
    '2026-01-01 10:00:01.000  h1        -         event       connect   network bridge            -         -    container=7765622d3100',
    '2026-01-01 10:00:03.000  h1        -         allow       kill      container 7765622d3100    -         204',
    '2026-01-01 10:00:03.000  h1        -         event       die       container web-1           -         -    exitCode=137',
    '2026-01-01 10:00:09.000  h1        ---- GAP: events between the beginning and 2026-01-01 10:00:09.000 may be missing: the Docker Engine restarted ----',
  ])
})

t.test('following the audit trail, with events', async (t) => {
  const store = await audited()
  const { output, printed, said } = recorder()
  const options = { container: 'web-1', host: 'h1', events: true, follow: true }
  following(t, (signal) => audit(store, options, signal, output))
  t.ok(await lines(printed, 6))
  t.match(printed, [/allow/, /event/, /event/, /kill/, /die/, /GAP/], 'what is there, in one order')
  // an entry that had waited on a disk has an old key
  await store.apply([put.auditPut('h1', at('09:00:00'), { action: 'late' })])
  t.ok(await lines(printed, 7))
  await store.apply([put.auditPut('h1', at('09:00:00'), { action: 'late' })])
  await store.apply([put.auditPut('h1', at('10:00:10'), { action: 'remove' })])
  t.ok(await lines(printed, 8))
  store.compact()
  await store.apply([put.eventPut('h1', at('10:00:11'), { action: 'destroy' })])
  t.ok(await lines(printed, 9))
  t.match(printed.slice(6), [/09:00:00.*late/, /remove/, /destroy/], 'each once')
  t.match(
    said.filter((text) => !/cannot be read/.test(text)),
    [],
  )
})

t.test('following changes', async (t) => {
  const store = await filled(put.servicePut('a'), put.servicePut('b'))
  const { output, printed } = recorder()
  const all = recorder()
  const options: WatchOptions = { json: true, from: '2' }
  following(t, (signal) => watch(store, 'services/', {}, signal, output))
  following(t, (signal) => watch(store, '', options, signal, all.output))
  t.ok(await lines(all.printed, 1))
  await store.apply([put.servicePut('b', 'h1', { health: 'unhealthy' }), put.removal('services/a/h1:a-1:80')])
  await store.apply([put.raw('secrets/s', 'geheim'), put.raw('services/odd/h1:c:1', '{}')])
  t.ok(await lines(printed, 3))
  t.match(printed, [
    /^\d\d:\d\d:\d\d {2}put {5}services\/b\/h1:b-1:80 {2}10\.0\.0\.1:8080\/tcp unhealthy$/,
    /^\d\d:\d\d:\d\d {2}delete {2}services\/a\/h1:a-1:80$/,
    /^\d\d:\d\d:\d\d {2}put {5}services\/odd\/h1:c:1 {2}cannot be read: /,
  ])
  t.ok(await lines(all.printed, 4))
  t.match(
    all.printed.map((line) => JSON.parse(line)),
    [
      { revision: '3', kind: 'put', key: 'services/b/h1:b-1:80', record: { health: 'none' } },
      { revision: '4', kind: 'put', record: { health: 'unhealthy' } },
      { revision: '4', kind: 'delete', key: 'services/a/h1:a-1:80' },
      { revision: '5', kind: 'put', key: 'services/odd/h1:c:1', unreadable: /schema/ },
    ],
    'from a revision on, without secrets',
  )
  await t.rejects(watch(store, '', { from: 'x' }, never, output), { kind: 'invalid', message: /--from/ })
})

t.test('a history that is lost is said, and all that is there follows', async (t) => {
  const store = await filled(put.servicePut('a'), put.servicePut('b'))
  store.compact()
  const { output, printed, said } = recorder()
  following(t, (signal) => watch(store, 'services/', { json: true, from: '1' }, signal, output))
  t.ok(await lines(printed, 3))
  t.match(
    printed.map((line) => JSON.parse(line)),
    [
      { kind: 'reset', reason: /no longer kept/ },
      { kind: 'put', key: /services\/a/ },
      { kind: 'put', key: /services\/b/ },
    ],
  )
  t.match(said, [/changes may be missing/])
})

t.test('a store that goes away and comes back', async (t) => {
  let away = true
  const store = new MemoryStore({
    before: () => {
      if (away) throw new Failure('unavailable', 'etcd does not answer')
    },
  })
  const { output, printed, said } = recorder()
  following(t, (signal) => watch(store, 'services/', {}, signal, output))
  t.ok(await lines(said, 1))
  away = false
  t.ok(await lines(said, 2))
  t.match(said, [/etcd does not answer: waiting for it/, /is back/])
  await store.apply([put.servicePut('a')])
  t.ok(await lines(printed, 1))
})

t.test('all about a VSM', async (t) => {
  const store = await filled(
    put.vsmPut('data', 'h1', {
      sessions: [{ initiator: 'iqn.x:h1', address: '172.17.0.1' }, { initiator: 'iqn.x:h2' }],
    }),
    put.volumePut('data', 'h1'),
    put.targetPut('data', 'h1'),
    put.attachmentPut('data', 'h1'),
    put.vsmPut('san', 'h1', { targets: [], health: 'unhealthy', reason: 'no answer' }),
    put.vsmPut('san', 'h2', { sessions: [] }),
  )
  const show = async (name: string, options: { json?: boolean; host?: string } = {}) => {
    const record = recorder()
    await showVsm(store, name, options, record.output)
    return record
  }
  t.strictSame((await show('data')).printed, [
    'data on h1',
    '  health     healthy',
    '  portals    172.17.0.1:23260',
    '  targets    iqn.2016-09.com.openebs:data',
    '               LUN 1: 1 GiB',
    '  sessions   iqn.x:h1 from 172.17.0.1',
    '             iqn.x:h2',
    `  container  vsm-data (${put.idOf('data').slice(0, 12)})`,
    '  volume     data, 1 GiB ext4, ready',
    '  attached   to h1, claimed since 2026-01-01 00:00:00',
  ])
  const both = (await show('san')).printed.join('\n')
  t.match(both, /health +unhealthy: no answer\n/)
  t.match(both, /targets +not known\n +sessions +not known\n/)
  t.match(both, /san on h2\n[\s\S]*sessions +none\n[\s\S]*volume +san, which is not in the registry\n/)
  t.match((await show('san', { host: 'h2', json: true })).parsed(), [{ vsm: { host: 'h2' } }])
  await t.rejects(show('nix'), {
    kind: 'not-found',
    message: /no VSM nix in the registry \(there are data, san\)/,
  })
})

/** A registry in which nothing is wrong. */
const healthy = [
  put.hostPut('h1'),
  put.alivePut('h1'),
  put.containerPut('h1', 'web-1', { volumes: ['data'] }),
  put.servicePut('web'),
  put.vsmPut('data', 'h1'),
  put.volumePut('data', 'h1'),
  put.targetPut('data', 'h1'),
  put.attachmentPut('data', 'h1'),
  put.eventPut('h1', at('10:00:00')),
]
const now = Date.parse(at('12:00:00'))

/** What is found wrong with these entries, as the doctor says it. */
const wrongWith = async (...changes: Change[]): Promise<string[]> => {
  const store = await filled(...healthy, ...changes)
  const { entries } = await store.read('')
  const leased = entries.map((entry) =>
    entry.key === 'hosts/manual'
      ? entry
      : { ...entry, ...(entry.key.startsWith('hosts/') && { lease: '1' }) },
  )
  return diagnose(toFacts(leased, now))
    .filter(({ state }) => state === 'wrong')
    .map(({ check, subject, text, todo }) => `${check} ${subject}: ${text} -> ${todo ?? ''}`)
}

t.test('a diagnosis finds what is wrong, and only that', async (t) => {
  t.strictSame(await wrongWith(), [])
  for (const [changes, found] of [
    [[put.hostPut('manual')], [/^host manual: its record is held by no lease/]],
    [
      [put.servicePut('x', 'h2')],
      [/^host h2: not registered, but named by 1 service instance/, /^service x on h2/],
    ],
    [[put.removal('hosts/h1')], [/^host -: no host is registered/, /^host h1: not registered/]],
    [[put.hostPut('h2', { since: at('12:01:00') })], [/^clock h2: .* at least 60 s ahead/]],
    [[put.eventPut('h1', at('12:00:30'))], [/^clock h1: .* 30 s ahead/]],
    [[put.raw('volumes/odd', '{')], [/^record volumes\/odd: this version cannot read it: it holds no JSON/]],
    [
      [put.containerPut('h1', 'web-1', { state: 'exited' })],
      [/^service web on h1: points to container web-1, /],
    ],
    [[put.removal('alive/h1')], [/^volume data: the plugin of h1, where it is, does not run/]],
    [[put.removal('targets/h1/data')], [/^volume data: it has no target/]],
    [
      [put.removal('attachments/data')],
      [/^volume data: a running container uses it, but it is attached to no host/],
    ],
    [[put.attachmentPut('gone', 'h1')], [/^volume gone: attached to h1, but there is no such volume/]],
    [[put.targetPut('gone', 'h1')], [/^volume gone: h1 serves it, but there is no such volume/]],
    [
      [put.vsmPut('data', 'h1', { health: 'unhealthy', reason: 'tgtd hangs' })],
      [/^VSM data on h1: unhealthy: tgtd hangs -> docker logs vsm-data/],
    ],
    [
      [put.hostPut('h1', { authorization: ['openebs'] }), put.pluginPut('h1', 'openebs:latest', false)],
      [/^guard openebs on h1: .* it is disabled: .* -> docker plugin enable openebs, then systemctl reload/],
    ],
    [[put.hostPut('h1', { authorization: ['openebs'] }), put.pluginPut('h1', 'openebs:latest', true)], []],
    [[put.hostPut('h1', { left: true })], []],
    [[put.vsmPut('data', 'h1', { health: 'unknown', reason: 'CHAP' })], []],
    [[put.containerPut('h1', 'web-1', { state: 'paused' }), put.removal('attachments/data')], []],
    [[put.volumePut('data', 'h1', { wanted: 'absent' }), put.removal('targets/h1/data')], []],
    [
      [
        put.servicePut('app', 'h1', { containerId: put.idOf('task') }),
        put.raw(
          `inventory/h1/task/t1`,
          JSON.stringify({
            kind: 'task',
            host: 'h1',
            id: 't1',
            name: 'app.1',
            service: 'app',
            node: 'n',
            state: 'running',
            wanted: 'running',
            containerId: put.idOf('task'),
          }),
        ),
      ],
      [],
    ],
  ] as const) {
    const wrong = await wrongWith(...changes)
    t.match(wrong, found, JSON.stringify(found.map(String)))
    t.equal(wrong.length, found.length, wrong.join('\n'))
  }
})

t.test('the doctor', async (t) => {
  const examine = async (store: MemoryStore, json = false) => {
    const record = recorder()
    const well = await doctor(store, [], { json, listen: '127.0.0.1:1' }, record.output)
    return { well, ...record }
  }
  const sick = await filled(...healthy, put.servicePut('gone'))
  const { well, printed } = await examine(sick)
  t.notOk(well)
  t.match(printed.join('\n'), /^ok +store memory of this process: answers in \d+ ms\nok +writes leases/)
  t.match(
    printed.join('\n'),
    /wrong +sidecar 127\.0\.0\.1:1: does not answer: .*ECONNREFUSED.*\n +-> start it/,
  )
  t.match(printed.join('\n'), /wrong +service gone on h1: .*\n +-> look at/)
  t.match(printed.at(-1), /^\d things are wrong$/)
  t.match((await examine(sick, true)).parsed(), {
    healthy: false,
    findings: [{ check: 'store', state: 'ok' }],
  })

  let reads = 0
  const settling = new MemoryStore({
    before: (call) => {
      if (call === 'read') reads += 1
    },
  })
  for (const change of healthy) await settling.apply([change])
  await settling.apply([put.servicePut('late')])
  const examined = examine(settling)
  await until(() => reads > 10 || undefined, { ms: 2000, every: 5 })
  await settling.apply([put.containerPut('h1', 'late-1')])
  t.notMatch(
    (await examined).printed.join('\n'),
    /service late/,
    'what is right at a second look is not told',
  )

  const away = new MemoryStore({
    before: () => {
      throw new Failure('unavailable', 'etcd does not answer')
    },
  })
  const gone = await examine(away)
  t.notOk(gone.well)
  t.match(gone.printed[0], /wrong +store memory of this process: etcd does not answer/)
})

t.test('settings of the command line', async (t) => {
  const program = new Command()
  addSettings(program)
  program.parse(['--store', 'etcd://flag', '--store-password-file', '/pw'], { from: 'user' })
  const variables = {
    OPENEBS_STORE: 'etcd://variable',
    OPENEBS_STORE_USER: 'me',
    OPENEBS_TTL: 'of the sidecar',
  }
  t.match(readStoreSettings(program.opts(), variables), {
    OPENEBS_STORE: 'etcd://flag',
    OPENEBS_STORE_USER: 'me',
    OPENEBS_STORE_PASSWORD_FILE: '/pw',
  })
  t.throws(() => readStoreSettings({ store: 'http://x' }, {}), {
    message: /^--store: expected etcd:.*"http:\/\/x"/,
  })
  t.throws(() => readStoreSettings({}, { OPENEBS_STORE: 'x' }), { message: /^OPENEBS_STORE: expected etcd:/ })
  try {
    readStoreSettings({ store: 'etcd://me:geheim@h' }, {})
    t.fail('a password in an address is refused')
  } catch (error) {
    t.match(error, { kind: 'invalid' })
    t.notMatch(String(error), /geheim/, 'and not repeated')
  }
})

t.test("the sidecar's help tells each setting as flag and as variable", async (t) => {
  const help = describeSettings(sidecarSettings)
  for (const [name, field] of Object.entries(sidecarSettings)) {
    t.ok(help.includes(`, ${name}\n`), name)
    t.ok(field.description, `${name} is described`)
  }
  t.match(help, / {2}--on-exit, OPENEBS_ON_EXIT\n {6}What [\s\S]*? Default: withdraw\n/)
  t.match(help, /--docker-host, DOCKER_HOST/)
  t.ok(
    help.split('\n').every((line) => line.length <= 100),
    'in lines that fit',
  )
})

t.test('words for people', async (t) => {
  t.strictSame([0, 1023, 1024, 1.5 * 2 ** 30, 2 ** 60].map(size), [
    '0 B',
    '1023 B',
    '1 KiB',
    '1.5 GiB',
    '1024 PiB',
  ])
  t.strictSame(
    [5, 65, 7200, 200_000].map((seconds) => age(new Date(now - seconds * 1000).toISOString(), now)),
    ['5 s', '1 min', '2 h', '2 d'],
  )
  t.equal(age(at('12:00:09'), now), '0 s', 'a clock that is ahead')
  t.equal(time('2026-01-01T02:00:00+01:00'), '2026-01-01 01:00:00', 'UTC')
  t.equal(since('90s', now), now - 90_000)
  t.equal(since('2026-01-01', now), Date.parse('2026-01-01'))
  for (const wrong of ['10', '5w', '-1h', 'x', '2026-99-99'])
    t.throws(() => since(wrong), { kind: 'invalid', message: /--since/ })
})
