import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PluginHost, vsmImage } from '../support/plugin-host.ts'
import { startRegistry } from '../support/registry.ts'

/**
 * The plugin as users get it, by a real registry: installed on a host that has nothing else, disabled by force under a
 * container that writes, and upgraded under it.
 */
const host = await PluginHost.bare(t)
const { docker, tryDocker } = host.engine
const registry = await startRegistry(t, host.engine)
const published = `${registry}/openebs/registrator`

await host.publish(`${published}:1`)
for (const [tag, version] of [
  ['2', '9.9.9'],
  ['3', '9.9.10'],
])
  await host.publish(`${published}:${tag}`, async (folder) => {
    const file = join(folder, 'rootfs/app/package.json')
    await writeFile(
      file,
      (await readFile(file, 'utf8')).replace(/"version": "[^"]+"/, `"version": "${version}"`),
    )
  })

/** Numbers that a container has written and synced, each in a line; it says when a write failed. */
const writer = `n=0; while :; do n=$((n + 1)); { echo $n >>/d/log && sync /d/log; } || echo "failed at $n"; sleep 0.05; done`
const lines = async () => Number((await docker('exec', 'writer', 'wc', '-l', '/d/log')).split(' ')[0])
const writesOn = async (t: Test) => {
  const from = await lines()
  await host.until('the writer writes on', async () => (await lines()) > from + 5)
  t.equal(await docker('logs', 'writer'), '', 'and no write of it failed')
}
/** Where a new container sees all that the writer has written, and the writer what that container writes. */
const isShared = async (t: Test, word: string) => {
  const from = await lines()
  const seen = Number(await host.shell(['data:/d'], `wc -l </d/log; echo ${word} >/d/word; sync /d/word`))
  t.ok(seen >= from, 'another container sees what the writer wrote')
  t.equal(await docker('exec', 'writer', 'cat', '/d/word'), `${word}\n`, 'and the writer what it wrote')
}
const inspected = async () => JSON.parse(await docker('volume', 'inspect', 'data'))[0]

t.test('docker plugin install is all that a host needs', async (t) => {
  t.notOk((await docker('image', 'ls', '-q', vsmImage)).trim(), 'there is no VSM image')
  const install = ['plugin', 'install', '--alias', 'openebs', '--grant-all-permissions', `${published}:1`]
  await docker(...install, ...host.settings)
  await docker('volume', 'create', '-d', 'openebs', '-o', 'size=64M', 'data')
  await host.engine.load('registrator-sidecar')
  await host.service('writer', 'data:/d', writer)
  await writesOn(t)
  await isShared(t, 'installed')
})

t.test('a plugin that is disabled by force and enabled again: the writer does not notice', async (t) => {
  t.match(await tryDocker('plugin', 'disable', 'openebs'), { code: 1, stderr: /is in use/ })
  await docker('plugin', 'disable', '--force', 'openebs')
  await writesOn(t)
  await docker('plugin', 'enable', 'openebs')
  await writesOn(t)
  await isShared(t, 'enabled')
  await host.until('the volume is healthy', async () => (await inspected()).Status.health === 'healthy')
})

t.test('a volume of which all is read-only by now is shown again, too', async (t) => {
  await docker('volume', 'create', '-d', 'openebs', '-o', 'size=64M', '-o', 'access=read-only', 'fixed')
  await host.service('reader', 'fixed:/d', 'exec sleep 1000')
  await docker('plugin', 'disable', '--force', 'openebs')
  await docker('plugin', 'enable', 'openebs')
  t.match(await host.shell(['fixed:/d'], 'touch /d/f 2>&1 || ls -d /d'), /Read-only file system\n\/d/)
  await docker('rm', '-f', 'reader')
  await docker('volume', 'rm', 'fixed')
})

t.test(
  'docker plugin upgrade: the writer does not notice, and calls go on with the new plugin',
  async (t) => {
    await docker('plugin', 'disable', '--force', 'openebs')
    await docker(
      'plugin',
      'upgrade',
      '--skip-remote-check',
      '--grant-all-permissions',
      'openebs',
      `${published}:2`,
    )
    // Engine 20.10.24 shows the mount's source as it was set, and mounts the default one
    // and this plugin is another one by its version alone: it brings the image of the first
    await docker('plugin', 'set', 'openebs', ...host.settings, `OPENEBS_VSM_IMAGE=${vsmImage}`)
    await docker('plugin', 'enable', 'openebs')
    await writesOn(t)
    await isShared(t, 'upgraded')
    const alive = async () =>
      JSON.parse(await host.etcdctl('get', '--print-value-only', '/openebs/v1/alive/h1'))
    await host.until('the new plugin has registered', async () => (await alive()).version === '9.9.9')
    t.match(await inspected(), { Options: { size: '64M' }, Status: { phase: 'ready', health: 'healthy' } })
  },
)

t.test('an upgrade with the guard enforcing: off, upgrade, on', async (t) => {
  const upgrade = ['--skip-remote-check', '--grant-all-permissions', 'openebs', `${published}:3`]
  // the Engine's own answer would be that it has this name already
  const isOn = async () =>
    /vsm-data cannot be renamed/.test((await tryDocker('rename', 'vsm-data', 'vsm-data')).stderr)
  const settings = [...host.settings, `OPENEBS_VSM_IMAGE=${vsmImage}`, 'OPENEBS_GUARD=enforce']
  await docker('plugin', 'disable', '--force', 'openebs')
  await docker('plugin', 'set', 'openebs', ...settings)
  await docker('plugin', 'enable', 'openebs')
  await host.authorize()
  await host.until('the guard is on', isOn)
  t.match(await tryDocker('plugin', 'disable', '--force', 'openebs'), {
    code: 1,
    stderr: /the plugin serves volumes that are in use/,
  })
  await host.configure({})
  await host.reload()
  await host.until('the guard is off', async () => !(await isOn()))
  await docker('plugin', 'disable', '--force', 'openebs')
  await docker('plugin', 'upgrade', ...upgrade)
  await docker('plugin', 'set', 'openebs', ...settings)
  await docker('plugin', 'enable', 'openebs')
  await host.authorize()
  await host.until('the guard is on', isOn)
  await writesOn(t)
  await isShared(t, 'guarded')
  await host.configure({})
  await host.reload()
  await host.until('the guard is off', async () => !(await isOn()))
})

t.test('after all of it the data are whole, and the volume goes without a trace', async (t) => {
  const written = await lines()
  await docker('stop', 'writer')
  const log = await host.shell(['data:/d'], 'cat /d/log')
  const numbers = log.split('\n').map(Number)
  t.ok(numbers.length >= written)
  t.ok(
    numbers.every((number, index) => number === index + 1),
    'no number is missing',
  )
  await docker('rm', 'writer')
  await docker('volume', 'rm', 'data')
  t.strictSame(await host.traces(), [])
})
