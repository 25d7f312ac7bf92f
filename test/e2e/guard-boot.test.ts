import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Authority } from '../support/certificates.ts'
import { PluginHost, pluginProgram, sidecarImage } from '../support/plugin-host.ts'

/**
 * The guard through all that happens to a host: who its operators are, restarts of the Engine and of the host, a plugin that is
 * disabled, and the way back.
 */
const host = await PluginHost.start(t, {
  authz: true,
  settings: { OPENEBS_GUARD: 'enforce', OPENEBS_OPERATORS: 'alice' },
})
const { docker, tryDocker } = host.engine
const guarded = { 'authorization-plugins': ['openebs'] }
await docker('volume', 'create', '-d', 'openebs', '-o', 'size=64M', 'data')
const writer =
  'n=$(wc -l </d/log || echo 0); while :; do n=$((n + 1)); echo $n >>/d/log; sync /d/log; sleep 0.1; done'
await host.service('web', 'data:/d', writer)

/** The Engine's own answer would be that it has this name already. */
const renames = (...via: string[]) => tryDocker(...via, 'rename', 'vsm-data', 'vsm-data')
const isOn = async () => /vsm-data cannot be renamed/.test((await renames()).stderr)
const goesOn = (t: Test, what: string) =>
  host
    .until(
      what,
      async () =>
        (
          await tryDocker(
            'exec',
            'web',
            'sh',
            '-c',
            'n=$(wc -l </d/log); sleep 0.5; [ $(wc -l </d/log) -gt $n ]',
          )
        ).code === 0,
      60_000,
    )
    .then(() => t.pass(what))
const entries = async (): Promise<Record<string, unknown>[]> =>
  (await host.etcdctl('get', '--prefix', '--print-value-only', '/openebs/v1/audit/'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))

