import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import {
  eraseContainer,
  initiatorContainer,
  mountSecurity,
  targetContainer,
} from '../../plugin/container-bodies.ts'
import { errorLine } from '../../plugin/engine.ts'
import { LocalCopy, type LocalVolume } from '../../plugin/local-copy.ts'
import { parseMountInfo, pluginId } from '../../plugin/mount-table.ts'
import { pickPortal } from '../../plugin/portals.ts'
import { addReference, dropReference, isReferenced } from '../../plugin/references.ts'
import { isOwedStart } from '../../plugin/revival.ts'
import { settings } from '../../plugin/settings.ts'
import { checkName, parseNewSize, parseOptions, parseSize } from '../../plugin/volume-options.ts'
import { isFailure } from '../../process/failure.ts'
import { createLog } from '../../process/log.ts'
import { readSettings } from '../../process/settings.ts'
import { targetRecord, volumeRecord } from '../support/records.ts'

const log = createLog('test', 'silent')
const entry = (name = 'v'): LocalVolume => ({
  volume: volumeRecord(name),
  target: targetRecord(name),
  references: {},
})

t.test('a bad name is refused with a sentence that says what a name may be', async (t) => {
  for (const name of ['', 'a/../b', '-x', 'x'.repeat(300), 'größe', 'a b', '.', '..', 'a\n', '../x', 'x'])
    t.throws(
      () => checkName(name),
      { message: /cannot name a volume: a name has 2 to 64 letters/ },
      JSON.stringify(name.slice(0, 20)),
    )
  for (const name of ['ab', 'A-1_b.c', '00', 'x'.repeat(64)]) t.equal(checkName(name), name)
})

t.test('sizes', async (t) => {
  const table: [string, number | undefined][] = [
    ['256M', 256 * 2 ** 20],
    ['10G', 10 * 2 ** 30],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['1gb', 2 ** 30],
    ['1048576', 2 ** 20],
    ['1Q', undefined],
    ['1e99', undefined],
    ['-1', undefined],
    ['', undefined],
    ['M', undefined],
    ['0x10', undefined],
    ['999999999999999T', undefined],
  ]
  for (const [text, bytes] of table) t.equal(parseSize(text), bytes, JSON.stringify(text))
})

t.test('the size that a volume is to grow to', async (t) => {
  t.equal(parseNewSize('2G'), 2 ** 31)
  t.equal(parseNewSize('16T'), 2 ** 44)
  t.equal(parseNewSize('16777217'), 16_781_312, 'in whole blocks')
  t.throws(() => parseNewSize('big'), { message: /^"big" is no size: expected a number with a unit/ })
  t.throws(() => parseNewSize(''), { message: /^"" is no size/ })
  t.throws(() => parseNewSize('17T'), { message: /^17T is out of range: a volume has 16T at most/ })
})

t.test('options: what is wrong and what is known stands in the error', async (t) => {
  t.strictSame(parseOptions(undefined), { size: 2 ** 30, fs: 'ext4', chap: true })
  t.strictSame(parseOptions({ size: '300M', fs: 'xfs', chap: 'off' }), {
    size: 300 * 2 ** 20,
    fs: 'xfs',
    chap: false,
  })
  const table: [Record<string, string>, RegExp][] = [
    [{ size: '0' }, /size=0 is out of range: ext4 takes 16M to 16T/],
    [{ size: '-1' }, /size=-1 is no size: expected a number with a unit K, M, G or T/],
    [{ size: '1Q' }, /size=1Q is no size/],
    [{ size: '1e99' }, /size=1e99 is no size/],
    [{ size: '17T' }, /size=17T is out of range/],
    [{ size: '100M', fs: 'xfs' }, /out of range: xfs takes 300M to 16T/],
    [{ fs: 'ntfs' }, /fs=ntfs is not known: expected ext4 or xfs/],
    [{ chap: 'no' }, /chap=no is not known: expected on or off/],
    [{ sise: '1G' }, /unknown option "sise": known options are size, fs, chap/],
    [{ size: '1Q', fs: 'ntfs', x: 'y' }, /size=1Q.*fs=ntfs.*unknown option "x"/],
  ]
  for (const [options, message] of table)
    t.throws(() => parseOptions(options), { kind: 'invalid', message }, JSON.stringify(options))
})

