import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { callEngine } from '../support/engine-call.ts'
import { PluginHost, sidecarImage } from '../support/plugin-host.ts'

/**
 * Ways to a volume that are none of its names: links of the host, volumes that stand for folders, services of a swarm, and
 * calls as nobody would write them.
 */
const host = await PluginHost.start(t, { authz: true, settings: { OPENEBS_GUARD: 'enforce' } })
const { docker, tryDocker } = host.engine
const folder = host.engine.folder
await docker('volume', 'create', '-d', 'openebs', '-o', 'size=64M', 'data')
await docker(
  ...['run', '-d', '--name', 'web', '--network', 'none', '--init', '-v', 'data:/d'],
  ...['--entrypoint', 'sleep', sidecarImage, '1000'],
)
const run = (...options: string[]) => [
  ...['run', '--rm', '--network', 'none', ...options, '--entrypoint', 'true', sidecarImage],
]
const past = join(folder, 'past')
await mkdir(past)
await writeFile(
  join(past, 'config.json'),
  JSON.stringify({ HttpHeaders: { 'X-Openebs-Break-Glass': 'prepare a test' } }),
)

t.test('links of the host, and volumes that were made before', async (t) => {
  const links = join(folder, 'links')
  await mkdir(links)
  await symlink(host.root, join(links, 'there'))
  await symlink('there/data', join(links, 'deep'))
  await symlink(folder, join(links, 'above'))
  await symlink('/etc', join(links, 'elsewhere'))
  const made = ['volume', 'create', '-o', 'type=none', '-o', 'o=bind', '-o']
  await docker('--config', past, ...made, `device=${join(links, 'there')}`, 'sly')
  await docker('volume', 'create', 'plain')
  for (const [options, leads] of [
    [['-v', `${links}/there:/x`], `${links}/there leads to ${host.root}: `],
    [['-v', `${links}/there:/x:ro`], `${links}/there leads to ${host.root}: `],
    [['-v', `${links}/deep:/x`], `${links}/deep leads to ${host.root}/data: `],
    [['-v', `${links}/above:/x`], `${links}/above leads to ${folder}: `],
    [['--mount', `type=bind,source=${links}/there/data,target=/x`], `leads to ${host.root}/data: `],
    [['-v', 'sly:/x'], `volume sly leads to ${host.root}: `],
    [['--mount', 'type=volume,source=sly,target=/x'], `volume sly leads to ${host.root}: `],
  ] as const) {
    const { code, stderr } = await tryDocker(...run(...options))
    t.ok(code === 125 && stderr.includes(leads), `${options.join(' ')}: ${stderr.trim()}`)
  }
  for (const options of [
    ['-v', `${links}/above:/x:ro`],
    ['-v', `${links}/elsewhere:/x`],
    ['-v', `${links}/not-there/yet:/x`],
    ['-v', 'plain:/x'],
    ['-v', 'new:/x'],
    ['-v', 'data:/x'],
  ])
    t.match(await tryDocker(...run(...options)), { code: 0, stderr: '' }, `allowed: ${options.join(' ')}`)
  t.match(await tryDocker(...made, `device=${links}/deep`, 'other'), {
    code: 1,
    stderr: /would reach storage/,
  })
  t.match(await tryDocker(...made, `device=${host.root.slice(1)}`, 'other'), {
    code: 1,
    stderr: /would reach storage/,
  })
  const overlay = `o=lowerdir=${host.root},upperdir=/tmp/a,workdir=/tmp/b`
  t.match(await tryDocker('volume', 'create', '-o', 'type=overlay', '-o', 'device=overlay', '-o', overlay), {
    code: 1,
    stderr: /would reach storage/,
  })
  await docker('volume', 'rm', 'sly', 'plain', 'new')
})

t.test('services of a swarm', async (t) => {
  // an Engine asks a registry for the image first: one that refuses at once
  const image = '127.0.0.1:1/app:1'
  await docker('tag', sidecarImage, image)
  await docker('swarm', 'init', '--advertise-addr', await host.engine.address())
  t.teardown(async () => {
    await docker('swarm', 'leave', '--force')
    await docker('image', 'rm', image)
  })
  const create = (...options: string[]) =>
    tryDocker(
      ...['service', 'create', '--detach', '--no-resolve-image', '--replicas', '0', ...options],
      ...['--entrypoint', 'sleep', image, '1000'],
    )
  const bind = (source: string) => `type=bind,source=${source},target=/x`
  const local = `type=volume,target=/x,volume-driver=local,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=${host.root}`
  for (const mount of [bind(host.root), bind('/'), bind(`${folder}/links/there`), local])
    t.match(await create('--mount', mount), { code: 1, stderr: /would reach storage/ }, mount)
  t.match(await create('--name', 'fine', '--mount', bind('/etc')), { code: 0 })
  const update = (...options: string[]) =>
    tryDocker('service', 'update', '--detach', '--no-resolve-image', ...options, 'fine')
  t.match(await update('--mount-add', `type=bind,source=${host.root},target=/y`), {
    code: 1,
    stderr: /would reach storage/,
  })
  t.match(await update('--mount-add', 'type=bind,source=/var/log,target=/y'), { code: 0 })
  t.equal((await docker('service', 'ls', '--format', '{{.Name}}')).trim(), 'fine')
  await docker('service', 'rm', 'fine')
})

