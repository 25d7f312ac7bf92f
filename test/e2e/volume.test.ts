import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PluginHost, vsmImage } from '../support/plugin-host.ts'
import { callPlugin } from '../support/plugin-socket.ts'
import { differences } from '../support/truth.ts'

/**
 * The managed plugin in a real Engine, with authz on, the sidecar beside it, and a real etcd: what a user sees, by
 * docker and etcdctl alone.
 */
const host = await PluginHost.start(t, { authz: true, settings: { OPENEBS_PORTS: '23260-23264' } })
await host.startSidecar()
const { docker, tryDocker } = host.engine
const before = await host.traces()
const create = (name: string, ...options: string[]) =>
  docker('volume', 'create', '-d', 'openebs', ...options.flatMap((option) => ['-o', option]), name)

/** A test that leaves nothing on the host, which is part of it. */
const scenario = (name: string, run: (t: Test) => Promise<void>) =>
  t.test(name, async (t) => {
    t.teardown(() => host.tidy())
    await run(t)
    t.strictSame(await host.traces(), before, 'nothing is left of it')
  })

scenario('what one container writes another reads, after the first is gone', async (t) => {
  await create('data', 'size=64M')
  const written = await host.shell(
    ['data:/d'],
    'dd if=/dev/urandom of=/d/f bs=1k count=512 2>/dev/null; sync /d/f; cksum /d/f',
  )
  t.equal(await host.shell(['data:/d'], 'cksum /d/f'), written)
  const [volume] = JSON.parse(await docker('volume', 'inspect', 'data'))
  t.match(volume, {
    Driver: 'openebs:latest',
    Scope: 'global',
    Status: {
      phase: 'ready',
      host: 'h1',
      size: 64 * 2 ** 20,
      fs: 'ext4',
      chap: true,
      vsm: 'vsm-data',
      epoch: 1,
      uses: 0,
    },
  })
  t.match(
    volume.Status.portal,
    /^172\.\d+\.\d+\.\d+:2326[0-4]$/,
    'bound to the bridge: only this host reaches it',
  )
  t.match(
    await host.engine.net('iscsi-ls', `iscsi://${volume.Status.portal}/`),
    /Target:iqn\.2016-09\.com\.openebs:data/,
    'which tells its target; its LUN only to who has the password',
  )
  const file = await stat(join(host.root, 'data', 'data.img'))
  t.equal(file.size, 64 * 2 ** 20)

  t.comment('target and initiator are removed: the next use makes them anew')
  await docker('rm', '-f', 'vsm-data', 'initiator-data')
  t.equal(await host.shell(['data:/d'], 'cksum /d/f'), written, 'through a new target and a new initiator')
  await docker('volume', 'rm', 'data')
  t.notOk(await stat(join(host.root, 'data')).catch(() => undefined), 'rm removes the data')
})

scenario('the password of a volume is told to its two ends, and stands nowhere else', async (t) => {
  await create('locked', 'size=64M')
  t.equal(await host.shell(['locked:/d'], 'echo 1 >/d/f; sync /d/f; cat /d/f'), '1')
  const [, password = ''] = (await readFile(join(host.root, 'locked', 'chap'), 'utf8')).trim().split(' ')
  t.match(password, /^[\w-]{32}$/)
  const stored = JSON.parse(await host.etcdctl('get', '--print-value-only', '/openebs/v1/secrets/locked'))
  t.match(stored, { volume: 'locked', epoch: 1, password })
  const [{ Status }] = JSON.parse(await docker('volume', 'inspect', 'locked'))
  const url = (login: string) => `iscsi://${login}${Status.portal}/${Status.iqn}/1`
  await t.rejects(host.engine.net('iscsi-inq', url('')), 'nobody is let in without it')
  t.match(await host.engine.net('iscsi-inq', url(`epoch-1%${password}@`)), /Vendor:OpenEBS/)
  const others = (await host.etcdctl('get', '--prefix', '/openebs/v1/'))
    .split('\n')
    .filter((line) => line.includes(password))
  t.equal(others.length, 1, 'one key of etcd has it')
  for (const name of ['vsm-locked', 'initiator-locked'])
    for (const shown of [
      await docker('inspect', name),
      await docker('logs', name),
      await docker('top', name, '-eo', 'pid,args'),
    ])
      t.notMatch(shown, password, `${name} does not show it`)
  t.notMatch(await readFile(join(host.engine.folder, 'dockerd.log'), 'utf8'), password, 'nor does the log')

  t.comment('without CHAP, by an option')
  await create('open', 'size=64M', 'chap=off')
  t.equal(await host.shell(['open:/d'], 'echo 2 >/d/f; cat /d/f'), '2')
  const portal = JSON.parse(await docker('volume', 'inspect', 'open'))[0].Status.portal
  t.match(await host.engine.net('iscsi-ls', '-s', `iscsi://${portal}/`), /openebs:open[\s\S]*Lun:1/)
  await docker('volume', 'rm', 'locked', 'open')
  t.equal(
    (await host.etcdctl('get', '--prefix', '/openebs/v1/secrets/')).trim(),
    '',
    'it goes with its volume',
  )
})