t.test('references count per id and never go below none', async (t) => {
  const ids = fc.constantFrom('a', 'b', 'c')
  const steps = fc.array(fc.record({ id: ids, add: fc.boolean() }), { maxLength: 40 })
  fc.assert(
    fc.property(steps, (all) => {
      const counts = new Map<string, number>()
      let now = entry()
      for (const { id, add } of all) {
        counts.set(id, Math.max(0, (counts.get(id) ?? 0) + (add ? 1 : -1)))
        now = add ? addReference(now, id) : dropReference(now, id)
      }
      const expected = Object.fromEntries([...counts].filter(([, count]) => count > 0))
      return (
        JSON.stringify(sorted(now.references)) === JSON.stringify(sorted(expected)) &&
        isReferenced(now) === Object.keys(expected).length > 0
      )
    }),
  )
  const attachment = {
    volume: 'v',
    host: 'h1',
    epoch: 1,
    state: 'idle' as const,
    since: '2026-01-01T00:00:00.000Z',
  }
  const claimed = addReference({ ...entry(), attachment }, 'a')
  t.equal(claimed.attachment?.state, 'claimed')
  t.equal(
    dropReference(addReference(claimed, 'b'), 'a').attachment?.state,
    'claimed',
    'still used under another id',
  )
  t.equal(dropReference(claimed, 'a').attachment?.state, 'idle')
})
const sorted = (of: Record<string, number>) => Object.entries(of).sort()

t.test('the mount table', async (t) => {
  const id = 'f'.repeat(64)
  const mounts = parseMountInfo(
    [
      '22 1 0:21 / /proc rw,nosuid shared:5 - proc proc rw',
      `700 680 254:0 /plugins/${id}/propagated-mount /data rw,relatime shared:300 - ext4 /dev/vdb rw`,
      '701 700 7:3 / /data/mounts/a\\040b rw shared:301 - ext4 /dev/loop3 rw,errors=remount-ro',
      '',
    ].join('\n'),
  )
  t.equal(mounts.length, 3)
  t.equal(mounts[2]?.mountPoint, '/data/mounts/a b')
  t.equal(pluginId(mounts, '/data'), id, 'also where the data root is a file system of its own')
  t.equal(pluginId(mounts, '/proc'), undefined)
  const below = parseMountInfo(`1 0 0:1 /plugins/${id}/propagated-mount/x /data rw - ext4 /dev/vdb rw`)
  t.equal(pluginId(below, '/data'), undefined, 'a folder below is not the mount')
})

t.test('create bodies', async (t) => {
  const { volume, target } = entry()
  if (!target) throw new Error('the example has a target')
  const vsm = targetContainer(volume, target, '/var/lib/openebs', 'openebs/vsm:1')
  t.equal(vsm.name, 'vsm-v')
  t.match(vsm.body, {
    Labels: {
      'openebs.role': 'target',
      'openebs.volume': 'v',
      'openebs.epoch': '1',
      'vsm.openebs.io/iqn': 'iqn.2016-09.com.openebs:v',
    },
    HostConfig: {
      Binds: ['/var/lib/openebs/v:/lun'],
      PortBindings: { '3260/tcp': [{ HostIp: '172.17.0.1', HostPort: '23260' }] },
      RestartPolicy: { Name: 'always' },
      CapDrop: ['ALL'],
    },
    Healthcheck: { Test: ['CMD', 'openebs-target-health'] },
  })
  t.notOk(vsm.body.HostConfig?.Privileged)
  t.notOk(vsm.body.HostConfig?.CapAdd, 'a target needs no capability')
  const folders = { mounts: '/m', secrets: '/s' }
  const withLogin = { ...volume, spec: { ...volume.spec, chap: true } }
  const login = initiatorContainer(withLogin, target, 'h1', folders, 'i', []).body
  t.strictSame(login.HostConfig?.Binds, ['/m:/mounts:rshared', `/s/${volume.uuid}:/chap:ro`])
  for (const { Env = [] } of [login, targetContainer(withLogin, target, '/r', 'i').body])
    t.ok(Env.includes('OPENEBS_CHAP=yes'))
  const security: [string[], string[]][] = [
    [[], []],
    [['name=seccomp,profile=default'], []],
    [['name=apparmor', 'name=seccomp,profile=default'], ['apparmor=unconfined']],
    [['name=selinux'], ['label=disable']],
    [
      ['name=apparmor', 'name=selinux'],
      ['apparmor=unconfined', 'label=disable'],
    ],
  ]
  for (const [options, expected] of security) {
    t.strictSame(mountSecurity(options), expected, options.join(' ') || 'none')
    const { body } = initiatorContainer(volume, target, 'h1', folders, 'i', options)
    t.strictSame(body.HostConfig?.SecurityOpt, ['no-new-privileges', ...expected])
    const selinux = options.includes('name=selinux') ? ['label=disable'] : []
    for (const { body } of [
      targetContainer(volume, target, '/r', 'i', options),
      eraseContainer(volume, '/r', 'i', options),
    ])
      t.strictSame(body.HostConfig?.SecurityOpt, ['no-new-privileges', ...selinux])
    t.strictSame(body.HostConfig?.Binds, ['/m:/mounts:rshared'])
    t.notOk(body.HostConfig?.Privileged)
  }
})

