import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { callEngine } from '../support/engine-call.ts'
import { PluginHost, pluginProgram, sidecarImage, vsmImage } from '../support/plugin-host.ts'
import { volumePut } from '../support/records.ts'
import { registrator } from '../support/registrator.ts'

/** The guard with a real Engine: what would harm a volume in use is refused, and allowed when nobody uses it. */
const host = await PluginHost.start(t, { authz: true, settings: { OPENEBS_GUARD: 'enforce' } })
const { docker, tryDocker } = host.engine
const sleep = ['--entrypoint', 'sleep', sidecarImage, '1000']
const run = (...options: string[]) => [
  'run',
  '--rm',
  '--network',
  'none',
  ...options,
  '--entrypoint',
  'true',
  sidecarImage,
]
await docker('volume', 'create', '-d', 'openebs', '-o', 'size=64M', 'data')
const use = () =>
  docker('run', '-d', '--name', 'web', '--network', 'none', '--init', '-v', 'data:/d', ...sleep)
await use()
const idOf = async (name: string) => (await docker('inspect', '-f', '{{.Id}}', name)).trim()
const [target, initiator] = [await idOf('vsm-data'), await idOf('initiator-data')]
const file = join(host.engine.folder, 'file')
await writeFile(file, 'x')

/** Docker as it is with headers of one's own, which its client takes from its configuration. */
const past = join(host.engine.folder, 'past')
await mkdir(past)
await writeFile(
  join(past, 'config.json'),
  JSON.stringify({ HttpHeaders: { 'X-Openebs-Break-Glass': 'disk replaced' } }),
)
const pastGuard = (...args: string[]) => docker('--config', past, ...args)

const served = /it serves volume data, which container web on host h1 uses\. Stop web first/
const attached = /it attaches volume data, which container web on host h1 uses\. Stop web first/

t.test('containers of a volume in use', async (t) => {
  for (const [name, why] of [
    ['vsm-data', served],
    ['initiator-data', attached],
    [target, served],
    [target.slice(0, 12), served],
    [initiator.slice(0, 12), attached],
    [await shortest(initiator), attached],
  ] as const)
    for (const args of [
      ['stop', name],
      ['kill', name],
      ['restart', name],
      ['pause', name],
      ['rename', name, 'other'],
      ['update', '--memory', '1g', name],
      ['exec', name, 'id'],
      ['commit', name, 'copied'],
      ['cp', file, `${name}:/tmp/x`],
      ['rm', '-f', name],
      run('--volumes-from', name),
      run('--volumes-from', `${name}:ro`),
      run('--pid', `container:${name}`),
      run('--ipc', `container:${name}`).toSpliced(2, 2),
      ['run', '--rm', '--network', `container:${name}`, '--entrypoint', 'true', sidecarImage],
      ['network', 'disconnect', '-f', 'bridge', name],
    ]) {
      const { code, stderr } = await tryDocker(...args)
      t.ok(code !== 0 && why.test(stderr), `${args.join(' ')}: ${stderr.trim()}`)
    }
  t.equal(await idOf('vsm-data'), target, 'all is as it was')
  t.match(await docker('exec', 'web', 'df', '/d'), /\/d/)
})

/** As few digits as name a container and no other. */
async function shortest(id: string): Promise<string> {
  const all = (await docker('ps', '-aq', '--no-trunc')).trim().split('\n')
  for (let length = 1; ; length++)
    if (all.filter((one) => one.startsWith(id.slice(0, length))).length === 1) return id.slice(0, length)
}

