import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import {
  type AttachChoice,
  chooseWay,
  type KernelFacts,
  loggedIn,
  readKernel,
  type Way,
} from '../../plugin/attach.ts'
import { initiatorContainer, madeForLabel, wayLabel } from '../../plugin/container-bodies.ts'
import { ownName } from '../../plugin/doctor/facts.ts'
import { canBeGiven, isCutOff } from '../../plugin/initiators.ts'
import { iscsidContainer, logoutContainer } from '../../plugin/iscsid.ts'
import { targetRecord, volumeRecord } from '../support/records.ts'

const bare: KernelFacts = {
  hasTransport: false,
  hasNetlink: false,
  hasSocket: false,
  hasOwnIscsid: false,
  isLoggedIn: false,
}
const able = { ...bare, hasTransport: true, hasNetlink: true }

t.test('how a volume is attached', async (t) => {
  const ours = { ...able, hasSocket: true, hasOwnIscsid: true }
  const table: [string, KernelFacts, AttachChoice, Way][] = [
    ['no iscsi_tcp', bare, 'auto', 'userspace'],
    ['no iscsi_tcp', bare, 'userspace', 'userspace'],
    ['an Engine in a container', { ...able, hasNetlink: false }, 'auto', 'userspace'],
    ['iscsi_tcp', able, 'auto', 'kernel'],
    ['iscsi_tcp', able, 'kernel', 'kernel'],
    ['iscsi_tcp', able, 'userspace', 'userspace'],
    ['our iscsid runs', ours, 'auto', 'kernel'],
    ['our iscsid runs', ours, 'kernel', 'kernel'],
    ['our iscsid is between two starts', { ...able, hasOwnIscsid: true }, 'kernel', 'kernel'],
    ["the host's own iscsid", { ...able, hasSocket: true }, 'auto', 'userspace'],
    ["the host's own iscsid", { ...able, hasSocket: true }, 'userspace', 'userspace'],
    ['the kernel is logged in', { ...able, isLoggedIn: true }, 'userspace', 'kernel'],
    ['the kernel is logged in', { ...ours, isLoggedIn: true }, 'auto', 'kernel'],
  ]
  for (const [what, facts, choice, way] of table) t.equal(chooseWay(choice, facts), way, `${what}, ${choice}`)
  t.throws(() => chooseWay('kernel', bare), {
    kind: 'denied',
    message: /OPENEBS_ATTACH=kernel, but this kernel has no iscsi_tcp .*modprobe iscsi_tcp/,
  })
  t.throws(() => chooseWay('kernel', { ...able, hasNetlink: false }), {
    message: /network namespace of its own/,
  })
  t.throws(() => chooseWay('kernel', { ...able, hasSocket: true }), {
    kind: 'denied',
    message: /iscsid of its own.*systemctl disable --now/,
  })
})

t.test('the kernel as it shows itself', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'attach-'))
  t.teardown(() => rm(root, { recursive: true }))
  const [sys, proc] = [join(root, 'sys'), join(root, 'proc')]
  t.strictSame(
    await readKernel('iqn.x:a', { sys, proc }),
    { hasTransport: false, hasNetlink: false, hasSocket: false, isLoggedIn: false },
    'a kernel without all of it',
  )
  await mkdir(join(sys, 'class/iscsi_transport/tcp'), { recursive: true })
  await mkdir(join(sys, 'class/iscsi_session/session1'), { recursive: true })
  await mkdir(join(sys, 'class/iscsi_session/session2'), { recursive: true })
  await writeFile(join(sys, 'class/iscsi_session/session2/targetname'), 'iqn.x:a\n')
  await mkdir(join(proc, 'net'), { recursive: true })
  await writeFile(
    join(proc, 'net/unix'),
    'Num       RefCount Protocol Flags    Type St Inode Path\n' +
      '0000: 00000002 00000000 00010000 0001 01 900 @ISCSIADM_ABSTRACT_NAMESPACE\n',
  )
  await writeFile(
    join(proc, 'net/netlink'),
    'sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n' +
      '0000000000000000 0   0          00000000 0        0        0     2        0        11\n' +
      '0000000000000000 8   0          00000000 0        0        0     2        0        12\n',
  )
  t.strictSame(await readKernel('iqn.x:a', { sys, proc }), {
    hasTransport: true,
    hasNetlink: true,
    hasSocket: true,
    isLoggedIn: true,
  })
  t.equal((await readKernel('iqn.x:ab', { sys, proc })).isLoggedIn, false, 'another target')
  t.strictSame(await loggedIn({ sys, proc }), ['iqn.x:a'], 'a session that has just ended is none')
})

