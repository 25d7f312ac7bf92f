import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { EngineHost } from '../support/engine-host.ts'
import { type EtcdCluster, type EtcdOptions, startEtcd, type Teardown } from '../support/etcd.ts'
import { journalFaults } from '../support/journal.ts'
import { Monitor } from '../support/monitor.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import { Random } from '../support/random.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'
import { differences, type Sides } from '../support/truth.ts'
import { Load } from './load.ts'
import {
  type FaultTarget,
  startTarget,
  targetDifferences,
  targetsDifferences,
  targetsPath,
  viewDifferences,
  views,
} from './targets.ts'

export interface StageOptions {
  readonly etcd?: EtcdOptions
  /** A proxy before each member of etcd; the sidecar then knows those alone. */
  readonly proxied?: boolean
  /** More settings of the sidecar. */
  readonly settings?: Readonly<Record<string, string>>
  /** Keys that the test itself changes, beside what the sidecar does. */
  readonly changedByTest?: (key: string) => boolean
}

const host = 'h1'
const address = '198.51.100.7'

/** A host with its engine, its sidecar and an etcd: all of them real. They live through all faults of a file. */
export class Stage {
  readonly engine: EngineHost
  /** What the sidecar writes to, where that is not the registry. */
  readonly target: FaultTarget | undefined
  readonly etcd: EtcdCluster
  readonly proxies: readonly TcpProxy[]
  readonly settings: Record<string, string>
  sidecar: SidecarProcess
  /** Of the fault and the seed of now. */
  random = new Random(0)
  load: Load
  monitor: Monitor | undefined
  readonly #test: Teardown
  readonly #changedByTest: (key: string) => boolean
  #daemon = '{}'

  private constructor(
    t: Teardown,
    parts: Pick<Stage, 'engine' | 'etcd' | 'target' | 'proxies' | 'settings' | 'sidecar'>,
    changedByTest: (key: string) => boolean = () => false,
  ) {
    this.#changedByTest = changedByTest
    this.#test = t
    this.engine = parts.engine
    this.target = parts.target
    this.etcd = parts.etcd
    this.proxies = parts.proxies
    this.settings = parts.settings
    this.sidecar = parts.sidecar
    this.load = new Load(this.engine, this.random, 'first')
  }

  static async set(t: Teardown, options: StageOptions = {}): Promise<Stage> {
    const engine = await EngineHost.prepare(t)
    const [etcd] = await Promise.all([startEtcd(t, options.etcd), engine.start()])
    const members = etcd.members.map((member) => member.address)
    const proxies = options.proxied ? await Promise.all(members.map((member) => startProxy(t, member))) : []
    const store = options.proxied ? `etcd://${proxies.map((proxy) => proxy.address).join()}` : etcd.uri
    const target = await startTarget(t, etcd)
    const folder = await mkdtemp(join(tmpdir(), 'targets-'))
    t.teardown(() => rm(folder, { recursive: true, force: true }))
    const file = join(folder, 'openebs.json')
    const settings = {
      ...(target ? {} : { OPENEBS_STORE: store, OPENEBS_VIEWS: views, OPENEBS_PROMETHEUS_FILE: file }),
      DOCKER_HOST: engine.endpoint,
      OPENEBS_HOST: host,
      OPENEBS_ADDRESS: address,
      OPENEBS_TTL: '15',
      ...options.settings,
    }
    await Load.prepare(engine)
    const sidecar = await SidecarProcess.start(t, settings, target?.args)
    await sidecar.ready()
    return new Stage(t, { engine, etcd, target, proxies, settings, sidecar }, options.changedByTest)
  }

  /** What the sidecar listens on: a successor that listens there too need not wait for its lease. */
  get seat(): string {
    return new URL(this.sidecar.url).host
  }

