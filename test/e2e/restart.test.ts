import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { PluginHost, pluginProgram, sidecarImage } from '../support/plugin-host.ts'
import { callPlugin } from '../support/plugin-socket.ts'

/** What happens to a running container on a volume when something under it ends. Authz is on throughout. */
const host = await PluginHost.start(t, { authz: true })
const { docker } = host.engine
const empty = await host.traces()

/** Counts up on the volume, each number synced before it is said; begins where the last one on disk was. */
const counter = `n=$(cat /d/n 2>/dev/null || echo 0); echo "began at $n"
  while :; do n=$((n + 1)); echo $n >/d/new; sync /d/new; mv /d/new /d/n; sync /d; echo $n; sleep 0.02; done`
await docker('volume', 'create', '-d', 'openebs', '-o', 'size=64M', 'count')
await host.service('counter', 'count:/d', counter)

/** The last number that the container said was on disk. */
const said = async (): Promise<number> => {
  const lines = (await docker('logs', '--tail', '3', 'counter')).trim().split('\n')
  return Number(lines.findLast((line) => /^\d+$/.test(line)) ?? 0)
}
const begins = async (): Promise<number[]> =>
  [...(await docker('logs', 'counter')).matchAll(/began at (\d+)/g)].map((match) => Number(match[1]))
const goesOn = async (): Promise<void> => {
  const from = await said()
  await host.until('the container counts on', async () => (await said()) > from + 5)
}

await goesOn()

for (const how of ['TERM', 'KILL', 'crash'] as const)
  t.test(
    `${{ TERM: 'a clean restart of the daemon', KILL: 'SIGKILL of dockerd', crash: 'death of the host' }[how]}: the container gets its data back by itself`,
    async (t) => {
      const acknowledged = await said()
      const began = (await begins()).length
      await host.restart(how)
      await host.until('the container runs again', async () => (await begins()).length > began)
      const last = (await begins()).at(-1) ?? 0
      t.ok(last >= acknowledged, `it finds ${last}, and had been told that ${acknowledged} was on disk`)
      await goesOn()
      t.match(await docker('volume', 'inspect', '-f', '{{.Status.phase}}', 'count'), /ready/)
    },
  )

t.test('SIGKILL of the plugin: the container does not notice, and calls go on', async (t) => {
  const began = (await begins()).length
  const before = await host.processes(pluginProgram)
  t.not(before.length, 0, 'the plugin runs')
  await host.killPlugin()
  await goesOn()
  t.equal((await begins()).length, began, 'the container was not restarted')
  await host.until('the plugin is back', async () =>
    (await host.processes(pluginProgram)).some((pid) => !before.includes(pid)),
  )
  await host.until(
    'and serves',
    async () =>
      (await host.engine.tryDocker('volume', 'create', '-d', 'openebs', '-o', 'size=16M', 'next')).code === 0,
  )
  await docker('volume', 'rm', 'next')
})

t.test('SIGKILL of the plugin in the middle of a create: the volume is finished, or not there', async (t) => {
  for (const ms of [50, 150, 300]) {
    const name = `cut-${ms}`
    await host.settledPlugin()
    const creating = host.engine.tryDocker('volume', 'create', '-d', 'openebs', '-o', 'size=16M', name)
    await setTimeout(ms)
    await host.engine.exec('kill', '-KILL', ...(await host.processes(pluginProgram)))
    t.comment(`killed after ${ms} ms: create ended with ${(await creating).code}`)
    await host.until(
      'the Engine reaches the plugin again',
      async () => (await host.engine.tryDocker('volume', 'ls')).code === 0,
      90_000,
    )
    const volumes = async () => (await docker('volume', 'ls', '-q')).split('\n').includes(name)
    const targets = async () => (await host.keys('targets/')).includes(`targets/h1/${name}`)
    const records = async () => (await host.keys('volumes/')).includes(`volumes/${name}`)
    await host.until('it is whole or gone', async () => {
      const found = [await volumes(), await targets(), await records()]
      return found.every((there) => there === found[0])
    })
    await docker('volume', 'create', '-d', 'openebs', '-o', 'size=16M', name)
    t.equal(
      await host.shell([`${name}:/d`], 'echo it works >/d/f; cat /d/f'),
      'it works',
      'a repeated create gives a volume that works',
    )
    await docker('volume', 'rm', name)
  }
})

for (const fs of ['ext4', 'xfs'])
  t.test(
    `death of the initiator under writes, ${fs}: the next container has all that was on disk`,
    async (t) => {
      const name = `torn-${fs}`
      await docker('volume', 'create', '-d', 'openebs', '-o', 'size=320M', '-o', `fs=${fs}`, name)
      // says when the disk is gone, and goes on writing to it: XFS then shuts down
      const writer = `echo kept >/d/kept; sync /d/kept; sync /d; echo ready
      while :; do date >>/d/log && sync /d/log || echo failed; sleep 0.1; done 2>/dev/null`
      await host.service(`writer-${fs}`, `${name}:/d`, writer)
      const says = async (word: string) => (await docker('logs', `writer-${fs}`)).includes(word)
      await host.until('the writer has written', () => says('ready'))
      await docker('kill', `initiator-${name}`)
      await host.until('the writer has lost its disk', () => says('failed'))
      t.equal(await host.shell([`${name}:/d`], 'cat /d/kept'), 'kept')
      await docker('rm', '-f', `writer-${fs}`)
      await docker('volume', 'rm', name)
    },
  )

