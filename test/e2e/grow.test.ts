import t from 'tap'
import { PluginHost, sidecarImage } from '../support/plugin-host.ts'
import { callPlugin } from '../support/plugin-socket.ts'
import { registrator } from '../support/registrator.ts'

/** `registrator volumes grow`, as an operator uses it: volumes become larger, in use or not, and lose nothing. */
const host = await PluginHost.start(t)
const { docker } = host.engine
const MiB = 2 ** 20
const grow = (...args: string[]) => registrator(host, 'volumes', 'grow', ...args)
const create = (name: string, ...options: string[]) =>
  docker('volume', 'create', '-d', 'openebs', ...options.flatMap((option) => ['-o', option]), name)

/** MiB of the file system that a container sees at /d: more than `least` less its own tables. */
const seen = async (container: string): Promise<number> =>
  Number(
    (await docker('exec', container, 'stat', '-f', '-c', '%b %S', '/d'))
      .trim()
      .split(' ')
      .reduce((a, b) => String(Number(a) * Number(b))),
  ) / MiB

/** Appends a line at a time and syncs it; ends at the first error. */
const writer = `echo began; n=$(cat /d/lines 2>/dev/null | wc -l); while :; do n=$((n + 1)); echo $n >>/d/lines; sync /d/lines; echo $n; done`
const said = async (container: string) => (await docker('logs', container)).trim().split('\n')
const writesOn = async (container: string) => {
  const before = (await said(container)).length
  await host.until('it writes on', async () => (await said(container)).length > before + 20)
}
const isWhole = async (container: string): Promise<boolean> => {
  const lines = (await docker('exec', container, 'cat', '/d/lines')).trim().split('\n')
  return lines.every((line, index) => line === String(index + 1))
}
const service = (name: string, volume: string) =>
  docker(
    ...['run', '-d', '--name', name, '--restart', 'on-failure', '--network', 'none', '-v', `${volume}:/d`],
    ...['--stop-timeout', '1', '--entrypoint', 'sh', sidecarImage, '-euc', writer],
  )
const shownSize = async (name: string) =>
  Number(await docker('volume', 'inspect', '-f', '{{.Status.size}}', name)) / MiB

t.afterEach(() => host.tidy())

t.test('an XFS grows under a container that writes', async (t) => {
  await create('busy-xfs', 'size=320M', 'fs=xfs')
  await service('writer', 'busy-xfs')
  await writesOn('writer')
  const grown = await grow('busy-xfs', '640M')
  t.match(grown, {
    code: 0,
    stdout: 'volume busy-xfs has grown from 320 MiB to 640 MiB, file system and all\n',
  })
  t.ok((await seen('writer')) > 500, 'the container sees it')
  await writesOn('writer')
  t.equal((await said('writer')).filter((line) => line === 'began').length, 1, 'and has noticed nothing else')
  t.ok(await isWhole('writer'))
  t.equal(await shownSize('busy-xfs'), 640)
  t.match(await grow('busy-xfs', '640M'), { code: 0, stdout: 'volume busy-xfs has 640 MiB already\n' })
  t.match(await grow('busy-xfs', '500M'), {
    code: 2,
    stderr: /640 MiB, and 500 MiB is less: shrinking is refused/,
  })
  // the Engine skips a Create of a volume that it knows: compose on another host, say, may not
  const again = (size: string) =>
    callPlugin(host, '/VolumeDriver.Create', JSON.stringify({ Name: 'busy-xfs', Opts: { size, fs: 'xfs' } }))
  for (const size of ['320M', '640M'])
    t.notOk((await again(size)).Err, `a repeated create of ${size} means it`)
  t.match(await again('400M'), { Err: /exists already, with other options/ })
})

t.test('an ext4 in use grows when its container is started anew', async (t) => {
  await create('busy-ext4', 'size=64M')
  await service('writer', 'busy-ext4')
  await writesOn('writer')
  const grown = await grow('busy-ext4', '192M')
  t.match(
    grown.stdout,
    /^volume busy-ext4 has 192 MiB; its file system grows at the next attach: .*in use by writer\n$/,
  )
  t.ok((await seen('writer')) < 64, 'not yet')
  await writesOn('writer')
  t.equal(
    (await said('writer')).filter((line) => line === 'began').length,
    1,
    'the container has noticed nothing',
  )
  await docker('restart', 'writer')
  await writesOn('writer')
  t.ok((await seen('writer')) > 150, 'now it has')
  t.ok(await isWhole('writer'))
  t.match(await grow('busy-ext4', '192M'), { code: 0, stdout: /has 192 MiB already/ })
})

