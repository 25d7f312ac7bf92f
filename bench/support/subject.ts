import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { get, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { until } from '../../process/backoff.ts'
import { type EtcdCluster, freePorts, startEtcd, type Teardown } from '../../test/support/etcd.ts'
import { now } from './clock.ts'
import { EtcdView } from './etcd-view.ts'
import { objectsWith } from './synthetic-engine.ts'

/** A container got, or lost, an instance in the registry. */
export interface Registered {
  readonly container: string
  readonly present: boolean
  /** ms since 1970 at which a watch delivered it. */
  readonly at: number
}

/** Where a subject registers, with the eyes of somebody who reads there. */
export interface Registry {
  /** How many instances there are; cheap. */
  count(): Promise<number>
  /** The names of the containers that have one. */
  containers(): Promise<ReadonlySet<string>>
  /** Resolves when the watch stands. */
  watch(t: Teardown, onChange: (registered: Registered) => void): Promise<void>
  clear(): Promise<void>
}

/** What is measured: our sidecar, or a peer that does the same work. */
export interface Subject {
  readonly name: 'ours' | 'peer'
  start(t: Teardown, docker: string, etcd: EtcdCluster, settings?: Record<string, string>): Promise<Running>
  registry(view: EtcdView, etcd: EtcdCluster): Registry
  /** Where it also writes what no service comes from: a key for each object of the engine. */
  readonly inventory?: string
}

/** A process that ends with what started it. */
export class Running {
  /** ms since 1970 just before it was started. */
  readonly startedAt = now()
  log = ''
  #child: ChildProcess

  constructor(t: Teardown, command: readonly string[], env: Record<string, string>) {
    // setpriv: it must not outlive this process, however this one ends
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], {
      env: { PATH: process.env.PATH, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', (chunk: Buffer) => (this.log += chunk))
    // a profile is written at the end of a program that ends by itself
    t.teardown(() => this.end(profiles ? 'SIGTERM' : 'SIGKILL'))
  }

  /** setpriv and the scripts end in an exec: it is the program's own. */
  get pid(): number {
    const { pid, exitCode, signalCode } = this.#child
    if (pid === undefined || exitCode !== null || signalCode !== null)
      throw new Error(`it does not run: ${this.log}`)
    return pid
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill(signal)
    await exit
  }
}

const program = join(import.meta.dirname, '../../cli/registrator.sh')

/** Settings with which ours finds what Node has made of its sources, as in our image: sidecar/Dockerfile does the same. */
export const compiled = async (t: Teardown): Promise<Record<string, string>> => {
  const folder = await mkdtemp(join(tmpdir(), 'compiled-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const settings = { NODE_COMPILE_CACHE: folder }
  for (const args of [['run', '--help'], ['-help']])
    await promisify(execFile)(program, args, { env: { PATH: process.env.PATH, ...settings } })
  return settings
}
/** A folder, for those who look for where the time goes: it gets a profile of each run of ours. */
const profiles = process.env.BENCH_PROFILES
const profiling = profiles ? { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profiles}` } : {}
/** Of a network for documentation: nobody has it. */
const address = '198.51.100.7'

const sidecar: Subject = {
  name: 'ours',
  async start(t, docker, etcd, settings = {}) {
    const [port] = await freePorts('127.0.0.1', 1)
    return new Running(t, [program, 'run'], {
      OPENEBS_STORE: etcd.uri,
      OPENEBS_HOST: 'h1',
      OPENEBS_ADDRESS: address,
      OPENEBS_LISTEN: `127.0.0.1:${port}`,
      DOCKER_HOST: docker,
      ...profiling,
      ...settings,
    })
  },
  registry: (view) => inKeys(view, '/openebs/v1/services/'),
  inventory: '/openebs/v1/inventory/h1/',
}

/** Ours under the peer's command line, which writes what the peer wrote and nothing else. */
const compat: Subject = {
  name: 'ours',
  async start(t, docker, etcd, settings = {}) {
    const [port] = await freePorts('127.0.0.1', 1)
    return new Running(t, [program, '-ip', address, `${etcd.uri}/services`], {
      OPENEBS_HOST: 'h1',
      OPENEBS_LISTEN: `127.0.0.1:${port}`,
      DOCKER_HOST: docker,
      ...profiling,
      ...settings,
    })
  },
  registry: (view) => inKeys(view, '/services/'),
}

/** PEER_REGISTRATOR is a command line in which {registry} stands for etcd://host:port/services. */
const peerOf = (command: string): Subject => ({
  name: 'peer',
  async start(t, docker, etcd) {
    const line = command.replaceAll('{registry}', `etcd://${etcd.member.address}/services`)
    return new Running(t, ['sh', '-c', `exec ${line}`], { DOCKER_HOST: docker })
  },
  registry: (view, etcd) => either(inKeys(view, '/services/'), inOldKeys(etcd.member.url)),
})

const command = process.env.PEER_REGISTRATOR
/** LAYOUT=registrator measures ours under the peer's command line. */
export const ours = process.env.LAYOUT === 'registrator' ? compat : sidecar
export const subjects: readonly Subject[] = command ? [ours, peerOf(command)] : [ours]

/** A single etcd as a subject may need it: the peer writes by the API of etcd 2. */
export const startRegistry = async (t: Teardown): Promise<{ etcd: EtcdCluster; view: EtcdView }> => {
  const etcd = await startEtcd(t, command ? { args: ['--enable-v2'] } : {})
  return { etcd, view: new EtcdView(t, etcd) }
}

/** Resolves with the time at which all of a synthetic engine is there; undefined after `ms`. */
export const whenSynced = async (
  subject: Subject,
  view: EtcdView,
  etcd: EtcdCluster,
  { containers, ms }: { containers: number; ms: number },
): Promise<number | undefined> => {
  const at = await whenCount(subject.registry(view, etcd), containers, ms)
  const { inventory } = subject
  if (at === undefined || inventory === undefined) return at
  const due = objectsWith(containers)
  const counted = async () => ((await view.count(inventory)) === due ? now() : undefined)
  // it may have been there with the last service: the later of the two is right to a few ms
  return until(counted, { ms, every: 25 })
}

/**
 * Resolves with the time at which as many instances were there as are due; undefined after `ms`. Asking every 5 ms took a
 * tenth of the two cores on which the sidecar worked; now a time is up to 25 ms too long, never too short.
 */
export const whenCount = async (
  registry: Pick<Registry, 'count'>,
  due: number,
  ms: number,
  every = 25,
): Promise<number | undefined> =>
  until(async () => ((await registry.count()) === due ? now() : undefined), { ms, every })

/** "<service>/<host>:<container>:<port>", of ours and of the peer. */
const containerOf = (key: string): string => key.split('/').at(-1)?.split(':')[1] ?? ''

const inKeys = (view: EtcdView, prefix: string): Registry => ({
  count: () => view.count(prefix),
  containers: async () => new Set((await view.keys(prefix)).map(containerOf)),
  watch: (t, onChange) =>
    view.watch(t, prefix, ({ key, value, at }) =>
      onChange({ container: containerOf(key), present: value !== undefined, at }),
    ),
  clear: () => view.delete(prefix),
})

interface OldNode {
  readonly key: string
  readonly dir?: boolean
  readonly nodes?: readonly OldNode[]
}

/** The API of etcd 2, below /services. */
const inOldKeys = (url: string): Registry => {
  const keys = `${url}/v2/keys/services?recursive=true`
  const leaves = async () => {
    const response = await fetch(keys)
    if (response.status === 404) return []
    const { node } = (await response.json()) as { node: OldNode }
    return leavesOf(node)
  }
  return {
    count: async () => (await leaves()).length,
    containers: async () => new Set((await leaves()).map(containerOf)),
    async watch(t, onChange) {
      const request = get(`${keys}&wait=true&stream=true`)
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      createInterface({ input: response }).on('line', (line) => {
        const { action, node } = JSON.parse(line) as { action: string; node: OldNode }
        if (!node.dir) onChange({ container: containerOf(node.key), present: !gone.has(action), at: now() })
      })
      t.teardown(() => request.destroy())
    },
    clear: async () => {
      await fetch(keys, { method: 'DELETE' })
    },
  }
}
const gone = new Set(['delete', 'expire', 'compareAndDelete'])
const leavesOf = (node: OldNode): string[] => (node.dir ? (node.nodes ?? []).flatMap(leavesOf) : [node.key])

/** A peer writes to one of them; which one is its own affair. */
const either = (a: Registry, b: Registry): Registry => ({
  count: async () => (await a.count()) + (await b.count()),
  containers: async () => (await a.containers()).union(await b.containers()),
  watch: async (t, onChange) => {
    await a.watch(t, onChange)
    await b.watch(t, onChange)
  },
  clear: async () => {
    await a.clear()
    await b.clear()
  },
})
