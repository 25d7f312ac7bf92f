import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { showRows } from '../../bench/support/rows.ts'
import { median, quantile } from '../../bench/support/statistics.ts'
import { objectsWith, SyntheticEngine } from '../../bench/support/synthetic-engine.ts'
import { connectDocker } from '../../docker/client.ts'
import { agrees, type ListedContainer } from '../../docker/inspect.ts'
import * as queries from '../../docker/queries.ts'
import { watchEngine } from '../../docker/watch.ts'
import { until } from '../../process/backoff.ts'

/** What a bench measures is worth nothing if its engine answers otherwise than a real one. */
const start = async (t: Test) => {
  const folder = await mkdtemp(join(tmpdir(), 'synth-'))
  const socket = join(folder, 'docker.sock')
  const engine = new SyntheticEngine()
  await engine.listen(socket)
  t.teardown(async () => {
    await engine.close()
    await rm(folder, { recursive: true, force: true })
  })
  return { engine, docker: connectDocker({ kind: 'unix', socket }) }
}

t.test('its answers are read as those of an Engine, and fit together', async (t) => {
  const { engine, docker } = await start(t)
  engine.fill(25)
  const listed: ListedContainer[] = []
  await queries.listContainers(docker, (text) => listed.push(queries.readListed(text)))
  t.equal(listed.length, 25)
  const containers = await Promise.all(listed.map(({ Id }) => queries.inspectContainer(docker, Id)))
  t.ok(
    containers.every((container, index) => {
      const its = listed[index]
      return its && agrees(container, its)
    }),
    'a list and an inspection of the same container agree',
  )
  for (const what of ['id', 'name'] as const)
    t.equal(new Set(containers.map((container) => container[what])).size, 25, `each has its own ${what}`)
  t.equal(new Set(containers.flatMap(({ bindings }) => bindings.map((at) => at.hostPort))).size, 25)
  t.equal(new Set(containers.flatMap(({ networks }) => networks.map((at) => at.ipv4))).size, 25)
  const volumes = await queries.listVolumes(docker)
  t.ok(
    containers.every((container) => volumes.some(({ name }) => container.volumes.includes(name))),
    'its volumes are there',
  )
  const images = await queries.listImages(docker)
  const networks = await queries.listNetworks(docker)
  t.equal(objectsWith(25), 25 + images.length + networks.length + volumes.length)
})

t.test('a burst is announced in full, and the state is there before its event', async (t) => {
  const { engine, docker } = await start(t)
  const stop = new AbortController()
  const states: string[] = []
  const started: string[] = []
  const watching = watchEngine(
    docker,
    {
      event: ({ type, action, id }) => {
        if (type !== 'container' || action !== 'start') return
        started.push(id)
        void queries.inspectContainer(docker, id).then(({ state }) => states.push(state))
      },
      resync: () => {},
      state: () => {},
    },
    stop.signal,
  )
  t.ok(await until(async () => (engine.subscribers > 0 ? true : undefined), { ms: 5000 }))
  const { names } = await engine.run(400)
  t.equal(new Set(names).size, 400)
  t.ok(await until(() => (states.length === 400 ? true : undefined), { ms: 10_000 }), 'all were announced')
  t.strictSame([...new Set(states)], ['running'])
  t.equal(engine.counts().dropped, 0)
  stop.abort()
  await watching
})

t.test('the figures of a table', async (t) => {
  t.equal(median([4, 1, 3]), 3)
  t.equal(median([4, 1, 3, 2]), 2.5)
  t.equal(quantile([5, 1, 4, 2, 3], 0.5), 3)
  t.equal(
    quantile(
      Array.from({ length: 200 }, (_, index) => index + 1),
      0.99,
    ),
    198,
  )
  t.throws(() => quantile([], 0.5), /nothing/)
  const rows = showRows([
    { row: 'a', measured: '1 s', must: '2 s', holds: true },
    { row: 'b', measured: '3 s', must: '2 s', holds: false, peer: '9 s' },
  ])
  t.match(rows, /\| a +\| 1 s +\| 2 s +\| ok +\| +\|/)
  t.match(rows, /\| b +\| 3 s +\| 2 s +\| ✗ +\| 9 s +\|/)
})
