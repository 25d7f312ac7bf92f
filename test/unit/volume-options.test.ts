import t from 'tap'
import { initiatorContainer, madeForLabel, targetContainer } from '../../plugin/container-bodies.ts'
import { Observer } from '../../plugin/observer.ts'
import { type Holder, judge } from '../../plugin/volume-health.ts'
import { extraOptions, parseOptions, showOptions } from '../../plugin/volume-options.ts'
import { pause, until } from '../../process/backoff.ts'
import { createLog } from '../../process/log.ts'
import { Volume, type VolumeSpec } from '../../registry/records.ts'
import { targetRecord, volumeRecord } from '../support/records.ts'

const plain = { size: 2 ** 30, fs: 'ext4', chap: true } as const
/** As volumes were before there was any other option. */
const old = { size: 2 ** 30, fs: 'ext4' } as const

t.test('each option becomes a field of the spec, in one form', async (t) => {
  const table: [Record<string, string>, Partial<VolumeSpec>][] = [
    [{ mount: 'noatime commit=30' }, { mount: 'commit=30,noatime' }],
    [{ mount: 'commit=30, noatime,' }, { mount: 'commit=30,noatime' }],
    [{ mount: 'data=journal,lazytime' }, { mount: 'data=journal,lazytime' }],
    [{ mkfs: 'reserved=5,inode_ratio=65536' }, { mkfs: 'inode_ratio=65536,reserved=5' }],
    [
      { fs: 'xfs', mkfs: 'inode_size=1024', mount: 'logbsize=256k' },
      { fs: 'xfs', mkfs: 'inode_size=1024', mount: 'logbsize=256k' },
    ],
    [{ provision: 'full' }, { provision: 'full' }],
    [{ access: 'read-only' }, { access: 'read-only' }],
    [{ image: 'registry.example:5000/openebs/vsm:1.0' }, { image: 'registry.example:5000/openebs/vsm:1.0' }],
    [{ memory: '64M' }, { memory: 64 * 2 ** 20 }],
    [{ cpus: '1.5' }, { cpus: 1.5 }],
    [
      { uid: '1000', gid: '4294967294', mode: '750' },
      { uid: 1000, gid: 2 ** 32 - 2, mode: '0750' },
    ],
    [{ mode: '2775' }, { mode: '2775' }],
  ]
  for (const [given, expected] of table)
    t.strictSame(parseOptions(given), { ...plain, ...expected }, JSON.stringify(given))
})

t.test('what is asked for as it is anyway is not asked for', async (t) => {
  const given = { provision: 'thin', access: 'read-write', uid: '0', gid: '0', mode: '755', size: '1024M' }
  t.strictSame(parseOptions(given), plain)
})

