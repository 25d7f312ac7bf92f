import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { until } from '../../process/backoff.ts'
import { newPassword } from '../../vsm/chap.ts'
import { parseSessions } from '../../vsm/health.ts'
import { initiatorIqn } from '../../vsm/iqn.ts'
import { StorageHost, type TestVolume } from '../support/storage-host.ts'

/** The VSM image's target, provisioning, erasing and asking of portals, in a real Engine. */
const host = await StorageHost.start(t)
t.beforeEach(() => host.clear())

const refused = (t: Test, ran: { code: number; stderr: string }, reason: RegExp) => {
  t.equal(ran.code, 65, 'status 65: do not repeat')
  t.match(ran.stderr, reason)
  t.match(ran.stderr, /^openebs: error: [^\n]*\n$/, 'one line that says why')
}
const ends = (name: string) => host.eventually(name, ({ status }) => status === 'exited')
const says = (name: string, words: RegExp) => host.eventually(name, ({ log }) => words.test(log))
const fill = async (volume: TestVolume, files: Record<string, string>) => {
  await mkdir(volume.folder, { recursive: true })
  for (const [name, content] of Object.entries(files)) await writeFile(join(volume.folder, name), content)
}
const content = async (volume: TestVolume) => (await readdir(volume.folder)).sort()
const marker = (volume: TestVolume, uuid = volume.volume.uuid) =>
  JSON.stringify({ volume: volume.volume.name, uuid, epoch: 1 })
const elsewhere = '00000000-0000-4000-8000-000000000000'

t.test('a target never makes a volume, and serves one as soon as it is made', async (t) => {
  const volume = host.volume('one')
  await volume.serve()
  t.ok(await says(volume.target, /waiting for \/lun\/volume\.json/))
  t.equal((await volume.inTarget('openebs-target-health')).code, 1, 'not healthy yet')
  t.strictSame(await content(volume), [], 'its folder is still empty')

  t.strictSame(await volume.provision(), { code: 0, stdout: '', stderr: '' })
  t.strictSame(await content(volume), ['data.img', 'volume.json'])
  t.match(JSON.parse(await readFile(join(volume.folder, 'volume.json'), 'utf8')), {
    volume: 'one',
    uuid: volume.volume.uuid,
    epoch: 1,
    size: volume.volume.spec.size,
    fs: 'ext4',
    created: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
  })
  const { size, blocks, mtimeMs } = await stat(join(volume.folder, 'data.img'))
  t.equal(size, volume.volume.spec.size)
  t.ok(blocks * 512 < size / 4, 'the file is sparse')
  t.equal((await volume.inTarget('openebs-target-health')).code, 0)
  t.equal((await volume.fsck()).code, 0, 'its file system is clean')

  t.equal((await volume.provision()).code, 0, 'provisioning may be repeated')
  t.equal((await stat(join(volume.folder, 'data.img'))).mtimeMs, mtimeMs, 'and then leaves it alone')
  const { code, log } = await volume.stopTarget()
  t.equal(code, 0, 'a stop without sessions is clean')
  t.notMatch(log, /waiting for the initiator/, 'and waits for nobody')
})

t.test(
  'a target without a volume leaves after a while, so that Docker looks at the disk again',
  async (t) => {
    const volume = host.volume('absent')
    await volume.serve(['OPENEBS_DISK_WAIT=1'], 'no')
    t.match(await ends(volume.target), { code: 75, log: /did not appear/ })
  },
)

