import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { Failure } from '../../process/failure.ts'
import { listen } from '../../process/listener.ts'
import { readSettings } from '../../process/settings.ts'
import type { Service } from '../../registry/records.ts'
import type { Store } from '../../registry/store.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { targetGroups, targetsText } from '../../registry/views/prometheus.ts'
import { createApp } from '../../sidecar/http/app.ts'
import { PrometheusFile } from '../../sidecar/prometheus-file.ts'
import { settings } from '../../sidecar/settings.ts'
import { raw, removal, servicePut, webInstance } from '../support/records.ts'

const service = (more: Partial<Service> = {}): Service => webInstance({ address: '10.0.0.1', ...more })

t.test('an instance is a group of one target, with what is known of it as labels', async (t) => {
  const attributes = { 'metrics-path': '/m', metrics_path: '/n', 'ä.b': 'x' }
  t.strictSame(targetGroups([service({ tags: ['a', 'b'], attributes, network: 'n1', health: 'healthy' })]), [
    {
      targets: ['10.0.0.1:32768'],
      labels: {
        __meta_openebs_service: 'web',
        __meta_openebs_host: 'h1',
        __meta_openebs_container: 'c1',
        __meta_openebs_container_id: 'a'.repeat(64),
        __meta_openebs_exposed_port: '80',
        __meta_openebs_protocol: 'tcp',
        __meta_openebs_health: 'healthy',
        __meta_openebs_state: 'running',
        __meta_openebs_network: 'n1',
        __meta_openebs_tags: ',a,b,',
        __meta_openebs_attribute_metrics_path: '/m',
        __meta_openebs_attribute___b: 'x',
      },
    },
  ])
  t.match(targetGroups([service({ address: 'fd00::1' })]), [{ targets: ['[fd00::1]:32768'] }])
  t.match(targetGroups([service({ address: 'web.example.com' })]), [{ targets: ['web.example.com:32768'] }])
  t.match(targetGroups([service()])[0]?.labels, { __meta_openebs_tags: '' }, 'no tags, no commas')
})

t.test('the order is that of the instances, and filters take some', async (t) => {
  const all = [
    service({ service: 'web', host: 'h2' }),
    service({ service: 'web', host: 'h1', container: 'c2' }),
    service({ service: 'web', host: 'h1', container: 'c1', exposedPort: 9000, tags: ['x'] }),
    service({ service: 'web', host: 'h1', container: 'c1', exposedPort: 80 }),
    service({ service: 'api', host: 'h9', tags: ['x', 'y'] }),
  ]
  const names = (groups: ReturnType<typeof targetGroups>) =>
    groups.map(({ labels }) =>
      ['service', 'host', 'container', 'exposed_port'].map((name) => labels[`__meta_openebs_${name}`]).join(),
    )
  const sorted = ['api,h9,c1,80', 'web,h1,c1,80', 'web,h1,c1,9000', 'web,h1,c2,80', 'web,h2,c1,80']
  t.strictSame(names(targetGroups(all)), sorted)
  t.strictSame(names(targetGroups(all.toReversed())), sorted)
  t.strictSame(names(targetGroups(all, { service: 'api' })), ['api,h9,c1,80'])
  t.strictSame(names(targetGroups(all, { host: 'h2' })), ['web,h2,c1,80'])
  t.strictSame(names(targetGroups(all, { tag: 'x' })), ['api,h9,c1,80', 'web,h1,c1,9000'])
  t.strictSame(names(targetGroups(all, { tag: 'x', service: 'web' })), ['web,h1,c1,9000'])
  t.strictSame(targetGroups(all, { tag: '' }), [], 'an empty tag is nobody’s')
})

