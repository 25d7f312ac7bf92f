import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { EngineHost } from '../support/engine-host.ts'
import { startEtcd } from '../support/etcd.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'

/**
 * The journal of a real engine, compared with what `docker events` printed meanwhile: all of it but the noise, each once,
 * in order, over restarts of the sidecar. Steps build on each other.
 */
const suite = t
if (process.getuid?.() !== 0) {
  t.plan(0, 'an engine of its own needs root')
  process.exit()
}

const engine = await EngineHost.prepare(t)
const { docker } = engine
const etcd = await startEtcd(t)
await engine.start()

/** "<timeNano> <type> <action> <id>" of every event but the noise, in the order of printing. */
class Recorder {
  readonly #lines: string[] = []
  readonly #child: ChildProcess
  #rest = ''

  /** Also of what the daemon still remembers. */
  constructor() {
    const args = ['events', '--since', '1', '--format', '{{json .}}']
    const env = { ...process.env, DOCKER_HOST: engine.endpoint }
    this.#child = spawn('docker', args, { env, stdio: ['ignore', 'pipe', 'ignore'] })
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (this.#rest + text).split('\n')
      this.#rest = lines.pop() ?? ''
      this.#lines.push(...lines)
    })
    suite.teardown(() => this.#child.kill())
  }

  get events(): string[] {
    const noise = /^(exec_|top$|resize$)/
    return this.#lines.flatMap((line) => {
      const { Type, Action, Actor } = JSON.parse(line) as Printed
      const nano = /"timeNano":(\d+)/.exec(line)?.[1]
      return noise.test(Action) ? [] : [`${nano} ${Type} ${Action} ${Actor.ID}`]
    })
  }
}
interface Printed {
  readonly Type: string
  readonly Action: string
  readonly Actor: { readonly ID: string }
}

interface Entry {
  readonly kind: string
  readonly nano: string
  readonly time: string
  readonly from?: string
  readonly to?: string
  readonly reason?: string
  readonly type?: string
  readonly action?: string
  readonly id?: string
  readonly attributes?: Record<string, string>
  /** How often the key was written. */
  readonly version: number
}

/** What etcdctl prints of the journal, in the order of its keys. */
const journal = async (): Promise<Entry[]> => {
  const printed = await etcd.ctl('get', '--prefix', '--write-out=json', '/openebs/v1/events/h1/')
  const { kvs = [] } = JSON.parse(printed) as { kvs?: { key: string; value: string; version: number }[] }
  const text = (base64: string) => Buffer.from(base64, 'base64').toString()
  return kvs.map(({ key, value, version }) => {
    const nano = text(key).split('/').at(-1)?.slice(0, 19) ?? ''
    return { ...(JSON.parse(text(value)) as Omit<Entry, 'nano' | 'version'>), nano, version }
  })
}
const lineOf = ({ nano, type, action, id }: Entry) => `${nano} ${type} ${action} ${id}`
const gapsOf = (entries: readonly Entry[]) => entries.filter(({ kind }) => kind === 'gap')

let recorder = new Recorder()
const settings: Record<string, string> = {
  OPENEBS_STORE: etcd.uri,
  DOCKER_HOST: engine.endpoint,
  OPENEBS_HOST: 'h1',
  OPENEBS_ADDRESS: '198.51.100.7',
  OPENEBS_RESYNC: '60',
  OPENEBS_LABELS: 'com.example.*',
}
let sidecar = await SidecarProcess.start(t, settings)
const seat = new URL(sidecar.url).host
const restart = async (change: Record<string, string> = {}) => {
  sidecar = await SidecarProcess.start(suite, { ...settings, OPENEBS_LISTEN: seat, ...change })
}

/** Waits until the journal has all that was printed, after what only an earlier recorder saw; shows the difference if not. */
const agrees = async (t: Test, what: string, earlier: readonly string[] = []): Promise<Entry[]> => {
  const wanted = () => [...new Set([...earlier, ...recorder.events])].sort()
  let entries: Entry[] = []
  const found = () => entries.filter(({ kind }) => kind === 'event').map(lineOf)
  const equal = async () => {
    entries = await journal()
    return found().sort().join('\n') === wanted().join('\n') || undefined
  }
  if (!(await until(equal, { ms: 10_000 }))) t.comment(sidecar.log)
  t.strictSame(found().sort(), wanted(), what)
  const nanos = entries.map(({ nano }) => nano)
  t.strictSame(nanos, [...nanos].sort(), 'in order')
  t.ok(
    entries.every(({ version }) => version === 1),
    'each was written once',
  )
  return entries
}

const loop = 'CMD ["/bin/sh","-c","trap exit TERM; while :; do /bin/sleep 900 & wait; done"]'
await engine.importImage('web:1', ['/bin/sh', '/bin/sleep'], loop)

