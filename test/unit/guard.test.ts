import fc from 'fast-check'
import t from 'tap'
import { findGuarded } from '../../plugin/guard/find.ts'
import { type Asked, Guard } from '../../plugin/guard/guard.ts'
import { followLinks } from '../../plugin/guard/host-links.ts'
import { withLinks } from '../../plugin/guard/on-host.ts'
import { ownSecret } from '../../plugin/guard/own-secret.ts'
import { reachesStorage, type Wish } from '../../plugin/guard/reach.ts'
import { ofContainer, ofService, ofVolume } from '../../plugin/guard/wishes.ts'
import type { Ground, World } from '../../plugin/guard/world.ts'

const target = { id: `ab${'1'.repeat(62)}`, name: 'vsm-data', role: 'target', volume: 'data' } as const
const initiator = {
  id: `cd${'2'.repeat(62)}`,
  name: 'initiator-data',
  role: 'initiator',
  volume: 'data',
} as const
const etcd = { id: `ef${'3'.repeat(62)}`, name: 'openebs-etcd', role: 'etcd' } as const
const sidecar = { id: '', name: 'openebs-registrator', role: 'registrator' } as const
const ground: Ground = {
  paths: [
    { path: '/var/lib/openebs', holds: 'volumes' },
    { path: '/var/lib/docker/plugins/p', holds: 'volumes' },
    { path: '/var/lib/docker/volumes/openebs-etcd', holds: 'the registry' },
  ],
  volumes: ['openebs-etcd'],
}

const world = (changes: Partial<World> = {}): World => ({
  host: 'h1',
  policy: () => ({ reach: 'ancestors', exceptions: [] }),
  ground: async () => ground,
  plugin: { names: ['openebs', 'openebs:latest'], id: '9'.repeat(64) },
  image: 'openebs/vsm:1',
  guarded: () => [target, initiator, etcd, sidecar],
  volumes: () => ['data', 'idle'],
  isUsed: (volume) => (volume ?? 'data') === 'data',
  users: async () => ['web'],
  resolve: async () => undefined,
  imageOf: async () => undefined,
  readLink: async () => undefined,
  elsewhere: (volume) => (volume === 'far' ? 'h2' : undefined),
  volumeOf: async () => undefined,
  pluginOf: async () => undefined,
  execOf: async () => undefined,
  stopped: async () => [],
  ...changes,
})
const secret = ownSecret()
const base64 = (text: string) => Buffer.from(text).toString('base64')
const decide = (asked: Partial<Asked> & { json?: unknown }, of: World | undefined = world()) => {
  const { json, ...others } = asked
  return new Guard(
    { isOwn: secret.isOwn, policy: () => ({ operators: ['alice'] }), within: 200 },
    () => of,
  ).decide({
    method: 'POST',
    uri: '/containers/vsm-data/stop',
    user: '',
    auth: '',
    headers: {},
    body: json === undefined ? '' : base64(JSON.stringify(json)),
    ...others,
  })
}

t.test('which container a reference means', async (t) => {
  for (const [reference, expected] of [
    ['vsm-data', target],
    ['/vsm-data', target],
    [target.id, target],
    [target.id.slice(0, 12), target],
    ['web', undefined],
    ['a', undefined],
    ['', undefined],
  ] as const)
    t.equal(await findGuarded(reference, world()), expected, reference)
  const asked: string[] = []
  const resolve = async (reference: string) => {
    asked.push(reference)
    return reference === 'ab' ? target.id : undefined
  }
  t.equal(await findGuarded('ab', world({ resolve })), target, 'a beginning that the Engine takes for it')
  t.equal(await findGuarded('cd', world({ resolve })), undefined, 'one that is the name of another')
  t.equal(await findGuarded('zz', world({ resolve })), undefined)
  t.strictSame(asked, ['ab', 'cd'], 'asked only where it may be one of ours')
})