t.test('calls as nobody would write them: none is a way in, and the plugin fails at none', async (t) => {
  const started = () =>
    docker('inspect', '-f', '{{.State.StartedAt}} {{.State.Status}} {{.Name}}', 'vsm-data')
  const id = (await docker('inspect', '-f', '{{.Id}}', 'vsm-data')).trim()
  const before = await started()
  const containers = async () => (await docker('ps', '-aq', '--no-trunc')).split('\n').sort()
  const known = await containers()

  const reference = fc.constantFrom(
    'vsm-data',
    '/vsm-data',
    id,
    id.slice(0, 12),
    id.toUpperCase(),
    'vsm-data ',
  )
  const escaped = fc.func(fc.integer({ min: 0, max: 9 })).map(
    (dice) => (text: string) =>
      [...text]
        .map((letter, at) => {
          const fate = dice(letter, at)
          if (fate === 0) return `%${letter.charCodeAt(0).toString(16).padStart(2, '0')}`
          if (fate === 1) return letter.toUpperCase()
          return letter
        })
        .join('')
        .replaceAll(' ', '%20'),
  )
  const odd = fc.record({
    method: fc.constantFrom('POST', 'POST', 'POST', 'DELETE', 'PUT', 'HEAD', 'PATCH'),
    version: fc.constantFrom(
      '',
      '',
      '/v1.41',
      '/v1.24',
      '/v1.12',
      '/v9.9',
      '/V1.41',
      '//v1.41',
      '/v1.41/.',
      '/v1.41/../v1.41',
    ),
    action: fc.constantFrom(
      'stop',
      'kill',
      'restart',
      'pause',
      'rename?name=x',
      'update',
      'exec',
      'archive?path=/',
      'attach',
      'start/',
      'stop/',
      '../stop',
      ';/stop',
      'stop?t=1&t=0',
      '?force=1&v=1',
    ),
    reference,
    slash: fc.constantFrom('/', '/', '/', '/', '//', '/./', '%2f'),
    escaped,
    headers: fc.dictionary(
      fc.constantFrom(
        'X-Openebs-Plugin',
        'X-OpenEBS-Break-Glass-',
        'Content-Type',
        'Connection',
        'X-HTTP-Method-Override',
        'Upgrade',
        'X-Original-URL',
      ),
      fc.constantFrom('', ' ', '0'.repeat(64), 'application/json', 'text/plain', 'GET', 'close', '/_ping'),
    ),
    body: fc.oneof(fc.constant(undefined), fc.json()),
  })
  const key = fc.constantFrom('HostConfig', 'hostconfig', 'HOSTCONFIG', 'Ho\u017ftConfig')
  const binds = fc.constantFrom('Binds', 'binds', 'BINDS', 'Bind\u017f')
  const wanted = fc.constantFrom(`${host.root}:/x`, `${host.root}/data:/x:ro`, '/:/x', `//${host.root}/.:/x`)
  const body = fc
    .tuple(key, binds, wanted, fc.json(), fc.constantFrom('', ' ', '\n', '}', ',{}', '\u0000'))
    .map(
      ([host_, binds_, bind, more, tail]) =>
        `{"Image":${JSON.stringify(sidecarImage)},"${host_}":{"${binds_}":[${JSON.stringify(bind)}]},"Labels":{"x":${JSON.stringify(more)}}}${tail}`,
    )
  const answers = new Map<number, number>()
  const ask = async (...args: Parameters<typeof callEngine>) => {
    const { status, text } = await callEngine(...args)
    answers.set(status, (answers.get(status) ?? 0) + 1)
    return { status, text }
  }
  await fc.assert(
    fc.asyncProperty(odd, async ({ method, version, action, reference, slash, escaped, headers, body }) => {
      const path = `${version}/containers${slash}${escaped(reference)}${action.startsWith('?') ? '' : '/'}${action}`
      const { status, text } = await ask(host.engine, method, path, {
        // the way past the guard needs a reason
        headers: { ...headers, 'X-Openebs-Break-Glass': ' ' },
        ...(body !== undefined && { body }),
      })
      // the Engine has some of its own, as for an update without a body
      if (status >= 500 && /plugin|openebs/.test(text))
        throw new Error(`${method} ${path}: ${status} ${text}`)
    }),
    { numRuns: 400, seed: 7, endOnFailure: true },
  )
  await fc.assert(
    fc.asyncProperty(body, fc.boolean(), async (text, chunked) => {
      const headers = { 'content-type': 'application/json' }
      const { status } = await ask(host.engine, 'POST', '/containers/create', {
        headers,
        body: text,
        chunked,
      })
      return status === 403
    }),
    { numRuns: 150, seed: 7, endOnFailure: true },
  )
  t.comment(JSON.stringify(Object.fromEntries(answers)))
  t.equal(await started(), before, 'the target runs on, under its name')
  t.strictSame(await containers(), known, 'and no container has come')
  t.match(await docker('exec', 'web', 'df', '/d'), /\/d/)
})
