import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runDoctor, summed } from '../support/doctor.ts'
import { PluginHost, vsmImage } from '../support/plugin-host.ts'

/** What is left or lacks of volumes on a real host, made by hand; `registrator doctor` names it, and mends what it may. */
const host = await PluginHost.start(t)
await host.startSidecar()
const { docker, tryDocker } = host.engine
await host.until('the host is registered', async () => (await host.keys('hosts/')).length === 1)
const before = await host.traces()
const doctor = (...args: string[]) => runDoctor(host.etcd.uri, ...args)
const create = (name: string) => docker('volume', 'create', '-d', 'openebs', '-o', 'size=16M', name)
const uuid = '0b0c5d2e-7a55-4f3c-9a0e-0d5b7f0c8e11'

const scenario = (name: string, run: (t: Test) => Promise<void>) =>
  t.test(name, async (t) => {
    t.teardown(async () => {
      for (const folder of await readdir(host.root).catch(() => []))
        if (folder.startsWith('stray')) await rm(join(host.root, folder), { recursive: true, force: true })
      await tryDocker('rm', '-f', 'vsm-ghost', 'initiator-ghost', 'vsm-plain', 'lookalike')
      await host.tidy()
    })
    await run(t)
  })

/** A container that does nothing, with labels. */
const fake = (name: string, labels: Record<string, string>) =>
  docker(
    ...['run', '-d', '--name', name, '--network', 'none'],
    ...Object.entries(labels).flatMap(([label, value]) => ['--label', `${label}=${value}`]),
    ...[vsmImage, 'sleep', '10000'],
  )
const names = async () => (await docker('ps', '-a', '--format', '{{.Names}}')).trim().split('\n')
const running = async (name: string) =>
  (await docker('ps', '--format', '{{.Names}}')).split('\n').includes(name)
const loopOf = async (volume: string): Promise<string | undefined> =>
  (await host.engine.exec('cat', '/proc/self/mountinfo'))
    .split('\n')
    .find((line) => line.includes(`/propagated-mount/mounts/${volume} `))
    ?.match(/\/dev\/(loop\d+)/)?.[1]
scenario('where all is well nothing is found, with and without --fix', async (t) => {
  await create('well')
  await host.service('user', 'well:/d', 'while :; do sleep 1; done')
  for (const args of [['--fix', '--grace', '0s'], ['--adopt']])
    t.strictSame(summed((await doctor(...args)).found), [], args.join(' '))
})

scenario('containers that nobody has a record of go; whatever else looks like ours stays', async (t) => {
  await create('living')
  const living = JSON.parse(
    await host.etcdctl('get', '--print-value-only', '/openebs/v1/volumes/living'),
  ).uuid
  const labels = (volume: string, role: string, id = uuid) => ({
    'openebs.uuid': id,
    'openebs.volume': volume,
    'openebs.role': role,
  })
  await fake('vsm-ghost', labels('ghost', 'target'))
  await fake('initiator-ghost', labels('ghost', 'initiator'))
  await fake('lookalike', labels('living', 'target', living))
  await fake('vsm-plain', {})

  const young = await doctor('--fix')
  t.match(summed(young.found), [
    /^note container initiator-ghost on h1: .*only \d+ s old, and left alone so far/,
    /^note container vsm-ghost on h1: .*only \d+ s old/,
  ])
  const seen = await doctor('--grace', '0s')
  t.equal(seen.code, 1)
  t.match(seen.found, [
    { subject: 'initiator-ghost on h1', state: 'wrong', todo: /^--fix: stop and remove it/ },
    { subject: 'vsm-ghost on h1', state: 'wrong', text: 'it is of a volume that nobody has a record of' },
  ])
  t.ok((await running('vsm-ghost')) && (await running('initiator-ghost')), 'a look changes nothing')

  const fixed = await doctor('--fix', '--grace', '0s')
  t.match(summed(fixed.found), [/^mended container initiator-ghost/, /^mended container vsm-ghost/])
  const left = await names()
  for (const gone of ['vsm-ghost', 'initiator-ghost']) t.notOk(left.includes(gone), `${gone} is gone`)
  for (const kept of ['lookalike', 'vsm-plain', 'vsm-living'])
    t.ok(await running(kept), `${kept} is left alone`)
  t.strictSame(summed((await doctor('--grace', '0s')).found), [], 'and nothing is found any more')
})

scenario('what a volume lacks is made anew; what a killed initiator left is let go of', async (t) => {
  await create('lacking')
  await create('idle')
  t.equal(await host.shell(['idle:/d'], 'echo 1 >/d/f; sync /d/f; cat /d/f'), '1')
  await host.service('user', 'lacking:/d', 'date >/d/log; sync /d/log; while :; do sleep 1; done')
  const loop = await loopOf('idle')
  t.match(loop, /^loop\d+$/)
  await docker('rm', '-f', 'initiator-idle', 'initiator-lacking')
  // the plugin looks by itself every minute, and may be quicker
  await host.until('the doctor names a target that is gone', async () => {
    await docker('rm', '-f', 'vsm-idle')
    return summed((await doctor()).found).some((line) => line.includes('its target vsm-idle is gone'))
  })
  const seen = await doctor()
  t.equal(seen.code, 1)
  t.match(
    seen.found.filter(({ text }) => !text.includes('vsm-idle')),
    [
      {
        subject: 'lacking on h1',
        text: 'it is in use, and its initiator initiator-lacking is gone',
        todo: /^--fix: mount it anew; containers that have it need a restart then: docker restart user/,
      },
      { check: 'mount', subject: 'idle on h1', todo: /^--fix: unmount it/ },
    ],
  )
  t.equal(await loopOf('idle'), loop, 'a look changes nothing')

  const fixed = await doctor('--fix')
  t.strictSame(
    fixed.found.filter(({ state }) => state !== 'mended'),
    [],
  )
  t.equal(await loopOf('idle'), undefined, 'nothing is mounted for it')
  for (const name of ['vsm-idle', 'initiator-lacking']) t.ok(await running(name), `${name} runs`)
  t.strictSame(summed((await doctor()).found), [], 'and nothing is found any more')
  await docker('restart', '-t', '0', 'user')
  t.match(await host.shell(['lacking:/d'], 'tail -n 1 /d/log'), /\d/, 'what uses it finds its data')
  t.equal(await host.shell(['idle:/d'], 'cat /d/f'), '1')
})