t.test('what reaches storage', async (t) => {
  const path = (path: string, writable = true): Wish => ({ kind: 'path', path, writable })
  const table: [Wish, string][] = [
    [path('/var/lib/openebs'), 'storage ancestors devices'],
    [path('/var/lib/openebs/data', false), 'storage ancestors devices'],
    [path('/var//lib/./x/../openebs/'), 'storage ancestors devices'],
    [path('/var/lib/docker/plugins/p/propagated-mount/mounts'), 'storage ancestors devices'],
    [path('/'), 'ancestors devices'],
    [path('/', false), ''],
    [path('/var/lib/'), 'ancestors devices'],
    [path('/var/lib/openebs-other'), ''],
    [path('/var/li'), ''],
    [path('/etc'), ''],
    [{ kind: 'volume', name: 'openebs-etcd' }, 'storage ancestors devices'],
    [{ kind: 'volume', name: 'mine' }, ''],
    [{ kind: 'device', path: '/dev/loop7' }, 'storage ancestors devices'],
    [{ kind: 'device', path: '/dev' }, 'storage ancestors devices'],
    [{ kind: 'device', path: '/dev/sda' }, 'devices'],
    [{ kind: 'device', path: '/dev/fuse' }, ''],
    [{ kind: 'device', path: 'dev//loop7' }, 'storage ancestors devices'],
    [{ kind: 'device', path: '/dev/disk/by-uuid/x' }, 'storage ancestors devices'],
    [{ kind: 'device', path: '/dev/disk' }, 'storage ancestors devices'],
    [{ kind: 'device', path: '/dev/disk/by-id/ata-x' }, 'devices'],
    [{ kind: 'device', path: '/dev/block/7:0' }, 'storage ancestors devices'],
    [path('var/lib/openebs'), 'storage ancestors devices'],
    [path('/var/lib/docker/volumes/openebs-etcd/_data', false), 'storage ancestors devices'],
    [path('/var/lib/docker/volumes'), 'ancestors devices'],
    [path('/var/lib/docker/volumes/mine/_data'), ''],
    [{ kind: 'host', by: '--privileged' }, 'devices'],
  ]
  for (const [wish, expected] of table)
    t.equal(
      (['storage', 'ancestors', 'devices'] as const)
        .filter((reach) => reachesStorage(wish, ground, reach) !== undefined)
        .join(' '),
      expected,
      JSON.stringify(wish),
    )
})

t.test('what a body asks for', async (t) => {
  const path = (path: string, writable = true) => ({ kind: 'path', path, writable })
  t.strictSame(
    ofContainer({
      hostconfig: {
        BINDS: ['/a:/b', '/c:/d:ro,z', 'named:/e', '/f:/g:rw'],
        Mounts: [
          { Type: 'bind', Source: '/h', ReadOnly: true },
          { Type: 'volume', Source: 'v' },
          {
            Type: 'volume',
            VolumeOptions: { DriverConfig: { Name: 'local', Options: { o: 'bind', device: '/i' } } },
          },
          { Type: 'tmpfs', Target: '/t' },
        ],
        Devices: [{ PathOnHost: '/dev/loop1' }],
        DeviceCgroupRules: ['b 7:* rwm'],
        Privileged: true,
        CapAdd: ['NET_ADMIN', 'cap_sys_admin'],
        VolumesFrom: ['one', 'two:ro'],
        PidMode: 'container:three',
        NetworkMode: 'bridge',
      },
    }),
    {
      wishes: [
        path('/a'),
        path('/c', false),
        { kind: 'volume', name: 'named' },
        path('/f'),
        path('/h', false),
        { kind: 'volume', name: 'v' },
        path('/i'),
        { kind: 'device', path: '/i' },
        { kind: 'device', path: '/dev/loop1' },
        { kind: 'host', by: '--privileged' },
        { kind: 'host', by: "--device-cgroup-rule 'b 7:* rwm'" },
        { kind: 'host', by: '--cap-add cap_sys_admin' },
      ],
      containers: ['one', 'two', 'three'],
    },
  )
  t.strictSame(ofContainer({}), { wishes: [], containers: [] })
  t.strictSame(ofVolume({ DriverOpts: { device: '/dev/loop2' } }).wishes, [
    { kind: 'device', path: '/dev/loop2' },
  ])
  t.strictSame(
    ofVolume({ DriverOpts: { type: 'overlay', device: 'overlay', o: 'lowerdir=/a:/b,upperdir=/c,noatime' } })
      .wishes,
    [path('overlay'), { kind: 'device', path: 'overlay' }, path('/a', false), path('/b', false), path('/c')],
  )
  t.strictSame(ofVolume({ Driver: 'openebs', DriverOpts: { device: '/' } }).wishes, [])
  t.strictSame(
    ofService({ TaskTemplate: { ContainerSpec: { Mounts: [{ Type: 'bind', Source: '/s' }] } } }).wishes,
    [path('/s')],
  )
  fc.assert(
    fc.property(fc.anything(), (body) => {
      for (const read of [ofContainer, ofService, ofVolume]) read(body)
    }),
  )
})