scenario('two containers share a volume; docker cp does not detach it', async (t) => {
  await create('shared', 'size=64M')
  const loop = 'echo $$ >/d/pid; while :; do date >>/d/log; sync /d/log; sleep 0.2; done'
  await host.service('one', 'shared:/d', loop)
  t.match(await host.shell(['shared:/d'], 'cat /d/pid'), /^\d+$/)
  for (let n = 0; n < 3; n++) await docker('cp', 'one:/d/pid', join(host.engine.folder, `pid-${n}`))
  const size = async () =>
    Number(await docker('exec', 'one', 'wc', '-c', '/d/log').then((text) => text.split(' ')[0]))
  const then = await size()
  await host.until('the container writes on', async () => (await size()) > then)
  const refused = await tryDocker('volume', 'rm', 'shared')
  t.match(refused, { code: 1, stderr: /volume is in use/ })
  const [{ Status }] = JSON.parse(await docker('volume', 'inspect', 'shared'))
  t.equal(Status.uses, 1, 'the copies are counted off again')
  await docker('rm', '-f', 'one')
  await host.until('the volume is idle', async () =>
    (await host.etcdctl('get', '/openebs/v1/attachments/shared')).includes('"idle"'),
  )
  await docker('volume', 'rm', 'shared')
})

scenario('xfs, sizes with units, and volumes without a name', async (t) => {
  await create('xfs', 'fs=xfs', 'size=0.3G')
  t.match(await host.shell(['xfs:/d'], 'grep " /d " /proc/mounts'), / \/d xfs rw/)
  await docker('volume', 'rm', 'xfs')
  const unnamed = (await docker('volume', 'create', '-d', 'openebs', '-o', 'size=16M')).trim()
  t.match(unnamed, /^[0-9a-f]{64}$/)
  t.equal(await host.shell([`${unnamed}:/d`], 'echo 1 >/d/f; cat /d/f'), '1')
  await docker('volume', 'rm', unnamed)
})

scenario('a volume of many wishes, and what inspect says of it', async (t) => {
  const wishes = [
    'mount=noatime commit=30',
    'provision=full',
    'memory=64M',
    'cpus=0.5',
    'uid=1000',
    'mode=0700',
  ]
  await create('picky', 'size=16M', ...wishes)
  const seen = await host.shell(
    ['picky:/d'],
    'stat -c "%u %a" /d; grep " /d " /proc/mounts; head -c 3M /dev/urandom >/d/f; sync /d/f',
  )
  t.match(seen, /^1000 700\n.* \/d ext4 rw,noatime.*commit=30/)
  const status = async () => JSON.parse(await docker('volume', 'inspect', 'picky'))[0].Status
  await host.until('the space that is used is shown', async () => (await status()).used > 3 * 2 ** 20)
  t.match(await status(), {
    mount: 'commit=30,noatime',
    provision: 'full',
    memory: 64 * 2 ** 20,
    cpus: 0.5,
    uid: 1000,
    mode: '0700',
    health: 'healthy',
  })
  t.notOk('access' in (await status()), 'what was not asked for is not shown')
  const [{ HostConfig }] = JSON.parse(await docker('inspect', 'vsm-picky'))
  t.match(HostConfig, { Memory: 64 * 2 ** 20, NanoCpus: 500_000_000 })

  t.comment('its initiator dies under a container')
  await host.service('holder', 'picky:/d', 'while :; do sleep 1; done')
  await docker('exec', 'initiator-picky', 'sh', '-c', 'kill -9 $(cat /run/openebs/qemu.pid)')
  await host.until('the container that is hit is named', async () => {
    const { health, degraded } = await status()
    return health === 'degraded' && degraded.join() === 'holder'
  })
  // a read may be answered from memory
  const write = ['exec', 'holder', 'dd', 'if=/dev/zero', 'of=/d/x', 'count=1', 'conv=fsync']
  t.not((await tryDocker(...write)).code, 0, 'and it is hit')
  await docker('restart', '-t', '0', 'holder')
  await host.until('all is well again', async () => (await status()).health === 'healthy')
  t.equal((await tryDocker(...write)).code, 0)
  await docker('rm', '-f', 'holder')
  await docker('volume', 'rm', 'picky')

  const refused = await tryDocker('volume', 'create', '-d', 'openebs', '-o', 'image=absent:1', 'imageless')
  t.match(refused, { code: 1, stderr: /the Engine has no image absent:1: pull or load it, then repeat/ })
})