t.test('a target serves no other volume than its own', async (t) => {
  const volume = host.volume('mine')
  await fill(volume, { 'volume.json': marker(volume, elsewhere), 'data.img': 'x' })
  await volume.serve([], 'no')
  t.match(await ends(volume.target), { code: 65, log: /error: \/lun holds volume 'mine' \(0{8}-/ })

  const lost = host.volume('lost')
  await fill(lost, { 'volume.json': marker(lost) })
  await lost.serve([], 'no')
  t.match(await ends(lost.target), { code: 65, log: /data\.img is missing/ })
})

t.test('provisioning leaves alone what is not this volume', async (t) => {
  const foreign = host.volume('foreign')
  await fill(foreign, { 'letter.txt': 'dear' })
  await foreign.serve()
  refused(t, await foreign.provision(), /\/lun is not empty: it holds letter\.txt/)
  t.strictSame(await content(foreign), ['letter.txt'])

  const taken = host.volume('taken')
  await fill(taken, { 'volume.json': marker(taken, elsewhere), 'data.img': 'precious' })
  // its target refuses to run: provisioning is tried as it would be by one that is being started
  await taken.serve(['OPENEBS_STOP_WAIT=1'], 'no')
  const beside = ['--volume', `${taken.folder}:/lun`]
  const variables = ['VOLUME=taken', `UUID=${taken.volume.uuid}`, 'EPOCH=1', 'SIZE=67108864', 'FS=ext4']
  const environment = variables.flatMap((variable) => ['--env', `OPENEBS_${variable}`])
  refused(
    t,
    await host.run([...beside, ...environment], 'openebs-provision'),
    /volume\.json says it belongs to/,
  )
  t.equal(await readFile(join(taken.folder, 'data.img'), 'utf8'), 'precious')
})

t.test('provisioning begins again what a crash left half made', async (t) => {
  const volume = host.volume('half')
  await volume.serve()
  await fill(volume, { 'provisioning.json': marker(volume), 'data.img': 'a torn file system' })
  t.equal((await volume.provision()).code, 0)
  t.strictSame(await content(volume), ['data.img', 'volume.json'])
  t.equal((await volume.fsck()).code, 0)

  const early = host.volume('early')
  await early.serve()
  await fill(early, { 'provisioning.json.new': '{"vol' })
  t.equal((await early.provision()).code, 0, 'a crash before the marker was complete')
})

t.test('provisioning refuses sizes that cannot be', async (t) => {
  const huge = host.volume('huge', { size: 2 ** 50 })
  await huge.serve()
  refused(t, await huge.provision(), /size 1125899906842624 does not fit: the disk has \d+ bytes free/)
  t.strictSame(await content(huge), [], 'its folder stays empty')

  const small = host.volume('small', { size: 64 * 2 ** 20, fs: 'xfs' })
  await small.serve()
  refused(t, await small.provision(), /xfs needs at least 314572800 bytes \(300 MiB\)/)
  t.strictSame(await content(small), [])
})

t.test('erasing removes a volume wholly, and nothing else', async (t) => {
  const volume = host.volume('old')
  t.strictSame(await volume.erase(), { code: 0, stdout: '', stderr: '' }, 'absent already')

  const gone = async (why: string) => {
    t.equal((await volume.erase()).code, 0, why)
    t.strictSame(await readdir(host.root), [], why)
  }
  await fill(volume, {})
  await gone('an empty folder')
  await fill(volume, { 'volume.json': marker(volume), 'data.img': 'x', '.hidden': 'x' })
  await mkdir(join(volume.folder, 'lost+found'))
  await gone('a volume')
  await fill(volume, { 'provisioning.json': marker(volume), 'data.img': 'x' })
  await gone('one half made')
  await fill(volume, { 'erasing.json': marker(volume), 'data.img': 'x' })
  await gone('one half erased')

  await fill(volume, { 'volume.json': marker(volume, elsewhere), 'data.img': 'x' })
  refused(t, await volume.erase(), /belongs to volume 'old' \(0{8}-/)
  t.strictSame(await content(volume), ['data.img', 'volume.json'], 'a volume of that name with another uuid')
  await rm(volume.folder, { recursive: true })
  await fill(volume, { 'data.img': 'x' })
  refused(t, await volume.erase(), /not known to be ours: it holds data\.img/)
  t.strictSame(await content(volume), ['data.img'], 'content that nothing says is ours')
  await rm(volume.folder, { recursive: true })
  await symlink('/etc', volume.folder)
  refused(t, await volume.erase(), /symbolic link/)
  for (const name of ['../etc', 'a/b', '.ssh', ''])
    t.equal((await host.run([], 'openebs-erase', name, elsewhere)).code, 64, `'${name}' is no volume`)
})

t.test('a healthy target tells who is logged in', async (t) => {
  const volume = host.volume('known')
  await volume.serve()
  await volume.provision()
  const sessions = async () => parseSessions((await volume.inTarget('openebs-target-health')).stdout)
  t.strictSame(await sessions(), [], 'nobody')
  await volume.attach()
  t.match(await sessions(), [{ initiator: initiatorIqn('h1'), address: /^\d+\.\d+\.\d+\.\d+$/ }])
  const url = `iscsi://${volume.record.portal}/${volume.record.iqn}/1`
  const odd = host.engine.net('iscsi-perf', '-i', 'iqn.2020-01.org.example:a *', '-t', '3', url)
  const both = await until(async () => ((await sessions())?.length === 2 ? sessions() : undefined), {
    ms: 3000,
  })
  t.match(both?.[1], { initiator: 'iqn.2020-01.org.example:a%20*' }, 'one line, whatever a name has in it')
  await odd
  await volume.detach()
  t.strictSame(await sessions(), [], 'nobody again')
})

t.test('a portal is asked for its targets, and what its answer means is told apart', async (t) => {
  const volume = host.volume('asked')
  await volume.serve()
  await volume.provision()
  const ask = () => host.run(['--network', 'host'], 'openebs-portal', volume.record.portal)
  const adm = (words: string) => volume.inTarget('tgtadm', '--lld', 'iscsi', ...words.split(' '))
  t.match(await ask(), {
    code: 0,
    stdout: /^Target:iqn\.2016-09\.com\.openebs:asked Portal:[^\n]+\n(.*\n)*Lun:1 +Type:DIRECT_ACCESS/,
  })

  await adm('--op new --mode account --user someone --password secretsecret')
  await adm('--op bind --mode account --tid 1 --user someone')
  t.match(await ask(), { code: 4, stderr: /wants a login/ })
  await adm('--op unbind --mode account --tid 1 --user someone')

  await adm('--op unbind --mode target --tid 1 --initiator-address ALL')
  await adm('--op bind --mode target --tid 1 --initiator-address 192.0.2.1')
  t.match(await ask(), { code: 3, stderr: /shows no target/ })

  await volume.stopTarget()
  t.match(await ask(), { code: 5, stderr: /cannot be reached/ })
  t.equal((await host.run([], 'openebs-portal', 'nonsense')).code, 64)
})

t.test('with CHAP nobody is let in without the password', async (t) => {
  const volume = host.volume('locked', { chap: true })
  await volume.serve()
  t.match(await volume.inTarget('openebs-provision'), {
    code: 64,
    stderr: /no CHAP password on the standard input/,
  })
  t.strictSame(await content(volume), [], 'and nothing is made without one')
  const password = newPassword()
  t.strictSame(await volume.provision(password), { code: 0, stdout: '', stderr: '' })
  t.equal((await volume.provision(password)).code, 0, 'which may be repeated')
  const url = (login: string) => `iscsi://${login}${volume.record.portal}/${volume.record.iqn}/1`
  const login = (as: string) => host.engine.net('iscsi-inq', '-i', 'iqn.2020-01.org.example:a', url(as))
  t.match(await login(`epoch-1%${password}@`), /Vendor:OpenEBS/)
  for (const [as, why] of [
    ['', 'no login'],
    [`epoch-1%${newPassword()}@`, 'another password'],
    [`epoch-2%${password}@`, 'another epoch'],
  ] as const)
    await t.rejects(login(as), why)
  t.match(await host.run(['--network', 'host'], 'openebs-portal', volume.record.portal), {
    code: 4,
    stderr: /wants a login/,
  })

  refused(t, await volume.provision(), /\/lun\/chap does not hold this password of epoch 1/)
  const seen = await Promise.all([
    host.engine.docker('inspect', volume.target),
    host.engine.docker('top', volume.target, '-eo', 'pid,args'),
    host.engine.docker('logs', volume.target),
  ])
  for (const text of seen) t.notMatch(text, password, 'it stands in nothing that docker shows')
  const { mode } = await stat(join(volume.folder, 'chap'))
  t.equal(mode & 0o077, 0, 'and only root reads the file')

  await host.kill(volume.target)
  t.ok(
    await until(
      () =>
        login(`epoch-1%${password}@`).then(
          () => true,
          () => undefined,
        ),
      { ms: 20_000 },
    ),
    'a target that comes back asks for the same',
  )
  await rm(join(volume.folder, 'chap'))
  await host.kill(volume.target)
  t.ok(await says(volume.target, /chap is missing: without a password nobody is let in/))
})