t.test('where links of the host lead', async (t) => {
  const links: Record<string, string> = {
    '/var/lib/openebs': '/disks/one/volumes',
    '/srv/up': '../var/lib',
    '/srv/there': '/srv/up/./openebs',
    '/srv/round': 'about',
    '/srv/about': 'round',
    '/srv/self': '/srv/self/x',
    '/bin': 'usr/bin',
    '/srv/top': '../../../..',
    '/srv/disk': '/dev/loop3',
  }
  const readLink = async (path: string) => links[path]
  for (const [path, expected] of [
    ['/', '/'],
    ['/srv', '/srv'],
    ['/srv/not/there', '/srv/not/there'],
    ['/srv/up', '/var/lib'],
    ['/srv/up/x', '/var/lib/x'],
    ['/srv/there/data', '/disks/one/volumes/data'],
    ['/bin/sh', '/usr/bin/sh'],
    ['/srv/top/etc', '/etc'],
    ['/srv/round', undefined],
    ['/srv/self', undefined],
  ] as const)
    t.equal(await followLinks(path, readLink), expected, path)

  const volumeOf = async (name: string) =>
    ({
      sly: { driver: 'local', options: { type: 'none', o: 'bind', device: '/srv/there' } },
      fine: { driver: 'local', options: null },
      theirs: { driver: 'other', options: { device: '/var/lib/openebs' } },
    })[name]
  const policy = () => ({ reach: 'ancestors', exceptions: [] }) as const
  const reason = async (host: object, changes: Partial<World> = {}) => {
    const links = changes.readLink ?? readLink
    const of = world({ readLink, volumeOf, policy, ground: () => withLinks(ground, links), ...changes })
    const { verdict } = await decide({ uri: '/containers/create', json: { HostConfig: host } }, of)
    return verdict.allow ? (verdict.rule ?? 'allowed') : verdict.reason
  }
  const binds = (...all: string[]) => ({ Binds: all })
  for (const [host, expected] of [
    [
      binds('/srv/there:/x'),
      /reach storage: \/srv\/there leads to \/disks\/one\/volumes: \/disks\/one\/volumes is in \/disks\/one\/volumes, which holds volumes\. Use/,
    ],
    [
      binds('/srv/up:/x'),
      /\/srv\/up leads to \/var\/lib: \/var\/lib is writable, and \/var\/lib\/openebs in it holds volumes/,
    ],
    [binds('/srv/up:/x:ro'), /^allowed$/],
    [binds('/disks/one:/x'), /\/disks\/one is writable, and \/disks\/one\/volumes in it holds volumes/],
    [binds('/disks/two:/x', '/srv/not/there:/y', 'mine:/z'), /^allowed$/],
    [binds('sly:/x'), /volume sly leads to \/disks\/one\/volumes: /],
    [binds('fine:/x', 'theirs:/y', 'data:/z'), /^allowed$/],
    [{ Mounts: [{ Type: 'volume', Source: 'sly', Target: '/x' }] }, /volume sly leads to/],
  ] as const)
    t.match(await reason(host), expected, JSON.stringify(host))
  const create = async (device: string) => {
    const json = { Driver: 'local', DriverOpts: { type: 'ext4', device } }
    const { verdict } = await decide({ uri: '/volumes/create', json }, world({ readLink }))
    return verdict.allow ? 'allowed' : verdict.reason
  }
  t.match(await create('/srv/disk'), /\/srv\/disk leads to \/dev\/loop3: /)
  for (const device of [':/export', '//server/share', 'tmpfs', '/dev/sdb1'])
    t.equal(await create(device), 'allowed', device)
  const broken = { readLink: () => Promise.reject(new Error('EIO')) }
  t.match(await reason(binds('/a:/b'), broken), /^it could not be decided: EIO/)
  t.equal(await reason({}, broken), 'allowed', 'what asks for nothing of the host')
  const excepted = (path: string) => ({
    policy: () => ({ reach: 'ancestors', exceptions: [{ path, access: 'any', reason: 'x' }] }) as const,
  })
  t.equal(await reason(binds('/srv/there:/x'), excepted('/srv/there')), 'exception', 'the link itself')
  t.equal(await reason(binds('/srv/there:/x'), excepted('/var/lib/openebs')), 'exception', 'where it leads')
  t.match(
    await reason(binds('/srv/there:/x'), excepted('/srv')),
    /leads to/,
    'not a folder that anybody writes links in',
  )
})

