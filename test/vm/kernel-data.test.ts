import t from 'tap'
import { sidecarImage } from '../support/plugin-host.ts'
import { GuestVolumes } from '../support/vm/guest-volumes.ts'
import { slow, Vm } from '../support/vm/vm.ts'

/** What is written to a volume that the kernel attaches comes back, and the space that is freed in it is given back. */
t.setTimeout(slow(120))
const vm = await Vm.start(t)
const { docker, tryDocker } = vm
const volumes = new GuestVolumes(vm)

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
  await volumes.remove('gamma')
})
