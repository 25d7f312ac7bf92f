import t, { type Test } from 'tap'
import { sidecarImage, vsmImage } from '../support/plugin-host.ts'
import { slow, Vm } from '../support/vm/vm.ts'
import { Writer } from '../support/vm/writer.ts'

/**
 * Volumes that the kernel's own iSCSI initiator attaches, on a kernel that has one. Containers write all the while, and sync each
 * line: whatever ends or breaks, they go on without an error, and every line that was acknowledged is there.
 */
t.setTimeout(slow(120))
const vm = await Vm.start(t)
const { docker, tryDocker } = vm

/** Repeated, as a user would: a call ends after 25 s, and a machine so slow may need more. */
const create = (name: string, ...options: string[]) =>
  vm.until(`volume ${name} is made`, async () => {
    const command = [
      'volume',
      'create',
      '-d',
      'openebs',
      ...options.flatMap((option) => ['-o', option]),
      name,
    ]
    return (await tryDocker(...command)).code === 0
  })
/** Keeps a volume mounted by a container that does nothing: its first Mount, too, may take longer than a call. */
const hold = async (volume: string) => {
  const name = `holds-${volume}`
  const image = ['--entrypoint', 'sleep', sidecarImage, 'infinity']
  await docker('create', '--name', name, '--network', 'none', '--init', '-v', `${volume}:/d`, ...image)
  await vm.until(`${name} is started`, async () => (await tryDocker('start', name)).code === 0)
}
const status = async (volume: string): Promise<Record<string, unknown>> =>
  JSON.parse(await docker('volume', 'inspect', '-f', '{{json .Status}}', volume))
const attach = async (volume: string) => (await status(volume)).attach
/** SIGKILL to all of a container at once, as by the OOM killer; Docker starts it again. */
const kill = async (container: string) => {
  const seen = () => docker('inspect', '-f', '{{.State.Running}} {{.State.Pid}}', container)
  const before = (await seen()).trim()
  await vm.guest(`kill -KILL ${before.split(' ')[1]}`)
  await vm.until(`${container} is started again`, async () => {
    const now = (await seen()).trim()
    return now.startsWith('true') && now !== before
  })
}
/** Of the session to a volume's target: its state, and ms that I/O waits for it. */
const session = (volume: string) =>
  vm.guest(`for s in /sys/class/iscsi_session/*; do
    [ "$(cat $s/targetname)" != iqn.2016-09.com.openebs:${volume} ] || echo "$(cat $s/state) $(cat $s/recovery_tmo)"
  done`)
const isLoggedIn = async (volume: string) => /^LOGGED_IN/.test(await session(volume))

const mounts = () => vm.guest('cat /proc/1/mountinfo')

let writers: Writer[] = []
/** They go on, in the containers in which they were, and nothing that they were promised is missing. */
const unharmed = async (t: Test, what: string, during: () => Promise<unknown>) => {
  const before = await Promise.all(writers.map((writer) => writer.started()))
  await during()
  await Promise.all(writers.map((writer) => writer.writes(10, `${writer.name} goes on: ${what}`)))
  t.strictSame(await Promise.all(writers.map((writer) => writer.started())), before, 'no writer ended')
  for (const writer of writers) await writer.check(t)
}

t.test('where the kernel has iscsi_tcp it attaches, on one iscsid', async (t) => {
  await create('alpha', 'size=256M')
  await create('beta', 'size=300M', 'fs=xfs', 'uid=1000', 'mode=0750')
  writers = [await Writer.start(vm, 'alpha'), await Writer.start(vm, 'beta')]
  await Promise.all(writers.map((writer) => writer.writes(5)))
  for (const [volume, fs] of [
    ['alpha', 'ext4'],
    ['beta', 'xfs'],
  ]) {
    t.match(
      await docker('exec', `writer-${volume}`, 'grep', ' /d ', '/proc/mounts'),
      new RegExp(`^/dev/sd[a-z] /d ${fs} `),
    )
    t.match(await session(volume ?? ''), /^LOGGED_IN off$/m, 'I/O waits for ever')
    await vm.until('inspect tells how', async () => (await attach(volume ?? '')) === 'kernel')
  }
  t.equal((await docker('exec', 'writer-beta', 'stat', '-c', '%u %a', '/d')).trim(), '1000 750')
  t.equal((await docker('ps', '-q', '--filter', 'label=openebs.role=iscsid')).trim().split('\n').length, 1)
  const password = (await docker('exec', 'vsm-alpha', 'cat', '/lun/chap')).trim().split(' ')[1] ?? '-'
  t.ok(password.length > 16)
  t.notMatch(await docker('inspect', 'initiator-alpha', 'openebs-iscsid'), password)
  t.notMatch(await docker('logs', 'initiator-alpha'), password)
})

t.test('iscsid is killed', async (t) => {
  await unharmed(t, 'iscsid was killed', () => kill('openebs-iscsid'))
})