t.test('a volume, its plugin and its image while it is in use', async (t) => {
  const plugin = (await docker('plugin', 'inspect', '-f', '{{.Id}}', 'openebs')).trim()
  const image = (await docker('image', 'inspect', '-f', '{{.Id}}', vsmImage)).trim()
  for (const [args, why] of [
    [['volume', 'rm', 'data'], /volume data is in use by web on host h1: stop what uses it first/],
    [['volume', 'rm', '-f', 'data'], /volume data is in use by web/],
    [['plugin', 'disable', '-f', 'openebs'], /the plugin serves volumes that are in use \(data\)/],
    [['plugin', 'disable', '-f', plugin.slice(0, 5)], /the plugin serves volumes that are in use/],
    [['plugin', 'rm', '-f', 'openebs:latest'], /the plugin serves volumes that are in use/],
    [['plugin', 'set', 'openebs', 'OPENEBS_GUARD=dry-run'], /the plugin serves volumes that are in use/],
    [['rmi', '-f', vsmImage], /is what the volumes of this host run on/],
    [['rmi', '-f', image.slice(7, 19)], /is what the volumes of this host run on/],
  ] as const)
    t.match(await tryDocker(...args), { code: 1, stderr: why }, args.join(' '))
})

t.test('a volume of another host', async (t) => {
  const change = volumePut('far', 'h2')
  if (change.kind === 'put') await host.etcdctl('put', `/openebs/v1/${change.key}`, change.value)
  const listed = async () => (await docker('volume', 'ls', '-q')).split('\n').includes('far')
  await host.until('it is known here', listed, 90_000)
  for (const args of [['far'], ['--force', 'far']])
    t.match(await tryDocker('volume', 'rm', ...args), {
      code: 1,
      stderr: /volume far is on host h2: remove it there/,
    })
  await host.etcdctl('del', `/openebs/v1/${change.key}`)
  await host.until('it is known no more', async () => !(await listed()), 90_000)
})

t.test('containers that would reach storage', async (t) => {
  const bind = (device: string) => ['-o', 'type=none', '-o', 'o=bind', '-o', `device=${device}`]
  for (const args of [
    run('-v', `${host.root}:/x`),
    run('-v', `${host.root}/data:/x:ro`),
    run('-v', `${host.root}/../openebs//data/:/x`),
    run('-v', `${host.engine.folder}:/x`),
    run('-v', '/:/x'),
    run('--mount', `type=bind,source=${host.root},target=/x,readonly`),
    run(
      '--mount',
      `type=volume,target=/x,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=${host.root}`,
    ),
    run('--device', '/dev/loop0'),
    ['volume', 'create', ...bind(host.root), 'sly'],
    ['volume', 'create', ...bind('/'), 'sly'],
  ]) {
    const { code, stderr } = await tryDocker(...args)
    t.ok(
      code !== 0 && /would reach storage: .* Use a volume/.test(stderr),
      `${args.join(' ')}: ${stderr.trim()}`,
    )
  }
  for (const args of [run('-v', '/:/x:ro'), run('-v', '/etc:/x'), run('-v', 'mine:/x'), run('-v', 'data:/x')])
    t.match(await tryDocker(...args), { code: 0, stderr: '' }, `allowed: ${args.join(' ')}`)
})