t.test('events of every type', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'journal-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const check = ['--health-cmd', '[ -e /well ]', '--health-interval', '200ms', '--health-retries', '1']
  await docker('network', 'create', 'net1')
  await docker('volume', 'create', 'v1')
  await docker(
    'run',
    '-d',
    '--name',
    'c1',
    ...check,
    '-v',
    'v1:/data',
    '-l',
    'com.example.a=1',
    '-l',
    'secret=2',
    'web:1',
  )
  const health = (wanted: string) =>
    until(
      async () =>
        (await docker('inspect', '-f', '{{.State.Health.Status}}', 'c1')).includes(wanted) || undefined,
      {
        ms: 10_000,
      },
    )
  t.ok(await health('unhealthy'))
  await docker('exec', 'c1', '/bin/sh', '-c', '>/well')
  t.ok(await health('healthy'))
  await docker('pause', 'c1')
  await docker('unpause', 'c1')
  await docker('rename', 'c1', 'c2')
  await docker('update', '--restart', 'no', 'c2')
  await docker('network', 'connect', 'net1', 'c2')
  await docker('network', 'disconnect', 'net1', 'c2')
  await docker('top', 'c2')
  await docker('cp', 'c2:/well', folder)
  await docker('cp', `${folder}/well`, 'c2:/better')
  await docker('export', '-o', `${folder}/export.tar`, 'c2')
  await docker('commit', 'c2', 'web:3')
  await docker('restart', '-t', '5', 'c2')
  await docker('stop', '-t', '5', 'c2')
  await docker('start', 'c2')
  await docker('kill', 'c2')
  await docker('rm', 'c2')
  await docker('run', '--name', 'c3', '--entrypoint', '/bin/sh', 'web:1', '-c', 'exit 3').catch(() => {})
  await docker('container', 'prune', '-f')
  await docker('tag', 'web:1', 'web:2')
  await docker('save', '-o', `${folder}/save.tar`, 'web:2')
  await docker('rmi', 'web:2', 'web:3')
  await docker('load', '-i', `${folder}/save.tar`)
  await docker('image', 'prune', '-f')
  await docker('volume', 'rm', 'v1')
  await docker('volume', 'create', 'v2')
  await docker('volume', 'prune', '-f')
  await docker('network', 'rm', 'net1')
  await docker('network', 'create', 'net2')
  await docker('network', 'prune', '-f')
  await docker('builder', 'prune', '-f')
  await mkdir(join(folder, 'plugin/rootfs'), { recursive: true })
  const manifest = {
    description: 'x',
    entrypoint: ['/x'],
    interface: { types: ['docker.volumedriver/1.0'], socket: 'x.sock' },
  }
  await writeFile(join(folder, 'plugin/config.json'), JSON.stringify(manifest))
  await docker('plugin', 'create', 'example/p1', join(folder, 'plugin'))
  await docker('plugin', 'rm', 'example/p1')
  await writeFile(join(engine.folder, 'daemon.json'), JSON.stringify({ debug: true }))
  await engine.exec('kill', '-HUP', (await readFile(join(engine.folder, 'docker.pid'), 'utf8')).trim())
  await docker('swarm', 'init', '--advertise-addr', await engine.address())
  await writeFile(join(folder, 'hush'), 'hush')
  await docker('secret', 'create', 'secret1', join(folder, 'hush'))
  await docker('config', 'create', 'config1', join(folder, 'hush'))
  await docker(
    'service',
    'create',
    '--detach',
    '--no-resolve-image',
    '--replicas',
    '0',
    '--name',
    's1',
    'web:1',
  )
  await docker('service', 'update', '--detach', '--label-add', 'a=b', 's1')
  const node = (await docker('info', '-f', '{{.Swarm.NodeID}}')).trim()
  await docker('node', 'update', '--label-add', 'a=b', node)
  await docker('service', 'rm', 's1')
  await docker('secret', 'rm', 'secret1')
  await docker('config', 'rm', 'config1')
  const swarmed = () => recorder.events.some((event) => / config remove /.test(event)) || undefined
  t.ok(await until(swarmed, { ms: 10_000 }), 'the swarm has told')
  await docker('swarm', 'leave', '--force')

  const entries = await agrees(t, 'all of them are in the journal')
  t.strictSame(gapsOf(entries), [], 'no gap')
  const seen = new Set(entries.map(({ type, action }) => `${type} ${action}`))
  const wanted = [
    ...[
      'create',
      'start',
      'health_status: unhealthy',
      'health_status: healthy',
      'pause',
      'unpause',
      'rename',
    ],
    ...['update', 'archive-path', 'extract-to-dir', 'export', 'commit', 'restart', 'stop', 'kill', 'die'],
    ...['attach', 'destroy', 'prune'],
  ].map((action) => `container ${action}`)
  wanted.push(
    ...['import', 'tag', 'untag', 'save', 'load', 'delete', 'prune'].map((action) => `image ${action}`),
  )
  wanted.push(...['create', 'mount', 'unmount', 'destroy', 'prune'].map((action) => `volume ${action}`))
  wanted.push(...['create', 'connect', 'disconnect', 'destroy', 'prune'].map((action) => `network ${action}`))
  wanted.push('plugin create', 'plugin remove', 'daemon reload', 'builder prune', 'node update')
  for (const type of ['service', 'secret', 'config']) wanted.push(`${type} create`, `${type} remove`)
  wanted.push('service update')
  t.strictSame(
    wanted.filter((one) => !seen.has(one)),
    [],
    'of every type',
  )
  const died = entries.find(({ action, attributes }) => action === 'die' && attributes?.exitCode === '137')
  t.strictSame(Object.keys(died?.attributes ?? {}).sort(), ['com.example.a', 'exitCode', 'image'])
  t.notMatch(
    await etcd.ctl('get', '--prefix', '--print-value-only', '/openebs/v1/events/'),
    /hush|secret=|"secret":/,
  )
})