t.test('the local copy is whole after a restart, and knows what it cannot know', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'local-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const first = new LocalCopy(folder, log)
  await first.load()
  await first.put(addReference(entry('a'), 'id1'))
  await first.put(entry('b'))
  await first.delete('b')
  await writeFile(join(folder, 'torn.json'), '{"volume":')
  const second = new LocalCopy(folder, log)
  await second.load()
  t.strictSame(second.get('a'), addReference(entry('a'), 'id1'))
  t.equal(second.get('b'), undefined)
  t.equal(second.get('never'), undefined)
  t.throws(() => second.get('torn'), { kind: 'unavailable', message: /cannot be read/ }, 'not "gone"')
  t.strictSame((await readdir(folder)).sort(), ['a.json', 'torn.json'], 'no half-written file stays')
})

t.test('a portal gets a port that is free and no one has; none left is said', async (t) => {
  const portal = await pickPortal('127.0.0.1', { first: 24000, last: 24999 }, new Set())
  const port = Number(portal.split(':')[1])
  t.match(portal, /^127\.0\.0\.1:24\d\d\d$/)
  t.not(await pickPortal('127.0.0.1', { first: port, last: 24999 }, new Set([port])), portal)
  const none = pickPortal('127.0.0.1', { first: port, last: port }, new Set([port]))
  await t.rejects(pickPortal('203.0.113.1', { first: port, last: port }, new Set()), {
    message: /no address 203\.0\.113\.1/,
  })
  await t.rejects(none, { kind: 'unavailable', message: /no free port .* widen OPENEBS_PORTS/ })
})

t.test('a wrong setting is named with what was expected, a typo too', async (t) => {
  t.throws(() => readSettings(settings, { OPENEBS_PORTS: '9-1' }), {
    kind: 'invalid',
    message: /OPENEBS_PORTS: expected a range within 1-65535, not "9-1"/,
  })
  t.throws(() => readSettings(settings, { OPENEBS_STROE: 'x' }), {
    message: /OPENEBS_STROE[\s\S]*Known settings: OPENEBS_STORE/,
  })
  t.strictSame(readSettings(settings, { OPENEBS_HOST: '', PATH: '/bin' }).OPENEBS_HOST, undefined)
  t.ok(isFailure(new Error('x')) === false)
})

t.test('which containers the Engine owes a start', async (t) => {
  const mount =
    "error while mounting volume '/x': VolumeDriver.Mount: openebs: volume v is not mounted after 110 s"
  const table: [string, string, boolean][] = [
    ['always', mount, true],
    ['unless-stopped', mount, true],
    [
      'always',
      'get v: error while checking if volume "v" exists in driver "openebs:latest": error looking up volume plugin openebs:latest: plugin openebs:latest found but disabled',
      true,
    ],
    ['always', 'get openebs: error looking up volume plugin other: plugin "other" not found', false],
    ['no', mount, false],
    ['on-failure', mount, false],
    ['always', '', false],
    ['always', 'driver failed programming external connectivity', false],
    ['always', "error while mounting volume '': other: nothing of ours", false],
  ]
  for (const [restartPolicy, error, owed] of table)
    t.equal(isOwedStart({ id: 'i', name: 'n', restartPolicy, error }), owed, `${restartPolicy}: ${error}`)
})

t.test("our entrypoints' last error line", async (t) => {
  t.equal(errorLine('x\n\u0001openebs: error: first\nopenebs: error: disk is full\nbye\n'), 'disk is full')
  t.equal(errorLine('all well'), undefined)
})