t.test('what is wrong, what was expected and which options exist', async (t) => {
  const table: [Record<string, string>, RegExp][] = [
    [
      { mount: 'noexec' },
      /mount=noexec is not offered for ext4: expected some of noatime, .*, commit=<1 to 300>, data=<ordered\|journal>, with commas or blanks/,
    ],
    [{ mount: 'commit' }, /mount=commit is not offered/],
    [{ mount: 'commit=0' }, /mount=commit=0 is not offered/],
    [{ mount: 'commit=5;reboot' }, /mount=commit=5;reboot is not offered/],
    [{ mount: 'noatime=1' }, /mount=noatime=1 is not offered/],
    [{ mount: 'data=writeback' }, /mount=data=writeback is not offered/],
    [{ mount: 'logbsize=64k' }, /mount=logbsize=64k is not offered for ext4/],
    [
      { mount: 'commit=5', fs: 'xfs' },
      /mount=commit=5 is not offered for xfs: expected some of .*logbsize=</,
    ],
    [{ mount: '' }, /mount= is not offered/],
    [{ mount: 'constructor' }, /mount=constructor is not offered/],
    [{ mount: 'commit=5,commit=6' }, /mount=commit=5,commit=6 names commit twice/],
    [{ mount: 'noatime,relatime' }, /asks for noatime and relatime: expected one of them/],
    [{ mkfs: '-F' }, /mkfs=-F is not offered for ext4: expected some of inode_ratio=<4096 to 67108864>/],
    [{ mkfs: 'reserved=$(id)' }, /mkfs=reserved=\$\(id\) is not offered/],
    [{ mkfs: 'reserved=51' }, /mkfs=reserved=51 is not offered/],
    [{ provision: 'thick' }, /provision=thick is not known: expected thin or full/],
    [{ access: 'ro' }, /access=ro is not known: expected read-write or read-only/],
    [{ image: '-v' }, /image=-v is no reference of an image/],
    [{ image: 'a b' }, /image=a b is no reference/],
    [{ memory: '63M' }, /memory=63M is no limit for a target: expected 64M or more/],
    [{ memory: 'lots' }, /memory=lots is no limit/],
    [{ cpus: '0.01' }, /cpus=0.01 is no limit for a target: expected 0.1 or more/],
    [{ cpus: '1e3' }, /cpus=1e3 is no limit/],
    [{ uid: '-1' }, /uid=-1 is no id: expected a number from 0 to 4294967294/],
    [{ uid: '4294967295' }, /uid=4294967295 is no id/],
    [{ gid: 'root' }, /gid=root is no id/],
    [{ mode: '4755' }, /mode=4755 is no mode of a folder: expected three or four octal digits/],
    [{ mode: '0788' }, /mode=0788 is no mode/],
    [
      { acces: 'read-only' },
      /unknown option "acces": known options are size, fs, chap, mkfs, mount, provision, access, image, memory, cpus, uid, gid, mode/,
    ],
    [{ size: '1M', mount: 'x', mkfs: 'y' }, /size=1M is out of range.*mkfs=y is not.*mount=x is not/],
  ]
  for (const [options, message] of table)
    t.throws(() => parseOptions(options), { kind: 'invalid', message }, JSON.stringify(options))
})

t.test('a spec is shown by the names of its options, and only what was asked for', async (t) => {
  const spec = parseOptions({ access: 'read-only', mount: 'noatime', uid: '7' })
  t.equal(showOptions(spec), 'size=1073741824 fs=ext4 chap=on mount=noatime access=read-only uid=7')
  t.strictSame(extraOptions(spec), { mount: 'noatime', access: 'read-only', uid: 7 })
  t.strictSame(extraOptions(plain), {})
  t.strictSame(extraOptions({ ...plain, colour: 'blue' }), {}, 'of a newer version')
})

const record = (spec: object): Volume => Volume.parse({ ...volumeRecord('v'), spec })
const bodies = (spec: object) => {
  const target = targetRecord('v')
  return {
    target: targetContainer(record(spec), target, '/r', 'vsm:own').body,
    initiator: initiatorContainer(record(spec), target, 'h1', { mounts: '/m', secrets: '/s' }, 'vsm:own', [])
      .body,
  }
}

t.test('a volume without options has the containers of ever', async (t) => {
  const { target, initiator } = bodies(old)
  const names = (env: string[] | undefined) => env?.map((variable) => variable.split('=')[0])
  t.strictSame(
    names(target.Env),
    ['VOLUME', 'UUID', 'SIZE', 'FS', 'IQN', 'EPOCH', 'INITIATOR', 'STOP_WAIT'].map((n) => `OPENEBS_${n}`),
  )
  t.strictSame(
    names(initiator.Env),
    ['VOLUME', 'UUID', 'PORTAL', 'IQN', 'FS', 'INITIATOR', 'EPOCH'].map((n) => `OPENEBS_${n}`),
  )
  t.equal(target.Labels?.[madeForLabel], '172.17.0.1:23260 epoch 1')
  t.equal(initiator.Labels?.[madeForLabel], '172.17.0.1:23260 epoch 1 in /m')
  t.strictSame(initiator.HostConfig?.CapAdd, ['SYS_ADMIN', 'MKNOD'])
  t.equal(initiator.Image, 'vsm:own')
  for (const { HostConfig } of [target, initiator]) {
    t.notOk(HostConfig && 'Memory' in HostConfig)
    t.notOk(HostConfig && 'NanoCpus' in HostConfig)
  }
})