t.test('what users read, and what the Engine says besides, is as it was', async (t) => {
  t.match(await tryDocker('stop', 'vsm-data'), {
    code: 1,
    stderr:
      /^Error response from daemon: authorization denied by plugin openebs(:latest)?: openebs: vsm-data cannot be stopped: it serves volume data, which container web on host h1 uses\. Stop web first\n/,
  })
  const headers = await host.engine.net(
    'curl',
    '-sS',
    '-D',
    '-',
    '-o',
    '/dev/null',
    '--unix-socket',
    join(host.engine.folder, 'docker.sock'),
    'http://docker/containers/json',
  )
  t.match(headers, /^HTTP\/1\.1 200 OK\r\n/)
  t.match(headers, /^Content-Type: application\/json\r$/m)
  t.match(headers, /^Server: Docker\//m)
  const file = join(host.engine.folder, 'image.tar')
  await docker('save', '-o', file, sidecarImage)
  t.match(await docker('load', '-q', '-i', file), /Loaded image/)
  await docker('create', '--name', 'exported', sidecarImage)
  await docker('export', '-o', file, 'exported')
  t.match(await docker('import', file, 'imported:1'), /^sha256:/)
  await docker('rm', 'exported')
  await docker('rmi', 'imported:1')
})

t.test('a call that lasts while the plugin is killed ends as it would', async (t) => {
  await docker(
    'run',
    '-d',
    '--name',
    'slow',
    '--network',
    'none',
    '--entrypoint',
    'sh',
    sidecarImage,
    '-c',
    'trap "" TERM; while :; do sleep 0.1; done',
  )
  await host.settledPlugin()
  const before = await host.processes(pluginProgram)
  const stopping = tryDocker('stop', '-t', '3', 'slow')
  await host.until('it is being stopped', async () => (await entries()).length > 0)
  await host.engine.exec('kill', '-KILL', ...before)
  t.match(await stopping, { code: 0 })
  t.equal((await docker('inspect', '-f', '{{.State.Running}}', 'slow')).trim(), 'false')
  await docker('rm', 'slow')
  t.ok(await isOn(), 'and the guard is there again')
})

t.test('operators by their certificates, as they are known to an Engine with TLS', async (t) => {
  const ours = await Authority.make(t)
  const address = await host.engine.address()
  const server = await ours.issue('engine', [address])
  const [alice, bob] = [await ours.issue('alice'), await ours.issue('bob')]
  const daemon = {
    ...guarded,
    tlsverify: true,
    tlscacert: server.ca,
    tlscert: server.cert,
    tlskey: server.key,
  }
  await host.configure(daemon, '-H', `tcp://${address}:2376`)
  await host.restart('TERM')
  const as = ({ ca, cert, key }: typeof alice) => [
    '-H',
    `tcp://${address}:2376`,
    '--tlsverify',
    '--tlscacert',
    ca,
    '--tlscert',
    cert,
    '--tlskey',
    key,
  ]
  await goesOn(t, 'the writer goes on after the start')
  t.match(await renames(...as(bob)), { code: 1, stderr: /vsm-data cannot be renamed/ })
  t.match(
    await renames(...as(alice)),
    { code: 1, stderr: /Renaming a container with the same name|already/ },
    'the Engine itself is asked',
  )
  t.match(await renames(), { code: 1, stderr: /vsm-data cannot be renamed/ }, 'nobody is known on the socket')
  await host.until('the trail has them', async () =>
    (await entries()).some(({ user, action }) => user === 'alice' && action === 'rename'),
  )
  const renamed = (await entries()).filter(({ action }) => action === 'rename')
  t.match(
    renamed.find(({ user }) => user === 'bob'),
    { auth: 'TLS', peer: 'bob', verdict: 'deny', rule: 'storage-in-use' },
  )
  t.match(
    renamed.find(({ user }) => user === 'alice'),
    { auth: 'TLS', peer: 'alice', verdict: 'allow', rule: 'operator', volume: 'data' },
  )
})

t.test('an Engine that is told of the plugin twice asks it once', async (t) => {
  await host.configure({ 'authorization-plugins': ['openebs', 'openebs'] })
  await host.restart('TERM')
  await docker('volume', 'create', 'asked-once')
  await host.until('the trail has it', async () =>
    (await entries()).some(({ volume }) => volume === 'asked-once'),
  )
  t.equal((await entries()).filter(({ volume }) => volume === 'asked-once').length, 1)
  await docker('volume', 'rm', 'asked-once')
})

t.test('without etcd the guard decides the same, and what it saw is in the trail later', async (t) => {
  await host.configure(guarded)
  await host.restart('TERM')
  await goesOn(t, 'the writer goes on after the start')
  const [etcd] = host.etcd.members
  await etcd?.kill()
  t.ok(await isOn())
  t.match(await tryDocker('volume', 'create', 'unguarded'), { code: 0 })
  t.match(await tryDocker('volume', 'rm', 'unguarded'), { code: 0 })
  await etcd?.start()
  await host.until('the trail has it', async () =>
    (await entries()).some(({ volume, action }) => volume === 'unguarded' && action === 'remove'),
  )
})

for (const how of ['TERM', 'KILL', 'crash'] as const)
  t.test(
    `after ${how === 'crash' ? 'the death of the host' : `SIG${how} to dockerd`} the guard is on, and the volume is back`,
    async (t) => {
      await host.configure(guarded)
      await host.restart(how)
      t.ok(await isOn(), 'the first call that could do harm is refused')
      await goesOn(t, 'the writer goes on')
      t.ok(await isOn(), 'the guard knows whom to name')
    },
  )

t.test('a plugin that is disabled takes the guard along, until the next reload', async (t) => {
  t.match(await tryDocker('plugin', 'disable', '-f', 'openebs'), {
    code: 1,
    stderr: /the plugin serves volumes that are in use \(data\)/,
  })
  const past = join(host.engine.folder, 'past')
  await host.engine.exec('mkdir', '-p', past)
  await writeFile(
    join(past, 'config.json'),
    JSON.stringify({ HttpHeaders: { 'X-Openebs-Break-Glass': 'try it' } }),
  )
  await docker('--config', past, 'plugin', 'disable', '-f', 'openebs')
  t.match(await tryDocker('ps'), { code: 0 }, 'the API is free')
  t.notOk(await isOn())
  await docker('plugin', 'enable', 'openebs')
  t.notOk(await isOn(), 'the Engine does not ask by itself')
  await host.reload()
  await host.until('it asks again', isOn)
  await goesOn(t, 'the writer goes on')
})

t.test(
  'an Engine that does not start, as its authorization plugin is disabled, and the way back',
  async (t) => {
    const past = join(host.engine.folder, 'past')
    await docker('--config', past, 'plugin', 'disable', '-f', 'openebs')
    await host.engine.halt('KILL')
    await t.rejects(host.start(), 'it does not start')
    t.match(await readFile(join(host.engine.folder, 'dockerd.log'), 'utf8'), /found but disabled/)
    await host.configure({})
    await host.start()
    await docker('plugin', 'enable', 'openebs')
    await host.authorize()
    await goesOn(t, 'the writer, which the Engine could not start, goes on')
    t.ok(await isOn())
  },
)

t.test('what nobody uses goes', async () => {
  await docker('--config', join(host.engine.folder, 'past'), 'rm', '-f', 'web')
  await host.until('the volume is unused', async () => !(await isOn()))
  await docker('volume', 'rm', 'data')
})