t.test('decisions', async (t) => {
  const table: [string, Parameters<typeof decide>, string | undefined][] = [
    ['a target in use', [{}], 'storage-in-use'],
    [
      'an initiator in use',
      [{ uri: '/v1.41/containers/initiator-data?force=1', method: 'DELETE' }],
      'storage-in-use',
    ],
    ['one that nobody uses', [{}, world({ isUsed: () => false })], undefined],
    ['another container', [{ uri: '/containers/web/stop' }], undefined],
    ['a start', [{ uri: '/containers/vsm-data/start' }], undefined],
    ['a look', [{ uri: '/containers/vsm-data/json', method: 'GET' }], undefined],
    ['etcd', [{ uri: '/containers/openebs-etcd/stop' }, world({ isUsed: () => false })], 'operator-only'],
    ['the sidecar', [{ uri: '/containers/openebs-registrator', method: 'DELETE' }], 'operator-only'],
    ['a command in etcd', [{ uri: '/containers/openebs-etcd/exec', json: {} }], undefined],
    ['no method', [{ method: '' }], 'empty'],
    ['no path', [{ uri: '' }], 'empty'],
    ['the plugin itself', [{ headers: secret.headers }], undefined],
    [
      'with a header that is not its',
      [{ headers: { 'X-Openebs-Plugin': 'f'.repeat(64) } }],
      'storage-in-use',
    ],
    ['an operator', [{ user: 'alice', auth: 'TLS' }], undefined],
    ['one who says so', [{ user: 'alice' }], 'storage-in-use'],
    ['somebody else', [{ user: 'bob', auth: 'TLS' }], 'storage-in-use'],
    ['break-glass', [{ headers: { 'X-OpenEBS-Break-Glass': 'disk' } }], undefined],
    ['break-glass without a reason', [{ headers: { 'X-Openebs-Break-Glass': ' ' } }], 'storage-in-use'],
    ['a create without a body', [{ uri: '/containers/create' }], 'no-body'],
    ['a create with half a body', [{ uri: '/containers/create', body: base64('{"a":') }], 'bad-body'],
    ['a create', [{ uri: '/containers/create', json: { Image: 'x' } }], undefined],
    ['a bind', [{ uri: '/containers/create', json: { HostConfig: { Binds: ['/:/x'] } } }], 'reaches-storage'],
    [
      'a join',
      [{ uri: '/containers/create', json: { HostConfig: { PidMode: `container:${target.id}` } } }],
      'storage-in-use',
    ],
    ['a commit', [{ uri: '/v1.41/commit?container=vsm-data&pause=0' }], 'storage-in-use'],
    ['a commit of another', [{ uri: '/commit?container=web' }], undefined],
    ['a commit of two', [{ uri: '/commit?container=web&container=vsm-data' }], 'odd-path'],
    [
      'a commit by a form',
      [
        {
          uri: '/commit?container=web',
          headers: { 'Content-type': 'application/x-www-form-urlencoded; charset=utf-8' },
        },
      ],
      'bad-body',
    ],
    ['a volume in use', [{ uri: '/volumes/data', method: 'DELETE' }], 'volume-in-use'],
    ['a volume of another host', [{ uri: '/volumes/far?force=1', method: 'DELETE' }], 'volume-elsewhere'],
    ['an idle volume', [{ uri: '/volumes/idle', method: 'DELETE' }], undefined],
    ['the plugin', [{ uri: '/plugins/openebs/disable?force=1' }], 'plugin-in-use'],
    [
      'the plugin by another name',
      [
        { uri: '/plugins/openebs/registrator:1/disable?force=1' },
        world({ pluginOf: async (name) => (name === 'openebs/registrator:1' ? '9'.repeat(64) : undefined) }),
      ],
      'plugin-in-use',
    ],
    ['another plugin', [{ uri: '/plugins/other/disable' }], undefined],
    ['the image', [{ uri: '/images/openebs/vsm:1', method: 'DELETE' }], 'image-in-use'],
    [
      'the image by its ID',
      [
        { uri: '/images/abc', method: 'DELETE' },
        world({
          imageOf: async (name) => (['abc', 'openebs/vsm:1'].includes(name) ? 'sha256:abc' : 'sha256:d'),
        }),
      ],
      'image-in-use',
    ],
    [
      'another image',
      [{ uri: '/images/web', method: 'DELETE' }, world({ imageOf: async (name) => name })],
      undefined,
    ],
    ['an image that is not there', [{ uri: '/images/web', method: 'DELETE' }], undefined],
    ['a prune', [{ uri: '/containers/prune' }], undefined],
    [
      'a prune of what is down',
      [{ uri: '/containers/prune' }, world({ stopped: async () => [target.id] })],
      'storage-in-use',
    ],
    [
      'off the network',
      [{ uri: '/networks/bridge/disconnect', json: { Container: 'vsm-data' } }],
      'storage-in-use',
    ],
    [
      'a command that was prepared',
      [{ uri: '/exec/e1/start', json: {} }, world({ execOf: async () => target.id })],
      'storage-in-use',
    ],
    [
      'an Engine that does not answer',
      [{ uri: '/containers/ab/stop' }, world({ resolve: () => new Promise(() => {}) })],
      'late',
    ],
    [
      'an Engine that fails',
      [{ uri: '/containers/ab/stop' }, world({ resolve: () => Promise.reject(new Error('x')) })],
      'undecided',
    ],
  ]
  for (const [what, args, rule] of table) {
    const { verdict } = await decide(...args)
    t.equal(verdict.allow, rule === undefined, what)
    if (!verdict.allow) t.equal(verdict.rule, rule, `${what}: ${verdict.reason}`)
  }
  const starting = new Guard(
    { isOwn: secret.isOwn, policy: () => ({ operators: [] }), within: 200 },
    () => undefined,
  )
  const ask = (uri: string) =>
    starting.decide({ method: 'POST', uri, user: '', auth: '', headers: {}, body: '' })
  t.match((await ask('/containers/any/stop')).verdict, { allow: false, rule: 'starting' })
  t.match((await ask('/images/create?fromImage=x')).verdict, { allow: true })
  t.match((await decide({})).verdict, {
    reason:
      'vsm-data cannot be stopped: it serves volume data, which container web on host h1 uses. Stop web first',
  })
})
