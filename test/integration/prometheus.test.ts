import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { openEtcd } from '../../registry/stores/etcd.ts'
import { startEtcd } from '../support/etcd.ts'
import { removal, servicePut } from '../support/records.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'

/** A real etcd, and the sidecar as its users start it; it needs no engine to tell of the other hosts. */
const etcd = await startEtcd(t)
const store = await openEtcd({ uri: etcd.uri })
t.teardown(() => store.close())
const folder = await mkdtemp(join(tmpdir(), 'targets-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const path = join(folder, 'openebs.json')

await store.apply([servicePut('web', 'h2')])
const sidecar = await SidecarProcess.start(t, {
  OPENEBS_STORE: etcd.uri,
  OPENEBS_HOST: 'h1',
  OPENEBS_ADDRESS: '198.51.100.7',
  OPENEBS_PROMETHEUS_FILE: path,
  DOCKER_HOST: 'unix:///nonexistent/docker.sock',
})

type Groups = { targets: string[]; labels: Record<string, string> }[]
const services = (text: string) =>
  (JSON.parse(text) as Groups).map(({ labels }) => labels.__meta_openebs_service)
const holds = (wanted: readonly string[], ms = 10_000) =>
  until(
    async () => {
      const text = await readFile(path, 'utf8').catch(() => '[]')
      return services(text).join() === wanted.join() ? true : undefined
    },
    { ms, every: 20 },
  )

t.test('the file appears, and is the answer by HTTP', async (t) => {
  t.ok(await holds(['web'], 30_000), sidecar.log)
  t.equal(await sidecar.get('/v1/prometheus/targets'), await readFile(path, 'utf8'))
  const ready = JSON.parse(await sidecar.get('/readyz')) as { warnings: string[] }
  t.strictSame(ready.warnings, [])
})

t.test('it follows the registry', async (t) => {
  await store.apply([servicePut('api', 'h3'), servicePut('web', 'h2', { port: 4711 })])
  t.ok(await holds(['api', 'web']))
  t.match(await readFile(path, 'utf8'), /:4711"/)
  const { entries } = await store.read('services/api/')
  await store.apply(entries.map(({ key }) => removal(key)))
  t.ok(await holds(['web']))
})

t.test('a reader never sees half of it', async (t) => {
  const end = new AbortController()
  let reads = 0
  const seen = new Set<string>()
  const reading = (async () => {
    while (!end.signal.aborted) {
      const text = await readFile(path, 'utf8')
      services(text)
      seen.add(text)
      reads += 1
      await pause(1)
    }
  })()
  for (let n = 0; n < 300; n++)
    await store.apply([servicePut(`s${n}`, 'h4', { attributes: { x: 'y'.repeat(2000) } })])
  t.ok(
    await until(async () => ((await readFile(path, 'utf8')).includes('"s299"') ? true : undefined), {
      ms: 10_000,
    }),
  )
  end.abort()
  await t.resolves(reading, 'each reading was JSON')
  t.ok(reads > 100 && seen.size > 1, `${reads} readings, ${seen.size} different`)
  t.strictSame(await readdir(folder), ['openebs.json'])
  const { entries } = await store.read('services/s')
  for (let at = 0; at < entries.length; at += 100)
    await store.apply(entries.slice(at, at + 100).map(({ key }) => removal(key)))
  t.ok(await holds(['web']))
})

t.test('it stays while etcd is down, and goes on after', async (t) => {
  await etcd.member.kill()
  const before = await readFile(path, 'utf8')
  await pause(3000)
  t.equal(await readFile(path, 'utf8'), before)
  t.equal((await fetch(`${sidecar.url}/v1/prometheus/targets`)).status, 503)
  await etcd.member.start()
  await store.apply([servicePut('after', 'h2')])
  t.ok(await holds(['after', 'web'], 15_000), sidecar.log)
})

t.test('without its folder the sidecar goes on, and says so', async (t) => {
  await rm(folder, { recursive: true })
  await store.apply([servicePut('more', 'h2')])
  const warnings = async () => (JSON.parse(await sidecar.get('/readyz')) as { warnings: string[] }).warnings
  t.ok(await until(async () => ((await warnings()).length > 0 ? true : undefined), { ms: 10_000 }))
  t.match(await warnings(), [/openebs\.json cannot be written for Prometheus/])
  t.match(sidecar.log, /the file for Prometheus is not kept/)
  t.match(await sidecar.get('/v1/prometheus/targets'), /"more"/)
})

t.test('it ends as it should', async (t) => {
  t.equal(await sidecar.end('SIGTERM'), 0)
})
