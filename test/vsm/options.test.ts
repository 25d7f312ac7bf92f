import { open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { statusFile } from '../../plugin/mount-table.ts'
import { StorageHost, type TestVolume } from '../support/storage-host.ts'

/** What a volume is asked to be, as a container that uses it and the disk of its target see it, in a real Engine. */
const host = await StorageHost.start(t)
t.afterEach(() => host.clear())
const MiB = 2 ** 20

const mountOptions = async (volume: TestVolume) => {
  const point = join(host.mounts, volume.volume.name)
  const options = await host.engine.exec('findmnt', '--noheadings', '--output', 'OPTIONS', point)
  return options.trim().split(',')
}
const inside = (container: string, ...command: string[]) =>
  host.engine.tryDocker('exec', container, ...command)
const detaches = async (t: Test, volume: TestVolume) => {
  const { code, log } = await volume.detach()
  t.equal(code, 0, `the initiator ends with status 0${code ? `: ${log}` : ''}`)
  t.match(await volume.fsck(), { code: 0 }, 'the file system is clean')
}

t.test('file systems are made and mounted with the options that were asked for', async (t) => {
  const ext4 = host.volume('ext4', {
    mkfs: 'inode_ratio=65536,inode_size=512,reserved=5',
    mount: 'commit=30,data=journal,lazytime,noatime',
  })
  await ext4.mount()
  const { stdout } = await ext4.inTarget('dumpe2fs', '-h', '/lun/data.img')
  t.match(stdout, /Inode count: +1024\n/, '64M with an inode every 64K')
  t.match(stdout, /Inode size: +512\n/)
  t.match(stdout, /Reserved block count: +3276\n/, '5% of 65536 blocks')
  const seen = await mountOptions(ext4)
  for (const option of ['rw', 'noatime', 'lazytime', 'commit=30', 'data=journal', 'errors=remount-ro'])
    t.ok(seen.includes(option), `${option} in ${seen}`)
  await detaches(t, ext4)

  const xfs = host.volume('xfs', {
    fs: 'xfs',
    size: 300 * MiB,
    mkfs: 'inode_percent=7,inode_size=1024',
    mount: 'logbsize=256k,nodiratime',
  })
  await xfs.mount()
  const superblock = Buffer.alloc(512)
  await using image = await open(join(xfs.folder, 'data.img'))
  await image.read(superblock, 0, 512, 0)
  t.equal(superblock.readUInt16BE(104), 1024, 'sb_inodesize')
  t.equal(superblock.readUInt8(127), 7, 'sb_imax_pct')
  const options = await mountOptions(xfs)
  for (const option of ['rw', 'nodiratime', 'logbsize=256k', 'nouuid'])
    t.ok(options.includes(option), `${option} in ${options}`)
  await detaches(t, xfs)
})

t.test('what is not offered reaches neither mkfs nor mount', async (t) => {
  const volume = host.volume('odd', { mkfs: 'reserved=5 -F', mount: 'noatime;reboot' })
  await volume.serve()
  t.match(await volume.provision(), { code: 64, stderr: /not name=number in OPENEBS_MKFS: '-F'/ })
  t.strictSame(await readdir(volume.folder), [], 'and nothing is made')
  await volume.startInitiator()
  t.ok(
    await host.eventually(volume.initiator, ({ log }) => /not options of mount: 'noatime;reboot'/.test(log)),
  )
})

t.test('a read-only volume cannot be written, whatever its initiator had to repair', async (t) => {
  for (const fs of ['ext4', 'xfs'] as const) {
    const volume = host.volume(`ro-${fs}`, { fs, size: 300 * MiB, access: 'read-only' })
    await volume.mount()
    await volume.use('reader')
    t.equal(
      (await inside('reader', 'ls', '/data')).code,
      0,
      `${fs}: its folder is there from the first mount on`,
    )
    t.match(await inside('reader', 'touch', '/data/f'), { code: 1, stderr: /Read-only file system/ })
    await host.engine.docker('rm', '--force', 'reader')
    await detaches(t, volume)

    // as if somebody had filled it: then its initiator dies with a journal that is not written out
    volume.volume.spec.access = 'read-write'
    await volume.attach()
    await volume.use('writer')
    const dd = ['dd', 'if=/dev/urandom', 'of=/data/f', 'bs=1M', 'count=4', 'conv=fsync', 'status=none']
    t.equal((await inside('writer', ...dd)).code, 0)
    const digest = await volume.digest('f')
    await host.engine.docker('kill', volume.initiator)
    await rm(statusFile(host.mounts, volume.volume.name))
    await host.engine.docker('rm', '--force', volume.initiator, 'writer')

    volume.volume.spec.access = 'read-only'
    await volume.attach()
    t.equal(await volume.digest('f'), digest, `${fs}: what was synced is there`)
    t.ok((await mountOptions(volume)).includes('ro'))
    await volume.use('reader')
    t.match(await inside('reader', 'rm', '/data/f'), { code: 1, stderr: /Read-only file system/ })
    await host.engine.docker('rm', '--force', 'reader')
    await detaches(t, volume)
    await host.clear()
  }
})

t.test('the root folder is made for whom it was asked for, and then left alone', async (t) => {
  const volume = host.volume('owned', { uid: 1000, gid: 4_000_000_000, mode: '2770' })
  await volume.mount()
  const owner = async () => {
    const { uid, gid, mode } = await stat(await volume.data())
    return `${uid}:${gid} ${(mode & 0o7777).toString(8)}`
  }
  t.equal(await owner(), '1000:4000000000 2770')
  await volume.use('user')
  t.equal((await inside('user', 'chmod', '00711', '/data')).code, 0)
  t.match(await host.engine.docker('exec', '--user', '1000', 'user', 'touch', '/data/mine'), '')
  await host.engine.docker('rm', '--force', 'user')
  await detaches(t, volume)
  await volume.attach()
  t.equal(await owner(), '1000:4000000000 711', 'what its users made of it stays')
  await detaches(t, volume)

  const plain = host.volume('plain')
  await plain.mount()
  const { uid, gid, mode } = await stat(await plain.data())
  t.strictSame([uid, gid, mode & 0o7777], [0, 0, 0o755])
})

t.test('full provisioning takes the space at once, or leaves nothing', async (t) => {
  for (const fs of ['ext4', 'xfs'] as const) {
    const volume = host.volume(`full-${fs}`, { fs, size: 300 * MiB, provision: 'full' })
    await volume.serve()
    t.match(await volume.provision(), { code: 0 })
    const { size, blocks } = await stat(join(volume.folder, 'data.img'))
    t.ok(blocks * 512 >= size, `${fs}: ${blocks * 512} bytes of ${size} are taken`)
    t.match(await volume.fsck(), { code: 0 })
    const { stdout } = await volume.inTarget('tgtadm', '--lld', 'iscsi', '--op', 'show', '--mode', 'target')
    t.match(stdout, /LUN: 1\n(.*\n)*?.*Thin-provisioning: No/, 'and no initiator may give it back')
    await host.clear()
  }

  // as much room as the size says, and no page for provisioning.json beside it
  const tight = async (name: string, provision: 'thin' | 'full') => {
    const volume = host.volume(name, { provision })
    await host.engine.exec('mkdir', '-p', volume.folder)
    await host.engine.exec('mount', '-t', 'tmpfs', '-o', `size=${64 * MiB}`, 'tmpfs', volume.folder)
    await volume.serve()
    return volume
  }
  const thin = await tight('thin', 'thin')
  t.match(await thin.provision(), { code: 0 }, 'a thin volume hopes for the best')
  const full = await tight('full', 'full')
  t.match(await full.provision(), {
    code: 65,
    stderr:
      /^openebs: error: provision=full: size 67108864 cannot be taken on the disk: .*No space left[^\n]*\n$/,
  })
  t.equal(await host.engine.exec('ls', '-A', full.folder), '', 'nothing is left')
  await host.engine.docker('rm', '--force', thin.target, full.target)
  await host.engine.exec('umount', thin.folder, full.folder)
})

t.test('a LUN grows with all of its space, or not at all', async (t) => {
  const volume = host.volume('growing', { size: 32 * MiB, provision: 'full' })
  const image = join(volume.folder, 'data.img')
  await host.engine.exec('mkdir', '-p', volume.folder)
  await host.engine.exec('mount', '-t', 'tmpfs', '-o', `size=${64 * MiB}`, 'tmpfs', volume.folder)
  await volume.serve()
  t.match(await volume.provision(), { code: 0 })
  const grow = (...args: string[]) => volume.inTarget('openebs-grow', ...args)
  const served = async () =>
    Number(/^size: (\d+)$/m.exec((await volume.inTarget('openebs-target-health')).stdout)?.[1])
  const allOf = async () => ({
    served: await served(),
    file: Number(await host.engine.exec('stat', '-c', '%s', image)),
    described: JSON.parse(await host.engine.exec('cat', join(volume.folder, 'volume.json'))).size,
  })
  const isAll = async (size: number, what: string) =>
    t.strictSame(await allOf(), { served: size, file: size, described: size }, what)

  t.match(await grow('--check', String(48 * MiB)), { code: 0 })
  await isAll(32 * MiB, 'a check changes nothing')
  for (const time of ['once', 'twice']) {
    t.match(await grow(String(48 * MiB)), { code: 0 })
    await isAll(48 * MiB, time)
  }
  t.ok(Number(await host.engine.exec('stat', '-c', '%b', image)) * 512 >= 48 * MiB, 'its space is taken')
  t.match(await grow(String(40 * MiB)), {
    code: 65,
    stderr: /has 50331648 bytes: it cannot shrink to 41943040/,
  })
  t.match(await grow(String(65 * MiB)), { code: 65, stderr: /does not fit: 17825792 more bytes are needed/ })
  t.match(await grow('much'), { code: 64, stderr: /usage: openebs-grow/ })
  await isAll(48 * MiB, 'what is refused changes nothing')

  t.comment('there is room for what is asked for, and none for a hole that it had')
  await host.engine.exec(
    'fallocate',
    '--punch-hole',
    '--offset',
    String(20 * MiB),
    '--length',
    String(20 * MiB),
    image,
  )
  await host.engine.exec('fallocate', '--length', String(30 * MiB), join(volume.folder, 'other'))
  t.match(await grow(String(50 * MiB)), { code: 65, stderr: /provision=full: size 52428800 cannot be taken/ })
  await isAll(48 * MiB, 'nothing is left of it')
  await host.engine.docker('rm', '--force', volume.target)
  await host.engine.exec('umount', volume.folder)
})
