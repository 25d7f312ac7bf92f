import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { type Line, runDoctor, summed } from '../support/doctor.ts'
import { PluginHost } from '../support/plugin-host.ts'

/** etcd is away, or comes back with nothing: what is mounted goes on, and no name is claimed that may be another's. */
const host = await PluginHost.start(t)
const { docker, tryDocker } = host.engine
const doctor = (...args: string[]) => runDoctor(host.etcd.uri, ...args)
const command = ['volume', 'create', '-d', 'openebs', '-o', 'size=16M']
const create = (name: string) => tryDocker(...command, name)
const make = (name: string) => docker(...command, name)

const bySubject = (a: Line, b: Line): number => (a.subject < b.subject ? -1 : 1)

/** Writes and syncs a line every tenth of a second, and ends at the first error. */
const writer = 'echo began; while :; do date >>/d/log; sync /d/log; echo line; sleep 0.1; done'
const lines = async () => (await docker('logs', 'writer')).split('\n')
const hasNoticedNothing = async (t: Test) => {
  const written = (await lines()).length
  await host.until('the writer writes on', async () => (await lines()).length > written + 3)
  t.equal((await lines()).filter((line) => line === 'began').length, 1, 'the writer has noticed nothing')
}

await make('kept')
await make('known')
await make('taken')
await host.shell(['known:/d'], 'echo before >/d/f; sync /d/f')
await host.service('writer', 'kept:/d', writer)
await host.until('all is registered', async () => (await host.keys('targets/')).length === 3)
await host.until('the plugin knows its registry', async () => (await host.keys('origin')).length === 1)

t.test('etcd away for a minute, longer than a lease lasts', async (t) => {
  // a line takes a tenth of a second at least
  const wanted = (await lines()).length + 600
  host.etcd.member.pause()
  const refused = await create('unlucky')
  t.match(refused, { code: 1, stderr: /volume unlucky is not made.*etcd at [\d.:]+ does not answer/ })
  t.equal(await host.shell(['known:/d'], 'cat /d/f'), 'before', 'a known volume is mounted')
  await host.until('the writer has written for so long', async () => (await lines()).length > wanted, 180_000)
  host.etcd.member.resume()
  await hasNoticedNothing(t)
  await host.until('volumes can be made again', async () => (await create('lucky')).code === 0)
})

t.test('etcd comes back with nothing', async (t) => {
  await host.etcd.member.wipe()
  await host.etcd.member.start()
  await host.until('the plugin is registered', async () => (await host.keys('alive/')).length === 1, 60_000)
  const refused = await create('fresh')
  t.match(refused, {
    code: 1,
    stderr: /is not the registry that this host's volumes are in: it was wiped.*registrator doctor --adopt/s,
  })
  t.strictSame(await host.keys('volumes/'), [], 'nothing was claimed')
  t.equal(await host.shell(['known:/d'], 'cat /d/f'), 'before', 'a known volume is mounted')
  t.equal(await host.shell(['lucky:/d'], 'echo 1 >/d/f; cat /d/f'), '1', 'also one that never was')
  await hasNoticedNothing(t)

  // another host has claimed a name meanwhile
  const claim = {
    ...{ name: 'taken', uuid: randomUUID(), spec: { size: 16_777_216, fs: 'ext4' } },
    ...{ placement: { host: 'h2' }, wanted: 'present', created: new Date().toISOString() },
  }
  await host.etcdctl('put', '/openebs/v1/volumes/taken', JSON.stringify(claim))
  const lacking = (name: string) => ({
    subject: `${name} on h1`,
    text: 'the registry has no record of it; it is served on',
    todo: /^--adopt: write its records/,
  })
  const claimed = { subject: 'taken on h1', state: 'wrong', text: /another volume of this name, on host h2/ }
  for (const args of [[], ['--fix']]) {
    const seen = await doctor(...args)
    t.equal(seen.code, 1)
    t.match(
      seen.found.filter(({ check }) => check === 'registry'),
      [{ subject: 'of h1', state: 'wrong', text: /wiped, replaced or restored/, todo: /^--adopt: use it/ }],
    )
    const volumes = seen.found.filter(({ subject }) => subject.endsWith(' on h1'))
    t.match(volumes.sort(bySubject), [lacking('kept'), lacking('known'), lacking('lucky'), claimed])
    t.match(await create('fresh'), { code: 1 }, 'nothing is adopted by that')
  }

  const adopted = await doctor('--adopt')
  t.match(summed(adopted.found.filter(({ state }) => state === 'mended')), [
    /registry of h1/,
    /volume kept on h1/,
    /volume known on h1/,
    /volume lucky on h1/,
  ])
  t.match(
    adopted.found.filter(({ state, subject }) => state === 'wrong' && subject.endsWith(' on h1')),
    [claimed],
  )
  t.equal(
    JSON.parse(await host.etcdctl('get', '--print-value-only', '/openebs/v1/volumes/taken')).uuid,
    claim.uuid,
  )
  for (const name of ['kept', 'known', 'lucky'])
    for (const key of [`volumes/${name}`, `targets/h1/${name}`, `attachments/${name}`, `secrets/${name}`])
      t.strictSame(await host.keys(key), [key])
  t.equal((await create('fresh')).code, 0, 'volumes are made again')
  await hasNoticedNothing(t)

  t.comment('the other host gives the name up')
  await host.etcdctl('del', '/openebs/v1/volumes/taken')
  t.match(
    (await doctor('--adopt')).found.filter(({ state }) => state === 'mended'),
    [{ subject: 'taken on h1' }],
  )
  t.strictSame(
    (await docker('volume', 'ls', '-q', '-f', 'driver=openebs:latest')).trim().split('\n').sort(),
    ['fresh', 'kept', 'known', 'lucky', 'taken'],
  )
  for (const name of ['kept', 'known', 'lucky', 'taken', 'fresh'])
    t.equal(
      (await docker('volume', 'inspect', '-f', '{{.Status.phase}} {{.Options.size}}', name)).trim(),
      'ready 16M',
    )
  t.strictSame(
    (await doctor()).found.filter(({ subject }) => subject.endsWith(' on h1') || subject === 'of h1'),
    [],
  )
  await docker('rm', '-f', 'writer')
  await docker('volume', 'rm', 'fresh', 'kept', 'known', 'lucky', 'taken')
  t.strictSame(await host.traces(), [], 'nothing is left of it')
})