t.test('what was asked for stands in the containers', async (t) => {
  const spec = parseOptions({
    mkfs: 'reserved=5',
    mount: 'noatime',
    provision: 'full',
    access: 'read-only',
    image: 'my/vsm:2',
    memory: '128M',
    cpus: '0.5',
    uid: '1000',
    mode: '0700',
  })
  const { target, initiator } = bodies(spec)
  t.match(target, { Image: 'my/vsm:2', HostConfig: { Memory: 128 * 2 ** 20, NanoCpus: 500_000_000 } })
  for (const variable of ['OPENEBS_MKFS=reserved=5', 'OPENEBS_PROVISION=full'])
    t.ok(target.Env?.includes(variable), variable)
  t.equal(initiator.Image, 'my/vsm:2')
  for (const variable of ['MOUNT=noatime', 'ACCESS=read-only', 'UID=1000', 'MODE=0700'])
    t.ok(initiator.Env?.includes(`OPENEBS_${variable}`), variable)
  t.notOk(initiator.HostConfig && 'Memory' in initiator.HostConfig, 'an initiator has no limits')
  t.strictSame(initiator.HostConfig?.CapAdd, ['SYS_ADMIN', 'MKNOD', 'CHOWN'], 'to give the folder away')
  t.match(initiator.Labels?.[madeForLabel], / in \/m with mkfs=reserved=5 mount=noatime .*mode=0700$/)
})

t.test('which containers hold a dead mount', async (t) => {
  const old = { name: 'old', started: 100 }
  const late = { name: 'late', started: 300 }
  const table: [string, number | undefined, Holder[], object][] = [
    ['nobody uses it', 200, [], { health: 'healthy' }],
    ['started on the mount of now', 200, [late], { health: 'healthy' }],
    ['one is of before', 200, [late, old], { health: 'degraded', degraded: ['old'] }],
    ['no mount is served', undefined, [late, old], { health: 'degraded', degraded: ['late', 'old'] }],
    ['no mount, no user', undefined, [], { health: 'not mounted' }],
  ]
  for (const [what, since, holders, expected] of table) t.strictSame(judge(since, holders), expected, what)
})

t.test(
  'the observer tells what it saw, asks no more than it must, and waits for nothing that hangs',
  async (t) => {
    let now = 0
    let since: number | undefined = 200
    let holders: Holder[] = []
    let asked = 0
    let used = async () => 4096
    const observer = new Observer(
      {
        attached: () => ['v'],
        served: async () => (since === undefined ? undefined : { since, way: 'kernel' as const }),
        used: () => used(),
        holders: async () => {
          asked++
          return holders
        },
      },
      createLog('test', 'silent'),
      () => now,
    )
    const look = async () => {
      observer.look('v')
      await pause(20)
    }
    t.strictSame(observer.seen('v'), {}, 'nothing yet')
    await look()
    t.strictSame(observer.seen('v'), { attach: 'kernel', health: 'healthy', used: 4096 })
    await look()
    t.equal(asked, 1, 'the same mount is served: the Engine is not asked again')

    since = undefined
    holders = [{ name: 'web', started: 100 }]
    await look()
    t.strictSame(observer.seen('v'), { health: 'degraded', degraded: ['web'] }, 'and nothing of its use')
    since = 400
    let hanging = 0
    used = () => {
      hanging++
      return new Promise(() => {})
    }
    await look()
    t.strictSame(
      observer.seen('v'),
      { attach: 'kernel', health: 'degraded', degraded: ['web'] },
      'the new mount is not theirs',
    )
    holders = [{ name: 'web', started: 500 }]
    await look()
    t.strictSame(observer.seen('v'), { attach: 'kernel', health: 'healthy' }, 'started anew')
    t.equal(hanging, 1, 'one look at a mount that hangs, not one each time')
    now = 60_000
    t.strictSame(observer.seen('v'), {}, 'what is too old is not told')

    const stop = new AbortController()
    const running = observer.run(stop.signal)
    t.ok(await until(() => observer.seen('v').health, { ms: 5000 }), 'it looks by itself')
    stop.abort()
    await running
  },
)