t.test('an ext4 that no container uses grows before the next one has it', async (t) => {
  await create('idle', 'size=64M', 'provision=full')
  await host.shell(['idle:/d'], 'echo kept >/d/kept; sync /d/kept')
  t.match(await grow('idle', '128M', '--json'), {
    code: 0,
    stdout: JSON.stringify(
      { volume: 'idle', before: 64 * MiB, size: 128 * MiB, waits: 'no container uses it' },
      null,
      2,
    ),
  })
  t.equal(
    await host.shell(
      ['idle:/d'],
      '[ $(($(stat -f -c %b /d) * $(stat -f -c %S /d))) -gt 100000000 ]; cat /d/kept',
    ),
    'kept',
  )
  const blocks = (await host.engine.exec('stat', '-c', '%b', `${host.root}/idle/data.img`)).trim()
  t.ok(Number(blocks) * 512 >= 128 * MiB, 'the space of all of it is taken')
})

t.test('a volume that was never attached, and one that can only be read', async (t) => {
  await create('new', 'size=320M', 'fs=xfs', 'access=read-only')
  t.match(await grow('new', '400M'), { code: 0, stdout: /grows at the next attach: no container uses it/ })
  const size = await host.shell(['new:/d'], 'stat -f -c "%b %S" /d')
  const [blocks = 0, bytes = 0] = size.split(' ').map(Number)
  t.ok(blocks * bytes > 320 * MiB)
})

t.test(
  'a target that does not take the new size over in time: it is not taken back, and goes on',
  async (t) => {
    await create('late', 'size=64M')
    const [entrypoint = ''] = await host.processes('^/bin/sh /usr/local/bin/openebs-target')
    await host.engine.exec('kill', '-STOP', entrypoint)
    try {
      t.match(await grow('late', '128M'), {
        code: 1,
        stderr: /the LUN is larger, but not served so after 15 s/,
      })
    } finally {
      await host.engine.exec('kill', '-CONT', entrypoint)
    }
    t.match(await grow('late', '100M'), {
      code: 2,
      stderr: /128 MiB, and 100 MiB is less: shrinking is refused/,
    })
    t.match(await grow('late', '128M'), { code: 0, stdout: /128 MiB/ })
    const free = '[ $(($(stat -f -c %b /d) * $(stat -f -c %S /d))) -gt 100000000 ] && echo more'
    t.equal(await host.shell(['late:/d'], free), 'more')
  },
)

t.test('what cannot be had changes nothing', async (t) => {
  await create('small', 'size=64M')
  t.match(await grow('small', '15T'), {
    code: 2,
    stderr: /does not fit: \d+ more bytes are needed, and the disk has \d+ bytes free/,
  })
  t.match(await grow('small', '20T'), { code: 2, stderr: /20T is out of range: a volume has 16T at most/ })
  t.match(await grow('small', 'big'), { code: 2, stderr: /"big" is no size: expected a number with a unit/ })
  t.match(await grow('nowhere', '1G'), { code: 3, stderr: /no volume nowhere/ })
  t.equal(await shownSize('small'), 64)
  t.equal(
    JSON.parse(await host.etcdctl('get', '--print-value-only', '/openebs/v1/volumes/small')).grown,
    undefined,
  )
  t.equal(
    (await host.engine.exec('stat', '-c', '%s', `${host.root}/small/data.img`)).trim(),
    String(64 * MiB),
  )
})

t.test('a host whose plugin does not run is named', async (t) => {
  const record = {
    ...{ name: 'far', uuid: '0b0c5d2e-7a55-4f3c-9a0e-0d5b7f0c8e11', spec: { size: 64 * MiB, fs: 'ext4' } },
    ...{ placement: { host: 'h9' }, wanted: 'present', created: '2026-01-01T00:00:00.000Z' },
  }
  await host.etcdctl('put', '/openebs/v1/volumes/far', JSON.stringify(record))
  t.match(await grow('far', '1G'), {
    code: 1,
    stderr: /the plugin of host h9 does not run: docker plugin enable/,
  })
  await host.etcdctl('del', '/openebs/v1/volumes/far')
})

t.test('a target that is started anew serves the size of now', async (t) => {
  await create('again', 'size=64M')
  await grow('again', '128M')
  await docker('restart', '-t', '0', 'vsm-again')
  t.equal(
    await host.shell(
      ['again:/d'],
      '[ $(($(stat -f -c %b /d) * $(stat -f -c %S /d))) -gt 100000000 ]; echo yes',
    ),
    'yes',
  )
})
