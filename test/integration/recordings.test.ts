import t from 'tap'
import { until } from '../../process/backoff.ts'
import recordings from '../data/peer-recordings.json' with { type: 'json' }
import { EngineHost } from '../support/engine-host.ts'
import { startEtcd } from '../support/etcd.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'

/**
 * What gliderlabs/registrator 7.4.0 wrote for 29 containers under six command lines, as recorded, beside what ours writes for the
 * same containers on a real Engine and a real etcd. A deliberate difference stands below, with its reason.
 */
if (process.getuid?.() !== 0) {
  t.plan(0, 'an engine of its own needs root')
  process.exit()
}

type Keys = Record<string, string>
type Case = (typeof recordings.cases)[number]

/** The recordings' names for command lines -> how ours is started. Each has an etcd prefix of its own here. */
const commandLines: Record<keyof typeof recordings.variants, (etcd: string) => string[]> = {
  '-ip 10.9.9.9 etcd': (etcd) => ['-ip', '10.9.9.9', `etcd://${etcd}/a`],
  'etcd (no -ip)': (etcd) => [`etcd://${etcd}/b`],
  '-internal etcd': (etcd) => ['-internal', `etcd://${etcd}/c`],
  '-explicit -ip 10.9.9.9 etcd': (etcd) => ['-explicit', '-ip', '10.9.9.9', `etcd://${etcd}/d`],
  '-useIpFromLabel myip etcd': (etcd) => ['-useIpFromLabel', 'myip', `etcd://${etcd}/e`],
  '-ip 10.9.9.9 skydns2': (etcd) => ['-ip=10.9.9.9', `skydns2://${etcd}/openebs.local`],
}
const roots = ['/a', '/b', '/c', '/d', '/e', '/skydns']

/** What differs on purpose: by what the value or the case is. */
const differences: Record<
  string,
  { when(variant: string): boolean; keys(keys: Keys): Keys; reason: string }
> = {
  'host-ip': {
    when: (variant) => !variant.startsWith('-internal'),
    keys: () => ({}),
    reason:
      "a port that is bound to the host's loopback alone reaches nobody elsewhere: it is not advertised",
  },
  'two-bindings': {
    when: (variant) => !variant.startsWith('-internal'),
    keys: (keys) => mapValues(keys, (value) => value.replace('18081', '18080')),
    reason:
      'of two bindings the peer takes one, not always the same: ours takes the one with the lowest port',
  },
  'user-network': {
    when: (variant) => variant === 'etcd (no -ip)' || variant === '-useIpFromLabel myip etcd',
    keys: (keys) => mapValues(keys, (value) => value.replace('<container-ip>', '127.0.0.1')),
    reason: "the container's address with the host's port is no endpoint: ours is the host's address",
  },
}

const mapValues = (keys: Keys, change: (value: string) => string): Keys =>
  Object.fromEntries(Object.entries(keys).map(([key, value]) => [key, change(value)]))

t.test('what the peer wrote', { timeout: 600_000 }, async (t) => {
  const engine = await EngineHost.prepare(t)
  const { docker } = engine
  await engine.start()
  const etcd = await startEtcd(t)
  const at = etcd.uri.replace('etcd://', '')
  const host = (await docker('info', '--format', '{{.Name}}')).trim()
  // without -ip the peer takes what the host's name resolves to, on most hosts the loopback; ours an address that others can use
  const address = '198.51.100.7'
  const settings = { DOCKER_HOST: engine.endpoint }
  const images = new Set<string>()
  for (const { image, expose } of recordings.cases) {
    if (images.has(image)) continue
    images.add(image)
    const changes = expose.flatMap((line) => line.replace(/ (?=SERVICE_TAGS)/, '\nLABEL ').split('\n'))
    await engine.importImage(image, ['/bin/sleep'], ...changes)
  }
  await docker('network', 'create', 'rec-net')
  const sidecars = await Promise.all(
    Object.values(commandLines).map((args) =>
      SidecarProcess.start(
        t,
        args(at).join(' ').includes('-ip') ? settings : { ...settings, OPENEBS_ADDRESS: address },
        args(at),
      ),
    ),
  )
  for (const sidecar of sidecars) await sidecar.ready()

  const standing = async (): Promise<Keys> => {
    const found = JSON.parse(await etcd.ctl('get', '--prefix', '/', '-w', 'json')) as {
      kvs?: { key: string; value: string }[]
    }
    const text = (base64: string) => Buffer.from(base64, 'base64').toString()
    return Object.fromEntries((found.kvs ?? []).map(({ key, value }) => [text(key), text(value)]))
  }
  const below = (all: Keys, root: string): Keys =>
    Object.fromEntries(
      Object.entries(all)
        .filter(([key]) => key.startsWith(`${root}/`) && !key.includes('sentinel'))
        .map(([key, value]) => [root === '/skydns' ? key : key.replace(root, '/services'), value]),
    )

  for (const { case: name, run, image, container } of recordings.cases as Case[])
    await t.test(name, async (t) => {
      await docker('run', '-d', '--name', container, ...run, image, '/bin/sleep', '900')
      // what is written after it is proves that nothing more is to come
      await docker(
        ...[
          'run',
          '-d',
          '--name',
          'sentinel',
          '-p',
          '19999:9',
          '--expose',
          '9',
          '-e',
          'SERVICE_NAME=sentinel',
        ],
        ...['bare:1', '/bin/sleep', '900'],
      )
      const ip = (
        await docker('inspect', '-f', '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}', container)
      ).trim()
      const seen = await until(
        async () => {
          const all = await standing()
          return Object.keys(all).filter((key) => key.includes('/sentinel/')).length === roots.length
            ? all
            : undefined
        },
        { ms: 30_000 },
      )
      if (!seen) t.comment(sidecars.map((sidecar) => sidecar.log).join('\n'))
      for (const [index, [variant, recorded]] of Object.entries(recordings.variants).entries()) {
        const given = (recorded as Record<string, Keys>)[name] ?? {}
        const difference = differences[name]
        const wanted = difference?.when(variant) ? difference.keys(given) : given
        const expected = Object.fromEntries(
          Object.entries(wanted).map(([key, value]) => [
            key.replace('<host>', host),
            value.replace('<container-ip>', ip).replace(/^127\.0\.0\.1:/, `${address}:`),
          ]),
        )
        const root = roots[index] ?? ''
        const reason = difference?.when(variant) ? ` (deliberately: ${difference.reason})` : ''
        t.strictSame(below(seen ?? {}, root), expected, `${variant}${reason}`)
      }
      await docker('rm', '-f', container, 'sentinel')
      const gone = await until(
        async () =>
          Object.keys(await standing()).every((key) => key.startsWith('/openebs/')) ? true : undefined,
        { ms: 20_000 },
      )
      t.ok(gone, 'nothing is left when it has gone')
    })
  await t.test('SIGTERM withdraws', async (t) => {
    await docker('run', '-d', '--name', 'last', '-p', '18080:80', 'web:1', '/bin/sleep', '900')
    const isThere = async () => (JSON.stringify(await standing()).includes(':last:80') ? true : undefined)
    t.ok(await until(isThere, { ms: 20_000 }))
    for (const sidecar of sidecars) t.equal(await sidecar.end('SIGTERM'), 0)
    t.strictSame(
      Object.keys(await standing()).filter((key) => !key.startsWith('/openebs/')),
      [],
    )
  })
})
