import t from 'tap'
import { sidecarImage, vsmImage } from '../support/plugin-host.ts'
import { GuestVolumes } from '../support/vm/guest-volumes.ts'
import { slow, Vm } from '../support/vm/vm.ts'

/**
 * Volumes that the kernel's own iSCSI initiator attaches, on a kernel that has one. Containers write all the while, and sync each
 * line: whatever ends or breaks, they go on without an error, and every line that was acknowledged is there.
 */
t.setTimeout(slow(120))
const vm = await Vm.start(t)
const { docker, tryDocker } = vm
const volumes = new GuestVolumes(vm)
const mounts = () => vm.guest('cat /proc/1/mountinfo')

t.test('where the kernel has iscsi_tcp it attaches, on one iscsid', async (t) => {
  await volumes.create('alpha', 'size=256M')
  await volumes.create('beta', 'size=300M', 'fs=xfs', 'uid=1000', 'mode=0750')
  for (const volume of ['alpha', 'beta']) await volumes.write(volume)
  await Promise.all(volumes.writers.map((writer) => writer.writes(5)))
  for (const [volume, fs] of [
    ['alpha', 'ext4'],
    ['beta', 'xfs'],
  ]) {
    t.match(
      await docker('exec', `writer-${volume}`, 'grep', ' /d ', '/proc/mounts'),
      new RegExp(`^/dev/sd[a-z] /d ${fs} `),
    )
    t.match(await volumes.session(volume ?? ''), /^LOGGED_IN off$/m, 'I/O waits for ever')
    await volumes.attachedBy(volume ?? '', 'kernel')
  }
  t.equal((await docker('exec', 'writer-beta', 'stat', '-c', '%u %a', '/d')).trim(), '1000 750')
  t.equal((await docker('ps', '-q', '--filter', 'label=openebs.role=iscsid')).trim().split('\n').length, 1)
  const password = (await docker('exec', 'vsm-alpha', 'cat', '/lun/chap')).trim().split(' ')[1] ?? '-'
  t.ok(password.length > 16)
  t.notMatch(await docker('inspect', 'initiator-alpha', 'openebs-iscsid'), password)
  t.notMatch(await docker('logs', 'initiator-alpha'), password)
})

t.test('iscsid is killed', async (t) => {
  await volumes.unharmed(t, 'iscsid was killed', () => volumes.kill('openebs-iscsid'))
})

t.test(
  'a session is lost: its connection is cut, its target is killed, its target stands still',
  async (t) => {
    // after the death of iscsid: what opens them anew has the passwords from the kernel
    for (const volume of ['alpha', 'beta']) {
      await vm.until(`${volume} is logged in`, () => volumes.isLoggedIn(volume))
      t.match(await volumes.session(volume), /^LOGGED_IN off$/m, 'I/O waits for ever as before')
    }
    await volumes.unharmed(t, 'connections were cut', async () => {
      const [, port] = String((await volumes.status('alpha')).portal).split(':')
      t.match(await vm.guest(`ss -HKt dport = :${port}`), /ESTAB/, 'one was there to cut')
    })
    await volumes.unharmed(t, 'a target was killed', () => volumes.kill('vsm-alpha'))
    await volumes.unharmed(t, 'a target stood still', async () => {
      await docker('pause', 'vsm-beta')
      await vm.until('its session is taken for lost', async () => !(await volumes.isLoggedIn('beta')))
      await docker('unpause', 'vsm-beta')
    })
  },
)

t.test('an initiator is killed: nobody notices', async (t) => {
  const [before] = (await volumes.session('alpha')).split('\n')
  await volumes.unharmed(t, 'an initiator was killed', () => volumes.kill('initiator-alpha'))
  t.equal((await volumes.session('alpha')).split('\n')[0], before)
  await vm.until('the volume is served', async () => (await volumes.status('alpha')).health === 'healthy')
  const lines = await docker(
    'run',
    '--rm',
    '-v',
    'alpha:/d',
    '--entrypoint',
    'wc',
    sidecarImage,
    '-l',
    '/d/lines',
  )
  t.ok(Number(lines.trim().split(' ')[0]) > 10, 'another container is given the same file system')
})

t.test('initiators are killed that could not log out: nothing of them is left behind', async (t) => {
  for (const writer of volumes.writers) await writer.end()
  const lines = async (of: string) =>
    (await docker('inspect', '-f', `{{range ${of}}}{{println .}}{{end}}`, 'initiator-alpha'))
      .trim()
      .split('\n')
  const [binds, environment] = [await lines('.HostConfig.Binds'), await lines('.Config.Env')]
  await docker('rm', '-f', 'initiator-alpha', 'initiator-beta')
  t.not(await volumes.session('alpha'), '')
  t.not(await volumes.session('beta'), '')
  const next = environment.flatMap((one) => ['-e', one.replace(/^OPENEBS_EPOCH=1$/, 'OPENEBS_EPOCH=2')])
  const { stdout } = await tryDocker(
    ...['run', '--rm', '--network', 'host', '--cap-add', 'SYS_ADMIN', '--cap-add', 'MKNOD'],
    ...['-v', binds[0] ?? '', ...next, vsmImage, 'openebs-initiator'],
  )
  t.match(stdout, /logging out of session\d+, which is of another epoch/, 'an initiator of the next epoch')
  t.equal(await volumes.session('alpha'), '')
  await volumes.remove('alpha', 'beta')
  t.equal(await vm.guest('ls /sys/class/iscsi_session'), '')
  t.notMatch(await mounts(), /propagated-mount\/mounts\//, 'nothing is mounted')
})