const volume = volumeRecord('v', { spec: { size: 1 << 30, fs: 'ext4', chap: true } })
const target = targetRecord('v')

t.test('create bodies where the kernel attaches', async (t) => {
  const folders = { mounts: '/m', secrets: '/s' }
  const body = (way: Way) => initiatorContainer(volume, target, 'h1', folders, 'i', [], way).body
  const { HostConfig, Labels, Env } = body('kernel')
  t.ok(Env?.includes('OPENEBS_ATTACH=kernel'))
  t.strictSame(HostConfig?.Binds, ['/m:/mounts:rshared', `/s/${volume.uuid}:/chap:ro`])
  t.strictSame(HostConfig?.CapAdd, ['SYS_ADMIN', 'MKNOD'])
  t.notOk(HostConfig?.Devices, 'neither FUSE nor loop devices')
  const rules = HostConfig?.DeviceCgroupRules ?? []
  t.equal(rules.length, 16, 'the major numbers of SCSI disks')
  for (const rule of ['b 8:* rwm', 'b 65:* rwm', 'b 71:* rwm', 'b 128:* rwm', 'b 135:* rwm'])
    t.ok(rules.includes(rule))
  t.notOk(rules.includes('b 7:* rwm'))
  t.equal(Labels?.[wayLabel], 'kernel')
  t.equal(
    Labels?.[madeForLabel],
    body('userspace').Labels?.[madeForLabel],
    'one that runs is not made anew for it',
  )

  const settings = { host: 'h1', image: 'vsm:1', security: ['name=apparmor'] }
  const iscsid = iscsidContainer(settings)
  t.match(iscsid, {
    name: 'openebs-iscsid',
    body: {
      Env: ['OPENEBS_INITIATOR=iqn.2016-09.com.openebs:initiator:h1', /./],
      HostConfig: {
        NetworkMode: 'host',
        RestartPolicy: { Name: 'always' },
        CapDrop: ['ALL'],
        SecurityOpt: ['no-new-privileges', 'apparmor=unconfined'],
      },
    },
  })
  t.notOk(iscsid.body.HostConfig?.DeviceCgroupRules, 'it touches no disk')
  t.notOk(iscsid.body.HostConfig?.Binds, 'and no file of the host: the kernel has the passwords')
  const longer = (iscsid.body.StopTimeout ?? 0) - (body('kernel').StopTimeout ?? 0)
  t.ok(longer > 0, 'initiators log out by it')
  t.notMatch(iscsid.name, ownName, 'the doctor takes it for no container of a volume')
  const logout = logoutContainer(volume, target.iqn, settings).body
  t.strictSame(logout.HostConfig?.CapDrop, ['ALL'])
  t.strictSame(logout.HostConfig?.CapAdd, ['SYS_ADMIN'])
})

t.test('whether containers can be given a mount, soon after the plugin has started', async (t) => {
  const started = 1_000_000
  const given = (visible: boolean, since: number, at: number) =>
    canBeGiven({ visible, since }, { started, at: started + at })
  t.notOk(given(false, started + 10, 60_000), 'never one that is not seen')
  t.ok(given(true, started + 10, 20), 'one that was made since, at once')
  t.notOk(given(true, started - 10, 2_000), 'one of before: the Engine may unmount it yet')
  t.ok(given(true, started - 10, 4_000), 'and no longer after some seconds')
})

t.test('whether the plugin is cut off from the folder that initiators mount in', async (t) => {
  const started = 1_000_000
  const cutOff = (began: number | undefined, at: number) =>
    isCutOff(
      { elsewhere: began === undefined ? undefined : { group: '4', began } },
      { started, at: started + at },
    )
  t.ok(cutOff(started + 10, 20_000), 'an initiator that began later mounts elsewhere')
  t.notOk(cutOff(undefined, 20_000), 'its folder is ours')
  t.notOk(cutOff(started - 10, 20_000), 'one that began before: what it has may be the older folder')
  t.notOk(cutOff(started + 10, 2_000), 'an Engine gives up a plugin that ends soon after its start')
})