t.test('whatever stands in the records, Prometheus can read the list', async () => {
  const text = fc.string({ unit: 'binary', maxLength: 12 })
  const records = fc.array(
    fc.record({
      service: text,
      host: text,
      container: text,
      address: fc.oneof(text, fc.constantFrom('10.0.0.1', 'fd00::1', 'a/b', 'http://x', '')),
      port: fc.integer({ min: 1, max: 65535 }),
      tags: fc.array(text, { maxLength: 3 }),
      attributes: fc.dictionary(text, text, { maxKeys: 4 }),
    }),
    { maxLength: 6 },
  )
  fc.assert(
    fc.property(records, (parts) => {
      const services = parts.map(service)
      const groups = JSON.parse(targetsText(targetGroups(services))) as ReturnType<typeof targetGroups>
      for (const { targets, labels } of groups) {
        // a host with a port, and no path: else Prometheus refuses the target
        assert.match(targets[0], /^(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9_.-]+):\d{1,5}$/)
        for (const [name, value] of Object.entries(labels)) {
          assert.match(name, /^[a-zA-Z_][a-zA-Z0-9_]*$/)
          assert.ok(value.isWellFormed())
        }
      }
      assert.equal(targetsText(targetGroups(services.toReversed())), targetsText(targetGroups(services)))
    }),
  )
})