t.test('calls that no client makes', async (t) => {
  const json = { 'content-type': 'application/json' }
  const create = JSON.stringify({ Image: sidecarImage, HostConfig: { Binds: [`${host.root}:/x`] } })
  const twice = `{"Image":"${sidecarImage}","HostConfig":{"Binds":["${host.root}:/x"]},"hostconfig":{}}`
  for (const [method, path, body] of [
    ['POST', '/containers/vsm-data/stop'],
    ['POST', '/v1.41/containers/vsm-data/stop'],
    ['POST', `/containers/%76sm-data/stop`],
    ['DELETE', '/v1.24/containers/vsm-data?force=1'],
    ['POST', '/containers/create', create],
    ['POST', '/containers/create', create.replace('HostConfig', 'hostconfig').replace('Binds', 'BINDS')],
    ['POST', '/containers/create', twice],
    ['POST', '/containers/create', '{"Image":'],
  ] as const) {
    const answer = await callEngine(
      host.engine,
      method,
      path,
      body === undefined ? {} : { body, headers: json },
    )
    t.equal(answer.status, 403, `${method} ${path} ${body ?? ''}: ${answer.text.trim()}`)
  }
  for (const path of [
    '//containers/vsm-data/stop',
    '/containers//vsm-data/stop',
    '/v1.41/../containers/vsm-data/stop',
    '/containers/vsm-data/stop/',
    '/Containers/vsm-data/stop',
    '/containers/vsm-data%2fstop',
    '/v9.99/containers/vsm-data/stop',
  ]) {
    const { status } = await callEngine(host.engine, 'POST', path)
    t.ok(status >= 300, `POST ${path}: ${status}`)
  }
  for (const [how, options] of Object.entries({
    'in chunks': { headers: json, body: create, chunked: true },
    'of no length': { headers: { ...json, 'content-length': '0' }, body: create },
    'that is none': { headers: json },
    'of another type': { headers: { 'content-type': 'text/plain' }, body: create },
    'without a type': { body: create },
  })) {
    const { status, text } = await callEngine(host.engine, 'POST', '/containers/create', options)
    t.equal(status, 403, `a body ${how}: ${status} ${text}`)
  }
  const containers = () => docker('ps', '-aq')
  const before = await containers()
  const withheld = JSON.stringify({
    Image: sidecarImage,
    HostConfig: { Binds: [`${host.root}:/x`] },
    Env: ['x'.repeat(2 ** 21)],
  })
  const { status } = await callEngine(host.engine, 'POST', '/containers/create', {
    body: withheld,
    headers: json,
  })
  t.ok([0, 403].includes(status), `a body that the Engine withholds from plugins: ${status}`)
  t.equal(await containers(), before)
  t.match(await docker('ps', '--format', '{{.Names}}'), /^vsm-data$/m, 'and the target runs')
})