scenario('a folder is data: it is named, with what a person can do, and stays', async (t) => {
  const volumeJson = (id: string, volume: string) =>
    `{"volume":"${volume}","uuid":"${id}","epoch":1,"size":16777216,"fs":"ext4","created":"2026-01-01T00:00:00Z"}`
  const folder = async (name: string, files: Record<string, string>) => {
    await mkdir(join(host.root, name), { recursive: true })
    for (const [file, text] of Object.entries(files)) await writeFile(join(host.root, name, file), text)
  }
  await create('lost')
  const { uuid: lost } = JSON.parse(
    await host.etcdctl('get', '--print-value-only', '/openebs/v1/volumes/lost'),
  )
  await folder('stray', { 'volume.json': volumeJson(uuid, 'stray'), 'data.img': 'precious' })
  await folder('stray-odd', { 'volume.json': '\0\x01garbage', 'data.img': 'precious' })
  await folder('stray-copy', { 'volume.json': volumeJson(lost, 'lost'), 'data.img': 'precious' })
  await folder('stray-foreign', { 'data.img': 'precious' })
  const file = join(host.root, 'lost', 'volume.json')
  const whole = await readFile(file, 'utf8')
  await writeFile(file, 'garbage')

  const expected = [
    { check: 'volume', subject: 'lost on h1', text: /its data are not there/, todo: /bring the folder back/ },
    {
      subject: `${host.root}/stray on h1`,
      text: /data of volume stray \(0b0c5d2e.*\), which nobody has a record of: it is left alone/,
      todo: `copy what you need of it; then: rm -r ${host.root}/stray`,
    },
    {
      subject: `${host.root}/stray-odd on h1`,
      text: /cannot be read/,
      todo: `look into it: ls -la ${host.root}/stray-odd`,
    },
  ]
  t.match((await doctor('--grace', '0s')).found, expected)
  const fixed = await doctor('--fix', '--grace', '0s')
  t.equal(fixed.code, 1, 'it stays wrong until a person has decided')
  t.match(fixed.found, expected)
  t.equal(fixed.found.length, expected.length)
  for (const name of ['stray', 'stray-odd', 'stray-copy', 'stray-foreign'])
    t.equal(await readFile(join(host.root, name, 'data.img'), 'utf8'), 'precious', name)
  t.ok(await stat(join(host.root, 'lost', 'data.img')))
  await writeFile(file, whole)
  t.notMatch(summed((await doctor()).found), [/lost/])
})

scenario('a damaged local record is named; moved away, it is taken from the registry', async (t) => {
  await create('torn')
  t.equal(await host.shell(['torn:/d'], 'echo 1 >/d/f; sync /d/f; cat /d/f'), '1')
  const file = join(await host.state(), 'volumes', 'torn.json')
  const restart = async () => {
    await docker('plugin', 'disable', '-f', 'openebs')
    await docker('plugin', 'enable', 'openebs')
  }
  await writeFile(file, '{"volume":')
  await restart()
  t.match((await doctor('--fix')).found, [
    { check: 'volume', subject: 'torn on h1', state: 'wrong', text: /its local record is damaged/ },
  ])
  t.equal(await readFile(file, 'utf8'), '{"volume":', 'it is left for a person')
  await rm(file)
  await restart()
  await host.until(
    'the volume is ready',
    async () =>
      (await tryDocker('volume', 'inspect', '-f', '{{.Status.phase}}', 'torn')).stdout === 'ready\n',
  )
  t.equal(await host.shell(['torn:/d'], 'cat /d/f'), '1')
  t.strictSame(summed((await doctor()).found), [])
})

scenario('an authorization plugin that is half on is said', async (t) => {
  await host.authorize()
  t.match((await doctor()).found, [{ check: 'guard', state: 'note', text: /^on since a reload/ }])
  await host.restart('TERM')
  t.strictSame(summed((await doctor()).found), [], 'on, and asked')
  await docker('plugin', 'disable', '-f', 'openebs')
  await host.until('it is said that it is disabled', async () =>
    (await doctor('--host', 'none')).found.some(
      ({ check, text, todo }) =>
        check === 'guard' && text.includes('it is disabled') && todo?.startsWith('docker plugin enable'),
    ),
  )
  await docker('plugin', 'enable', 'openebs')
  await host.until('its plugin lives', async () => (await host.keys('alive/')).length === 1)
  t.match((await doctor('--fix')).found, [
    { check: 'guard', state: 'wrong', text: /but does not ask it/, todo: /systemctl reload docker/ },
  ])
})

t.test('hosts whose plugin does not run', async (t) => {
  const seen = await doctor('--host', 'h9')
  t.equal(seen.code, 1)
  t.match(seen.found, [{ check: 'plugin', subject: 'h9', text: /the plugin of host h9 does not run/ }])
})

t.test('nothing is left of it', async (t) => {
  t.strictSame(await host.traces(), before)
})