scenario('the registry equals what docker says', async (t) => {
  await create('seen', 'size=64M')
  await host.service('user', 'seen:/d', 'while :; do sleep 1; done')
  const sides = {
    docker,
    etcdctl: (...args: string[]) => host.etcd.ctl(...args),
    host: host.name,
    address: await host.engine.address(),
  }
  let found: string[] = []
  await host
    .until('registry and host agree', async () => {
      found = await differences(sides)
      return found.length === 0
    })
    .catch(() => undefined)
  t.strictSame(found, [])
  const health = async () =>
    JSON.parse((await host.etcdctl('get', '--print-value-only', '/openebs/v1/vsms/seen/h1')) || '{}').health
  await host.until('the VSM is registered as healthy', async () => (await health()) === 'healthy')
  const keys = await host.keys()
  for (const key of [
    'hosts/h1',
    'alive/h1',
    'volumes/seen',
    'targets/h1/seen',
    'attachments/seen',
    'vsms/seen/h1',
  ])
    t.ok(keys.includes(key), key)
  t.match(JSON.parse((await host.etcdctl('get', '--print-value-only', '/openebs/v1/vsms/seen/h1')) || '{}'), {
    vsm: 'seen',
    volume: 'seen',
    targets: [{ iqn: 'iqn.2016-09.com.openebs:seen', luns: [{ lun: 1, size: 64 * 2 ** 20 }] }],
  })
  await docker('rm', '-f', 'user')
  await docker('volume', 'rm', 'seen')
})

scenario('authz keeps an audit trail of what happens to storage containers', async (t) => {
  await create('watched', 'size=16M')
  await docker('kill', 'vsm-watched')
  await docker('volume', 'rm', 'watched')
  const trail = async () =>
    (await host.etcdctl('get', '--prefix', '/openebs/v1/audit/h1/', '--print-value-only'))
      .split('\n')
      .filter((line) => line.includes('watched'))
      .map((line) => JSON.parse(line))
  await host.until('the removal stands in the trail', async () =>
    (await trail()).some(({ action, subject }) => action === 'remove' && subject?.role === 'target'),
  )
  const actions = (await trail())
    .filter(({ subject }) => subject?.role === 'target')
    .map(({ action }) => action)
  t.match(actions.join(' '), /^create start .*kill.* remove$/)
  t.notMatch(JSON.stringify(await trail()), /OPENEBS_/, 'no environment of a container is kept')
  const entries = await trail()
  for (const entry of entries) t.match(entry, { host: 'h1', verdict: 'allow' })
  for (const entry of entries.filter(({ subject }) => subject)) t.equal(entry.volume, 'watched')
  const removal = entries.find(({ object, action }) => object.kind === 'volume' && action === 'remove')
  t.match(removal, { object: { name: 'watched' }, volume: 'watched', user: '', status: 204 })
  t.equal(removal.rule, undefined)
  t.ok(
    entries.some(({ rule, action }) => rule === 'own' && action === 'remove'),
    "the plugin's own calls are told from others",
  )
})

scenario('bad input gets a sentence, and leaves nothing half made', async (t) => {
  const asked = async (body: object) => {
    const path = join(host.engine.folder, 'docker.sock')
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; message: string }>()
    const headers = { 'content-type': 'application/json' }
    http
      .request({ socketPath: path, path: '/volumes/create', method: 'POST', headers }, (response) => {
        let text = ''
        response.on('data', (chunk) => (text += chunk))
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, message: JSON.parse(text).message }),
        )
      })
      .once('error', reject)
      .end(JSON.stringify({ Driver: 'openebs', ...body }))
    return promise
  }
  for (const Name of ['a/../b', '-x', 'x'.repeat(300), 'größe', 'a b'])
    t.match(
      await asked({ Name }),
      { status: 500, message: /cannot name a volume: a name has 2 to 64 letters/ },
      Name.slice(0, 10),
    )
  const options: [Record<string, string>, RegExp][] = [
    [{ size: '0' }, /size=0 is out of range/],
    [{ size: '-1' }, /size=-1 is no size: expected a number with a unit/],
    [{ size: '1Q' }, /size=1Q is no size/],
    [{ size: '1e99' }, /size=1e99 is no size/],
    [{ size: '15T' }, /size 16492674416640 does not fit: the disk has \d+ bytes free/],
    [{ fs: 'ntfs' }, /fs=ntfs is not known: expected ext4 or xfs/],
    [{ mount: 'exec' }, /mount=exec is not offered for ext4: expected some of noatime, /],
    [{ memory: '1M' }, /memory=1M is no limit for a target: expected 64M or more/],
    [{ colour: 'blue' }, /unknown option "colour": known options are size, fs/],
  ]
  for (const [DriverOpts, message] of options)
    t.match(await asked({ Name: 'bad', DriverOpts }), { message }, JSON.stringify(DriverOpts))

  const foreign = await docker('create', '--name', 'vsm-taken', vsmImage, 'true')
  t.match(await asked({ Name: 'taken' }), {
    message: /a container named vsm-taken exists that this volume did not make/,
  })
  t.equal(await docker('ps', '-aq', '--no-trunc', '--filter', 'name=vsm-taken'), foreign, 'it is not touched')
  await docker('rm', 'vsm-taken')

  const folder = join(host.root, 'occupied')
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'precious'), 'data of somebody')
  t.match(await asked({ Name: 'occupied' }), { message: /is not empty/ })
  t.equal(
    await readFile(join(folder, 'precious'), 'utf8'),
    'data of somebody',
    'a folder with data is not touched',
  )
  await rm(folder, { recursive: true })
})