t.test(
  'a session is lost: its connection is cut, its target is killed, its target stands still',
  async (t) => {
    // after the death of iscsid: what opens them anew has the passwords from the kernel
    for (const volume of ['alpha', 'beta']) {
      await vm.until(`${volume} is logged in`, () => isLoggedIn(volume))
      t.match(await session(volume), /^LOGGED_IN off$/m, 'I/O waits for ever as before')
    }
    await unharmed(t, 'connections were cut', async () => {
      const [, port] = String((await status('alpha')).portal).split(':')
      t.match(await vm.guest(`ss -HKt dport = :${port}`), /ESTAB/, 'one was there to cut')
    })
    await unharmed(t, 'a target was killed', () => kill('vsm-alpha'))
    await unharmed(t, 'a target stood still', async () => {
      await docker('pause', 'vsm-beta')
      await vm.until('its session is taken for lost', async () => !(await isLoggedIn('beta')))
      await docker('unpause', 'vsm-beta')
    })
  },
)

t.test('an initiator is killed: nobody notices', async (t) => {
  const [before] = (await session('alpha')).split('\n')
  await unharmed(t, 'an initiator was killed', () => kill('initiator-alpha'))
  t.equal((await session('alpha')).split('\n')[0], before)
  await vm.until('the volume is served', async () => (await status('alpha')).health === 'healthy')
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

t.test('concurrent direct writes come back as they were written', async (t) => {
  await vm.importImage('fio:1', ['/usr/bin/fio'])
  await create('gamma', 'size=128M')
  await hold('gamma')
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
})

t.test('the choice can be overridden, and what is attached already stays as it is', async (t) => {
  await unharmed(t, 'the setting was changed', async () => {
    await docker('plugin', 'disable', '-f', 'openebs')
    // The Engine unmounts the plugin's folder some time after its answer; an enable before that gets a folder that nobody sees.
    await vm.until('the Engine has cleaned up', async () => !/propagated-mount /.test(await mounts()))
    await vm.enablePlugin('OPENEBS_ATTACH=userspace')
  })
  await create('delta', 'size=64M')
  writers.push(await Writer.start(vm, 'delta'))
  await vm.until('inspect tells how', async () => (await attach('delta')) === 'userspace')
  t.match(await docker('exec', 'writer-delta', 'grep', ' /d ', '/proc/mounts'), /^\/dev\/loop\d+ \/d ext4 /)
  t.equal(await session('delta'), '')
  await vm.until('the others are as they were', async () => (await attach('alpha')) === 'kernel')
})

t.test('a clean restart of the Engine', async (t) => {
  const before = await Promise.all(writers.map((writer) => writer.started()))
  await vm.guest('kill -TERM "$(cat /run/docker.pid)"').catch(() => '')
  await vm.until('the Engine is back, and all run', async () => {
    const now = await Promise.all(writers.map((writer) => writer.started().catch(() => '')))
    return now.every((started, index) => started !== '' && started !== before[index])
  })
  for (const writer of writers) writer.follow()
  await Promise.all(writers.map((writer) => writer.writes(5, `${writer.name} goes on by itself`)))
  for (const writer of writers) await writer.check(t)
  t.match(await docker('logs', 'initiator-alpha'), /detached volume alpha/, 'it could log out')
})

t.test('loss of power while containers write to volumes of both kinds', async (t) => {
  await Promise.all(writers.map((writer) => writer.writes(20)))
  await vm.cutPower()
  const promised = writers.map((writer) => writer.promised())
  await vm.boot()
  for (const writer of writers) writer.follow()
  await Promise.all(writers.map((writer) => writer.writes(10, `${writer.name} goes on by itself`)))
  for (const [index, writer] of writers.entries()) await writer.check(t, promised[index])
  t.match(await docker('exec', 'writer-beta', 'grep', ' /d ', '/proc/mounts'), /^\/dev\/sd[a-z] /)
})

t.test('a volume is detached in order, and leaves nothing behind', async (t) => {
  for (const writer of writers) await writer.end()
  await docker('stop', 'initiator-alpha')
  t.equal(await session('alpha'), '', 'logged out')
  const checked = await tryDocker('exec', 'vsm-alpha', 'e2fsck', '-fn', '/lun/data.img')
  t.equal(checked.code, 0, `e2fsck: ${checked.stdout}${checked.stderr}`)
  // killed, so that they could not log out
  const lines = async (of: string) =>
    (await docker('inspect', '-f', `{{range ${of}}}{{println .}}{{end}}`, 'initiator-beta'))
      .trim()
      .split('\n')
  const [binds, environment] = [await lines('.HostConfig.Binds'), await lines('.Config.Env')]
  await docker('rm', '-f', 'initiator-beta', 'initiator-gamma')
  t.not(await session('gamma'), '')
  t.not(await session('beta'), '')
  const next = environment.flatMap((one) => ['-e', one.replace(/^OPENEBS_EPOCH=1$/, 'OPENEBS_EPOCH=2')])
  const { stdout } = await tryDocker(
    ...['run', '--rm', '--network', 'host', '--cap-add', 'SYS_ADMIN', '--cap-add', 'MKNOD'],
    ...['-v', binds[0] ?? '', ...next, vsmImage, 'openebs-initiator'],
  )
  t.match(stdout, /logging out of session\d+, which is of another epoch/, 'an initiator of the next epoch')
  t.equal(await session('beta'), '')
  await vm.until('the volumes are removed', async () => {
    const left = (await docker('volume', 'ls', '-q')).trim()
    if (left !== '') await tryDocker('volume', 'rm', ...left.split('\n'))
    return left === ''
  })
  t.equal(await vm.guest('ls /sys/class/iscsi_session'), '')
  t.notMatch(await mounts(), /propagated-mount\/mounts\//, 'nothing is mounted')
})
