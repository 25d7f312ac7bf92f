import t from 'tap'
import { sidecarImage } from '../support/plugin-host.ts'
import { GuestVolumes } from '../support/vm/guest-volumes.ts'
import { slow, Vm } from '../support/vm/vm.ts'

/**
 * The life of volumes that the kernel attaches: what is written comes back, freed space is given back, the way is the user's choice,
 * and restarts and losses of power end nothing. kernel-faults.test.ts has what breaks.
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

t.test('concurrent direct writes come back as they were written', async (t) => {
  await vm.importImage('fio:1', ['/usr/bin/fio'])
  await volumes.create('gamma', 'size=128M')
  await volumes.hold('gamma')
  for (const [bytes, size] of [
    ['4k', '2m'],
    ['128k', '6m'],
    ['1m', '18m'],
  ]) {
    const where = [
      '--filename=/d/file',
      '--ioengine=libaio',
      '--direct=1',
      '--fallocate=none',
      `--size=${size}`,
    ]
    const load = ['--rw=randwrite', `--bs=${bytes}`, '--iodepth=16', '--end_fsync=1']
    const verify = ['--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--verify_state_save=0']
    const command = ['/usr/bin/fio', '--name=verify', ...where, ...load, ...verify]
    const { code, stdout, stderr } = await tryDocker('run', '--rm', '-v', 'gamma:/d', 'fio:1', ...command)
    t.equal(code, 0, `${bytes} at depth 16 ${code === 0 ? '' : stdout + stderr}`)
    if (code === 0) t.match(stdout, /verify: \(groupid=0/, 'it ran')
  }
})

t.test('space that is freed in a volume is given back', async (t) => {
  const used = async () => Number((await vm.guest('du -k /state/openebs/gamma/data.img')).split('\t')[0])
  const before = await used()
  await docker('run', '--rm', '-v', 'gamma:/d', '--entrypoint', 'rm', sidecarImage, '/d/file')
  // what is freed may be trimmed when the journal is committed, which takes some seconds
  await vm.until('the disk has more room', async () => {
    await vm.guest('fstrim /state/docker/plugins/*/propagated-mount/mounts/gamma')
    return (await used()) < before - 12 * 1024
  })
  t.pass(`${before} KiB before`)
  await docker('rm', '-f', 'holds-gamma')
  // its health checks are no small load where the processor is emulated
  await volumes.remove('gamma')
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