t.test('a sidecar that is killed, and comes back later', async (t) => {
  await docker('volume', 'create', 'w1')
  await agrees(t, 'before')
  await sidecar.end('SIGKILL')
  for (let index = 0; index < 5; index++) await docker('run', '--rm', 'web:1', '/bin/sh', '-c', ':')
  await restart()
  await docker('volume', 'create', 'w2')
  t.strictSame(gapsOf(await agrees(t, 'what happened meanwhile')), [], 'no gap')
  await sidecar.end('SIGKILL') // at once after it has written, and again before it can
  await restart()
  await docker('volume', 'create', 'w3')
  await sidecar.end('SIGKILL')
  await docker('volume', 'rm', 'w1', 'w2', 'w3')
  await restart()
  t.strictSame(gapsOf(await agrees(t, 'and twice in a row')), [], 'no gap')
})

t.test('etcd is away for a while', async (t) => {
  await etcd.member.kill()
  await docker('run', '--rm', 'web:1', '/bin/sh', '-c', ':')
  await sidecar.end('SIGKILL')
  await docker('run', '--rm', 'web:1', '/bin/sh', '-c', ':')
  await restart()
  await docker('run', '--rm', 'web:1', '/bin/sh', '-c', ':')
  await etcd.member.start()
  t.strictSame(gapsOf(await agrees(t, 'written when it is back')), [], 'no gap')
})

t.test('SIGTERM writes what waits, and leaves the journal', async (t) => {
  await docker('volume', 'create', 'x1')
  t.equal(await sidecar.end('SIGTERM'), 0)
  await agrees(t, 'all is there')
})

let earlier: string[] = []

t.test('the daemon is restarted while no sidecar runs', async (t) => {
  earlier = recorder.events
  await docker('volume', 'create', 'lost')
  const lost = await until(() => recorder.events.find((event) => event.endsWith(' volume create lost')), {
    ms: 5000,
  })
  await engine.halt('TERM')
  await engine.start()
  recorder = new Recorder()
  await docker('volume', 'create', 'y1')
  await restart()
  await docker('volume', 'create', 'y2')
  const entries = await agrees(t, 'what came after', earlier)
  const [gap, ...more] = gapsOf(entries)
  t.strictSame(more, [], 'one gap')
  t.match(gap, { reason: /no sidecar ran/ })
  const at = Number(lost?.slice(0, 13))
  t.ok(Date.parse(gap?.from ?? '') <= at && at <= Date.parse(gap?.to ?? ''), 'which spans what is lost')
  const index = entries.findIndex(({ kind }) => kind === 'gap')
  t.strictSame(
    [entries[index - 1], entries[index + 1]].map((entry) => entry && lineOf(entry).split(' ').at(-1)),
    ['x1', 'y1'],
    'and stands in its place',
  )
})

t.test('the daemon is restarted while the sidecar runs', async (t) => {
  const before = gapsOf(await journal()).length
  earlier = [...earlier, ...recorder.events]
  await engine.halt('KILL')
  await engine.start()
  recorder = new Recorder()
  await docker('volume', 'create', 'z1')
  const entries = await agrees(t, 'what came after', earlier)
  const gaps = gapsOf(entries).slice(before)
  t.equal(gaps.length, 1, 'one more gap')
  t.match(gaps[0], { reason: /the event stream|closed/ })
  await pause(1000)
  t.equal(gapsOf(await journal()).length, before + 1, 'and no other')
})

t.test('a limit, and what is counted', async (t) => {
  const all = (await journal()).length
  t.match(await sidecar.get('/metrics'), new RegExp(`^openebs_journal_entries ${all}$`, 'm'))
  t.match(await sidecar.get('/metrics'), /^openebs_events_gaps_total [12]$/m)
  await sidecar.end('SIGTERM')
  await restart({ OPENEBS_EVENTS_MOST: '20' })
  for (let index = 0; index < 30; index++) await docker('volume', 'create', `m${index}`)
  const newest = recorder.events.slice(-20)
  const has = async () => {
    return (await journal()).map(lineOf).join('\n') === newest.join('\n') || undefined
  }
  t.ok(await until(has, { ms: 10_000 }), 'the newest stay')
  t.match(await sidecar.get('/metrics'), /^openebs_journal_entries 20$/m)
  await sidecar.end('SIGTERM')
  await restart({ OPENEBS_EVENTS_MOST: '0' })
  const ready = async () => (await sidecar.missing()).length === 0 || undefined
  t.ok(await until(ready, { ms: 10_000 }))
  await docker('volume', 'create', 'unheard')
  t.equal((await journal()).length, 20, '0: no journal, and the old one stays')
})