const serve = async (t: Test, store: () => Store | undefined) => {
  const stop = new AbortController()
  const parts = { missing: async () => [], warnings: () => [], metrics: new Registry() }
  const server = await listen(createApp({ ...parts, store, stop: stop.signal }), {
    host: '127.0.0.1',
    port: 0,
  })
  t.teardown(() => server[Symbol.asyncDispose]())
  return (query = '') =>
    fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/prometheus/targets${query}`)
}

t.test('by HTTP', async (t) => {
  const store = new MemoryStore()
  await store.apply([
    servicePut('web', 'h1', { tags: ['prod'] }),
    servicePut('web', 'h2'),
    servicePut('odd', 'h2', { address: 'http://x/' }),
    raw('services/web/h1:broken:1', 'oops'),
    raw('services/web/h1:later:1', '{"service":"web"}'),
  ])
  const get = await serve(t, () => store)
  const answer = await get()
  t.equal(answer.status, 200)
  // what Prometheus' discovery/http takes for JSON
  t.match(answer.headers.get('content-type'), /^application\/json(;\s*charset=("utf-8"|utf-8))?$/i)
  const hosts = async (query: string) =>
    ((await (await get(query)).json()) as { labels: Record<string, string> }[]).map(
      ({ labels }) => labels.__meta_openebs_host,
    )
  t.strictSame(await hosts(''), ['h1', 'h2'], 'bad records are left out')
  t.strictSame(await hosts('?host=h2'), ['h2'])
  t.strictSame(await hosts('?service=web&tag=prod'), ['h1'])
  t.equal(await (await get('?service=none')).text(), '[]', 'an empty list is one as well')
  t.equal((await get('?hots=h1')).status, 400)
  t.equal((await get('?host=a&host=b')).status, 400)
  const early = await serve(t, () => undefined)
  t.equal((await early()).status, 503, 'Prometheus goes on with what it has')
})

/** A file that is kept from a store in memory until the test ends. */
const keep = async (t: Test, store: () => Store | undefined, below = '') => {
  const folder = await mkdtemp(join(tmpdir(), 'targets-'))
  const path = join(folder, below, 'targets.json')
  const lines: string[] = []
  const log = {
    info: (_: unknown, text: string) => lines.push(`info ${text}`),
    warn: (_: unknown, text: string) => lines.push(`warn ${text}`),
  }
  const stop = new AbortController()
  const file = new PrometheusFile(path, log as never)
  const running = file.run(store, stop.signal)
  t.teardown(async () => {
    stop.abort()
    await running
    await rm(folder, { recursive: true })
  })
  const has = (text: string) =>
    until(async () => ((await readFile(path, 'utf8').catch(() => '')).includes(text) ? true : undefined), {
      ms: 8000,
      every: 20,
    })
  return { file, folder, path, lines, has }
}

t.test('a file: written when it changes, and not more than once a second', async (t) => {
  const store = new MemoryStore()
  let open: Store | undefined
  const { path, file, folder, has, lines } = await keep(t, () => open)
  await pause(300)
  t.strictSame(await readdir(folder), [], 'nothing is written of what is not known')
  await store.apply([servicePut('web')])
  open = store
  t.ok(await has('"web"'))
  const all = async () =>
    (await store.read('services/')).entries.map(({ value }) => JSON.parse(value) as Service)
  t.equal(await readFile(path, 'utf8'), targetsText(targetGroups(await all())), 'equal to the answer by HTTP')
  t.equal((await stat(path)).mode & 0o777, 0o644, 'any user may read it')
  // by their time: the number of a file that is gone is soon another's
  const written = new Set<number>()
  const end = performance.now() + 2500
  for (let n = 0; performance.now() < end; n++) {
    await store.apply([servicePut(`s${n}`, 'h2')])
    written.add((await stat(path)).mtimeMs)
    await pause(5)
  }
  t.ok(written.size >= 2 && written.size <= 5, `hundreds of changes, ${written.size} files`)
  await store.apply([servicePut('last'), raw('services/x/h1:broken:1', 'oops')])
  t.ok(await has('"last"'))
  const before = await stat(path)
  await store.apply([servicePut('last', 'h1', { endpoints: [{ address: '10.0.0.1', port: 1 }] })])
  await pause(1500)
  t.equal((await stat(path)).mtimeMs, before.mtimeMs, 'a change that Prometheus does not see writes nothing')
  const { entries } = await store.read('services/web/')
  await store.apply(entries.map(({ key }) => removal(key)))
  const gone = async () => ((await readFile(path, 'utf8')).includes('"web"') ? undefined : true)
  t.ok(await until(gone, { ms: 8000, every: 20 }), 'what is withdrawn is taken out')
  t.strictSame(file.warnings, [])
  t.strictSame(lines, [])
  t.strictSame(await readdir(folder), ['targets.json'], 'nothing else is left there')
})

t.test('a folder that is missing is a warning until it is there', async (t) => {
  const store = new MemoryStore()
  await store.apply([servicePut('web')])
  const { path, file, lines, folder, has } = await keep(t, () => store, 'below')
  t.ok(await until(() => (file.warnings.length > 0 ? true : undefined), { ms: 5000 }))
  t.match(file.warnings, [/targets\.json cannot be written for Prometheus: .*ENOENT/])
  await mkdir(join(folder, 'below'))
  t.ok(await has('"web"'), 'tried again')
  t.strictSame(file.warnings, [])
  t.match(lines, [/^warn /, /^info /], 'a line for each')
  await rm(join(folder, 'below'), { recursive: true })
  await writeFile(join(folder, 'below'), '')
  await store.apply([servicePut('other')])
  t.ok(
    await until(() => (file.warnings.length > 0 ? true : undefined), { ms: 5000 }),
    'nor is a file a folder',
  )
  t.match(file.warnings, [new RegExp(path)])
})

t.test('a store that does not permit it is a warning', async (t) => {
  const store = new MemoryStore({
    before: () => {
      throw new Failure('denied', 'etcd does not permit this')
    },
  })
  const { file } = await keep(t, () => store)
  t.ok(await until(() => (file.warnings.length > 0 ? true : undefined), { ms: 5000 }))
  t.match(file.warnings, [/cannot be read: etcd does not permit this/])
})

t.test('the setting is a path of a JSON file', async (t) => {
  const read = (OPENEBS_PROMETHEUS_FILE: string) =>
    readSettings(settings, { OPENEBS_STORE: 'etcd://127.0.0.1:2379', OPENEBS_PROMETHEUS_FILE })
  t.equal(read('/run/targets/openebs.json').OPENEBS_PROMETHEUS_FILE, '/run/targets/openebs.json')
  for (const wrong of ['targets.json', '/run/targets/', '/run/targets.txt', '/run/.json/'])
    t.throws(() => read(wrong), { message: /OPENEBS_PROMETHEUS_FILE: expected an absolute path/ }, wrong)
})
