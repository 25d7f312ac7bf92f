import t from 'tap'
import { GuestVolumes } from '../support/vm/guest-volumes.ts'
import { slow, Vm } from '../support/vm/vm.ts'

/**
 * The life of volumes that the kernel attaches: the way is the user's choice, and restarts and losses of power end nothing.
 * kernel-data.test.ts has what is written, kernel-faults.test.ts what breaks.
 */
t.setTimeout(slow(120))
const vm = await Vm.start(t)
const { docker, tryDocker } = vm
const volumes = new GuestVolumes(vm)
const mounts = () => vm.guest('cat /proc/1/mountinfo')

t.test('two volumes that are written to', async () => {
  await volumes.create('alpha', 'size=256M')
  await volumes.create('beta', 'size=300M', 'fs=xfs')
  for (const volume of ['alpha', 'beta']) await volumes.write(volume)
  await Promise.all(volumes.writers.map((writer) => writer.writes(5)))
})

t.test('the choice can be overridden, and what is attached already stays as it is', async (t) => {
  await volumes.unharmed(t, 'the setting was changed', async () => {
    await docker('plugin', 'disable', '-f', 'openebs')
    // The Engine unmounts the plugin's folder some time after its answer; an enable before that gets a folder that nobody sees.
    await vm.until('the Engine has cleaned up', async () => !/propagated-mount /.test(await mounts()))
    await vm.enablePlugin('OPENEBS_ATTACH=userspace')
  })
  await volumes.create('delta', 'size=64M')
  await volumes.write('delta')
  await volumes.attachedBy('delta', 'userspace')
  t.match(await docker('exec', 'writer-delta', 'grep', ' /d ', '/proc/mounts'), /^\/dev\/loop\d+ \/d ext4 /)
  t.equal(await volumes.session('delta'), '')
  await volumes.attachedBy('alpha', 'kernel')
})

t.test('a clean restart of the Engine', async (t) => {
  const before = await Promise.all(volumes.writers.map((writer) => writer.started()))
  await vm.guest('kill -TERM "$(cat /run/docker.pid)"').catch(() => '')
  await vm.until('the Engine is back, and all run', async () => {
    const now = await Promise.all(volumes.writers.map((writer) => writer.started().catch(() => '')))
    return now.every((started, index) => started !== '' && started !== before[index])
  })
  for (const writer of volumes.writers) writer.follow()
  await Promise.all(volumes.writers.map((writer) => writer.writes(5, `${writer.name} goes on by itself`)))
  for (const writer of volumes.writers) await writer.check(t)
  t.match(await docker('logs', 'initiator-alpha'), /detached volume alpha/, 'it could log out')
})

t.test('loss of power while containers write to volumes of both kinds', async (t) => {
  await Promise.all(volumes.writers.map((writer) => writer.writes(20)))
  await vm.cutPower()
  const promised = volumes.writers.map((writer) => writer.promised())
  await vm.boot()
  for (const writer of volumes.writers) writer.follow()
  await Promise.all(volumes.writers.map((writer) => writer.writes(10, `${writer.name} goes on by itself`)))
  for (const [index, writer] of volumes.writers.entries()) await writer.check(t, promised[index])
  t.match(await docker('exec', 'writer-beta', 'grep', ' /d ', '/proc/mounts'), /^\/dev\/sd[a-z] /)
})

t.test('a volume is detached in order', async (t) => {
  for (const writer of volumes.writers) await writer.end()
  await docker('stop', 'initiator-alpha')
  t.equal(await volumes.session('alpha'), '', 'logged out')
  const checked = await tryDocker('exec', 'vsm-alpha', 'e2fsck', '-fn', '/lun/data.img')
  t.equal(checked.code, 0, `e2fsck: ${checked.stdout}${checked.stderr}`)
})