t.test('the way past the guard, and what a prune would take', async (t) => {
  await pastGuard('stop', '-t', '1', 'vsm-data')
  t.match(await tryDocker('container', 'prune', '-f'), { code: 1, stderr: served })
  await docker('start', 'vsm-data')
  t.match(await tryDocker('container', 'prune', '-f'), { code: 0 })
  const entries = (await host.etcdctl('get', '--prefix', '--print-value-only', '/openebs/v1/audit/'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
  t.match(
    entries.find(({ rule, action }) => rule === 'break-glass' && action === 'stop'),
    {
      verdict: 'allow',
      reason: 'disk replaced',
      subject: { container: 'vsm-data', volume: 'data' },
      status: 204,
    },
  )
  t.match(
    entries.find(({ verdict, action }) => verdict === 'deny' && action === 'kill'),
    { rule: 'storage-in-use', status: 0, volume: 'data' },
  )
  t.notMatch(JSON.stringify(entries), 'x'.repeat(100), 'nothing of a body')
})

t.test('what streams goes through it', async (t) => {
  const env = { ...process.env, DOCKER_HOST: `unix://${join(host.engine.folder, 'docker.sock')}` }
  const sh = async (script: string) =>
    (await promisify(execFile)('sh', ['-euc', script], { env, cwd: host.engine.folder })).stdout.trim()
  const talks = 'n=0; while sleep 0.1; do n=$((n + 1)); echo "line $n"; done'
  await docker(
    'run',
    '-d',
    '--name',
    'talks',
    '--network',
    'none',
    '--entrypoint',
    'sh',
    sidecarImage,
    '-c',
    talks,
  )
  for (const [what, script, expected] of [
    ['logs -f', 'timeout -s KILL 3 docker logs -f talks || true', /line 1\n(.*\n)*line 1\d/],
    [
      'attach',
      'timeout -s KILL 2 docker attach --no-stdin --sig-proxy=false talks || true',
      /line \d+\nline \d+/,
    ],
    ['exec -i', 'echo to and fro | docker exec -i talks cat', /^to and fro$/],
    ['exec -t', "docker exec -t talks sh -c '[ -t 0 ] && echo terminal'", /^terminal\s*$/],
    [
      'cp both ways',
      'head -c 200000000 /dev/urandom >big; docker cp big talks:/tmp/big; docker cp talks:/tmp/big back; cmp big back && rm big back && echo same',
      /^same$/,
    ],
    [
      'build',
      `printf 'FROM ${sidecarImage}\\nLABEL a=b\\n' | docker build -q -t built - && docker image inspect -f '{{.Config.Labels.a}}' built`,
      /^b$/m,
    ],
    [
      'events',
      'docker events --since 10m --until "$(date +%s)" --filter container=talks',
      /container create/,
    ],
  ] as const)
    t.match(await sh(script), expected, what)
  await docker('rm', '-f', 'talks')
  await docker('rmi', 'built')
})

t.test('the plugin is killed while it is asked: no call gets past it', async (t) => {
  const started = () => docker('inspect', '-f', '{{.State.StartedAt}}', 'vsm-data')
  const before = await started()
  let asking = true
  const statuses: number[] = []
  const ask = async () => {
    while (asking) statuses.push((await callEngine(host.engine, 'POST', '/containers/vsm-data/kill')).status)
  }
  await host.settledPlugin()
  const [pid] = await host.processes(pluginProgram)
  const all = Promise.all([ask(), ask(), ask(), ask()])
  await host.until('it is asked', async () => statuses.length > 20)
  await host.engine.exec('kill', '-KILL', pid ?? '')
  const then = statuses.length
  await host.until('it is asked again', async () => statuses.length > then + 20)
  asking = false
  await all
  t.ok(
    statuses.every((status) => status >= 400),
    `${statuses.length} calls: ${[...new Set(statuses)]}`,
  )
  t.equal(await started(), before, 'the target runs on')
})

t.test('a policy is taken over without a restart, a bad one is not', async (t) => {
  // the Engine itself refuses the name that a container has already
  const renames = async () =>
    (await callEngine(host.engine, 'POST', '/containers/vsm-data/rename?name=vsm-data')).status
  t.equal(await renames(), 403)
  const policy = join(host.engine.folder, 'policy.json')
  const set = async (value: object) => {
    await writeFile(policy, JSON.stringify(value))
    t.match(await registrator(host, 'policy', 'set', policy), { code: 0 })
  }
  await set({ mode: 'dry-run' })
  await host.until('the guard only records', async () => (await renames()) !== 403)
  await set({ exceptions: [{ path: host.root, access: 'read-only', reason: 'backup' }] })
  await host.until('the guard refuses again', async () => (await renames()) === 403)
  t.match(await tryDocker(...run('-v', `${host.root}/data:/x:ro`)), { code: 0 }, 'what is excepted')
  t.match(await tryDocker(...run('-v', `${host.root}/data:/x`)), { code: 125, stderr: /would reach storage/ })
  await host.etcdctl('put', '/openebs/v1/policy', '{"mode":"of"}')
  await host.until('the doctor says that it is refused', async () =>
    /its guard refuses the policy in the registry and goes on by what it had/.test(
      (await registrator(host, 'doctor')).stdout,
    ),
  )
  t.match(
    await tryDocker(...run('-v', `${host.root}/data:/x:ro`)),
    { code: 0 },
    'the last good one is in force',
  )
  t.match(await registrator(host, 'policy', 'clear'), { code: 0 })
  await host.until('the exception is gone', async () =>
    /would reach storage/.test((await tryDocker(...run('-v', `${host.root}/data:/x:ro`))).stderr),
  )
})

t.test('what nobody uses may be dealt with', async (t) => {
  await docker('rm', '-f', 'web')
  await host.until(
    'the use has ended',
    async () => (await tryDocker('restart', '-t', '1', 'vsm-data')).code === 0,
  )
  for (const args of [
    ['exec', 'vsm-data', 'id'],
    ['update', '--memory', '256m', '--memory-swap', '256m', 'vsm-data'],
    ['pause', 'initiator-data'],
    ['unpause', 'initiator-data'],
    ['stop', '-t', '1', 'initiator-data'],
    ['rm', '-f', 'initiator-data'],
    ['volume', 'rm', 'data'],
  ])
    t.match(await tryDocker(...args), { code: 0 }, args.join(' '))
})