t.test('a mount that the Engine took away is shown again while the Engine answers nothing', async (t) => {
  // as at its restart, when it unmounts the folder of the former plugin late and restores containers meanwhile
  const mount = JSON.stringify({ Name: 'count', ID: 'by-hand' })
  const placeOfMount = async () =>
    (await host.engine.exec('cat', '/proc/self/mountinfo'))
      .split(/[ \n]/)
      .findLast((word) => word.endsWith('/propagated-mount/mounts/count')) ?? ''
  await callPlugin(host, '/VolumeDriver.Mount', mount)
  await host.engine.pause()
  try {
    await host.engine.exec('umount', '--lazy', await placeOfMount())
    t.equal(await placeOfMount(), '')
    t.match(await callPlugin(host, '/VolumeDriver.Mount', mount), {
      Mountpoint: '/data/mounts/count/data',
    })
    t.not(await placeOfMount(), '', 'the host has the mount')
  } finally {
    await host.engine.resume()
  }
  for (const _ of ['twice', 'mounted']) await callPlugin(host, '/VolumeDriver.Unmount', mount)
  t.match(await host.shell(['count:/d'], 'cat /d/n'), /^[0-9]+$/, 'and a container its data')
  await goesOn()
})

t.test("a plugin that is cut off from the host's folder starts itself anew", async (t) => {
  // As when an Engine unmounts the folder of the former plugin while it is about to start the next one: it then binds a folder
  // of a mount that is private in its namespace.
  const folder = await host.propagatedMount()
  const plugins = () => host.processes(pluginProgram)
  const isCutOff = async () => {
    const groupOf = async (pid: string, point: string) =>
      (await host.engine.exec('cat', `/proc/${pid}/mountinfo`))
        .split('\n')
        .findLast((line) => line.includes(` ${point} `))
        ?.match(/shared:(\d+)/)?.[1]
    const [pid = ''] = await plugins()
    return (await groupOf(pid, '/data')) !== (await groupOf('1', join(host.engine.folder, 'data')))
  }
  await docker('volume', 'create', '-d', 'openebs', '-o', 'size=16M', 'apart')
  const tries = 5
  for (let i = 0; i < tries && !(await isCutOff()); i++) {
    await host.settledPlugin()
    const before = await plugins()
    // the Engine mounts it within the first second of a start
    const race = `kill -KILL ${before.join(' ')}; for _ in $(seq 200); do umount --lazy '${folder}' 2>&- || :; sleep 0.01; done`
    await host.engine.exec('sh', '-c', race)
    await host.until('the plugin is back', async () => (await plugins()).some((pid) => !before.includes(pid)))
  }
  t.ok(await isCutOff(), 'it is cut off')
  // the first is told to repeat the command, as the plugin ends beneath it
  const use = ['run', '--rm', '--network', 'none', '-v', 'apart:/d', '--entrypoint', 'ls', sidecarImage, '/d']
  const works = async () => (await host.engine.tryDocker(...use)).code === 0
  await host.until('a volume can be mounted', works, 60_000)
  t.notOk(await isCutOff(), 'and is no longer')
  t.match(await host.pluginLog(), /ends to be started anew/)
  t.match(await host.shell(['count:/d'], 'cat /d/n'), /^[0-9]+$/, 'a volume of before')
  await goesOn()
  await docker('volume', 'rm', 'apart')
})

t.test(
  'a container whose start failed for want of its volume is started when the plugin is back',
  async (t) => {
    await docker('volume', 'create', '-d', 'openebs', '-o', 'size=16M', 'late')
    host.etcd.member.pause()
    const args = [
      '--restart',
      'always',
      '--network',
      'none',
      '-v',
      'late:/d',
      '--entrypoint',
      'sh',
      sidecarImage,
    ]
    const refused = await host.engine.tryDocker('run', '-d', '--name', 'late', ...args, '-c', 'sleep 1000')
    t.match(refused.stderr, /openebs: etcd at .* does not answer/, 'its first Mount needs the store')
    host.etcd.member.resume()
    await host.engine.exec('kill', '-KILL', ...(await host.processes(pluginProgram)))
    const running = async () =>
      (await host.engine.tryDocker('ps', '-q', '--filter', 'name=^late$')).stdout !== ''
    await host.until('it runs', running, 90_000)
    await docker('rm', '-f', 'late')
    await docker('volume', 'rm', 'late')
  },
)

t.test('SIGKILL of the target: writes stall and go on, nothing is lost', async (t) => {
  const began = (await begins()).length
  const [pid] = await host.processes('^tgtd')
  t.ok(pid)
  await host.engine.exec('kill', '-KILL', pid ?? '')
  await goesOn()
  t.equal((await begins()).length, began, 'the container was not restarted')
})

t.test('after all of it the volume is removed without a trace', async (t) => {
  await docker('rm', '-f', 'counter')
  await docker('volume', 'rm', 'count')
  t.strictSame(await host.traces(), empty)
})