scenario('the same volume created at once is made once; ports that are all taken are said', async (t) => {
  await Promise.all([1, 2, 3, 4].map(() => create('twice', 'size=16M')))
  t.equal((await docker('ps', '-q', '--filter', 'name=vsm-')).trim().split('\n').length, 1)
  const names = ['p1', 'p2', 'p3', 'p4']
  await Promise.all(names.map((name) => create(name, 'size=16M')))
  const refused = await tryDocker('volume', 'create', '-d', 'openebs', '-o', 'size=16M', 'p5')
  t.match(refused, {
    code: 1,
    stderr: /no free port for a portal on [\d.]+ from 23260 to 23264: remove volumes or widen OPENEBS_PORTS/,
  })
  await Promise.all(['twice', ...names].map((name) => docker('volume', 'rm', name)))
})

scenario('etcd away: a create says so and leaves nothing, a known volume is mounted as ever', async (t) => {
  await create('known', 'size=16M')
  await host.shell(['known:/d'], 'echo before >/d/f')
  host.etcd.member.pause()
  const refused = await tryDocker('volume', 'create', '-d', 'openebs', 'unlucky')
  t.match(refused, { code: 1, stderr: /volume unlucky is not made.*etcd at [\d.:]+ does not answer/ })
  t.equal(await host.shell(['known:/d'], 'cat /d/f'), 'before')
  t.match(await docker('volume', 'ls', '-q'), /known/)
  host.etcd.member.resume()
  await host.until(
    'volumes can be made again',
    async () => (await tryDocker('volume', 'create', '-d', 'openebs', '-o', 'size=16M', 'lucky')).code === 0,
  )
  // what was given up may still reach an etcd that only hung: a later pass takes that back
  let left: string[] = []
  await host.until('nothing is left of unlucky', async () => {
    left = (await host.keys('volumes/')).sort()
    return !left.includes('volumes/unlucky')
  })
  t.strictSame(left, ['volumes/known', 'volumes/lucky'])
  await docker('volume', 'rm', 'known', 'lucky')
})

scenario(
  'an empty body, as the Engine sends after a crash, changes nothing; nor does a create with other options',
  async (t) => {
    const call = (path: string, body?: string) => callPlugin(host, path, body)
    for (const method of ['Create', 'Remove', 'Mount', 'Unmount', 'Path', 'Get'])
      t.match(await call(`/VolumeDriver.${method}`), { Err: /empty body/ }, method)
    t.match(await call('/AuthZPlugin.AuthZReq'), { Allow: false, Msg: /denied/ })
    t.match(await call('/AuthZPlugin.AuthZReq', '{}'), { Allow: false, Msg: /without its method or path/ })
    t.match(await call('/VolumeDriver.Capabilities'), { Capabilities: { Scope: 'global' } })
    t.match(await call('/VolumeDriver.Get', '{"Name":"never"}'), { Err: /no volume never/ })

    t.comment('the Engine skips a Create of a volume that it knows: two hosts, or two calls at once, may not')
    await create('fixed', 'size=16M', 'access=read-only')
    const again = (Opts: object) => call('/VolumeDriver.Create', JSON.stringify({ Name: 'fixed', Opts }))
    t.notOk((await again({ size: '16384K', access: 'read-only', provision: 'thin' })).Err, 'the same')
    t.match(await again({ size: '16M' }), {
      Err: /volume fixed exists already, with other options: size=16777216 fs=ext4 chap=on access=read-only/,
    })
    await docker('volume', 'rm', 'fixed')
  },
)