  /**
   * Starts a sidecar, on the seat of the one before unless another is set; returns when it answers. What is promised counts from
   * there: how long a busy machine takes to load a program is not the sidecar's.
   */
  async startSidecar(settings: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.launchSidecar(settings)
    await this.sidecar.answers()
  }

  /** The same without waiting, for what is to happen while it starts. */
  async launchSidecar(settings: Readonly<Record<string, string>> = {}): Promise<void> {
    const all = { ...this.settings, OPENEBS_LISTEN: this.seat, ...settings }
    this.sidecar = await SidecarProcess.start(this.#test, all, this.target?.args)
  }

  /** Has the engine run with these settings (daemon.json); restarts it where it does not. */
  async daemon(settings: object): Promise<void> {
    const wanted = JSON.stringify(settings)
    if (wanted === this.#daemon) return
    this.#daemon = wanted
    await this.engine.halt('TERM')
    await this.engine.start(settings)
  }

  /** Starts the engine that has ended, as it was. */
  async startEngine(): Promise<void> {
    await this.engine.start(JSON.parse(this.#daemon))
  }

  async watch(): Promise<void> {
    if (this.target) return
    this.monitor = await Monitor.start(this.#test, this.etcd, host, { mayChange: this.#changedByTest })
  }

  readonly etcdctl = (...args: string[]): Promise<string> => this.etcd.ctl(...args)

  /** What the registry and the host differ in. */
  readonly differences = async (): Promise<string[]> => {
    const sides = this.#sides
    if (this.target) return targetDifferences(sides, this.target)
    const found = await differences(sides)
    if (found.length > 0) return found
    const seen = await viewDifferences(sides, this.etcd)
    return seen.length > 0 ? seen : targetsDifferences(await this.sidecar.get(targetsPath), sides)
  }

  /** What the file for Prometheus and the host differ in: it may be a second later than the registry. */
  readonly fileDifferences = async (): Promise<string[]> =>
    this.target
      ? []
      : targetsDifferences(await readFile(this.settings.OPENEBS_PROMETHEUS_FILE ?? '', 'utf8'), this.#sides)

  get #sides(): Sides {
    return {
      docker: this.engine.docker,
      etcdctl: this.etcdctl,
      host,
      address,
      settings: this.settings,
    }
  }

  /** What is wrong in the journal, in the light of what was killed. */
  readonly journal = async (): Promise<string[]> =>
    this.target ? [] : journalFaults(this.etcdctl, host, this.load.killed)

  /**
   * Waits until the registry equals the host. It is late when a comparison that began after `ms` finds a difference: what
   * counts is when it looked, not how long the programs take that it looks with.
   */
  async agrees(t: Test, ms: number, what: string): Promise<void> {
    const from = performance.now()
    for (;;) {
      const began = performance.now() - from
      const last = await this.differences().catch((error: unknown) => [String(error)])
      if (last.length > 0 && began < ms) {
        await pause(20)
        continue
      }
      if (last.length > 0) t.comment(`the sidecar wrote:\n${this.sidecar.log.slice(-4000)}`)
      t.strictSame(last, [], `${what}: the registry equals the host (looked at after ${seconds(began)})`)
      return
    }
  }

  /** Waits until the sidecar's /readyz names something like `what`; a sentence that says so. */
  async misses(what: RegExp, ms = 10_000): Promise<string | undefined> {
    const found = await until(
      async () => (await this.sidecar.missing()).find((missing) => what.test(missing)),
      {
        ms,
        every: 100,
      },
    )
    return found && `/readyz: ${found}`
  }

  /** Whether a write into etcd fails, and how. */
  async writeFails(...write: string[]): Promise<string | undefined> {
    const put = write.length > 0 ? write : ['put', '/elsewhere', 'x']
    return this.etcdctl('--command-timeout=1s', '--dial-timeout=1s', ...put).then(
      () => undefined,
      (error: Error) => error.message.trim().split('\n').at(-1)?.slice(-200),
    )
  }
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`
