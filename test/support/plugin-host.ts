import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import manifest from '../../package.json' with { type: 'json' }
import { until } from '../../process/backoff.ts'
import { buildImages, chosenSuite, EngineHost, type Ran } from './engine-host.ts'
import { type EtcdCluster, startEtcd, type Teardown } from './etcd.ts'

const run = promisify(execFile)
/** Of the plugin's command line. */
export const pluginProgram = '/app/plugin/start.ts'

const template = join(import.meta.dirname, 'template.sh')
/** As template.sh leaves it. */
const pluginFolder = join(process.env.OPENEBS_CACHE ?? join(import.meta.dirname, '../../.cache'), 'plugin')

const suite = chosenSuite()

/** This machine's address on the network of test hosts (engine.sh). */
const machine = '198.19.0.1'
export const vsmImage = `openebs/vsm:${manifest.version}`
export const sidecarImage = `openebs/registrator-sidecar:${manifest.version}`

export interface HostOptions {
  settings?: Record<string, string>
  authz?: boolean
}

/**
 * A real Engine as a host of its own with the managed plugin of this clone, beside a real etcd of this machine: what
 * `make up` leaves, but apart from any daemon of the user. It ends with the test.
 */
export class PluginHost {
  readonly name = 'h1'
  readonly engine: EngineHost
  readonly etcd: EtcdCluster
  readonly #settings: Record<string, string>
  #daemon: object = {}
  #daemonOptions: readonly string[] = []

  private constructor(engine: EngineHost, etcd: EtcdCluster, settings: Record<string, string>) {
    this.engine = engine
    this.etcd = etcd
    this.#settings = settings
  }

  /** `settings` of the plugin, such as OPENEBS_PORTS. With `authz` the Engine asks the plugin about every call. */
  static async start(t: Teardown, options: HostOptions = {}): Promise<PluginHost> {
    // tap runs no teardown after an error outside of a test: what was started until then ends here
    const started: (() => unknown)[] = []
    const endAll = async () => {
      for (const end of started.splice(0).reverse()) await end()
    }
    t.teardown(endAll)
    try {
      return await PluginHost.#start({ teardown: (end) => started.push(end) }, options)
    } catch (error) {
      await endAll()
      throw error
    }
  }

  static async #start(t: Teardown, { settings = {}, authz = false }: HostOptions): Promise<PluginHost> {
    const data = (await run('sh', [template], { maxBuffer: 1 << 26 })).stdout.trim()
    const engine = await EngineHost.prepare(t, { data, suite })
    await engine.start()
    const etcd = await startEtcd(t, { listen: machine })
    const host = new PluginHost(engine, etcd, settings)
    await host.#enable()
    if (authz) await host.authorize()
    return host
  }

  /** A host as it is before the plugin is installed: it has no image either. */
  static async bare(t: Teardown): Promise<PluginHost> {
    await buildImages('vsm', 'registrator-sidecar', 'registrator-rootfs', 'plugin')
    const engine = await EngineHost.prepare(t, { suite })
    await engine.start()
    return new PluginHost(engine, await startEtcd(t, { listen: machine }), {})
  }

  /** Of the plugin, as `docker plugin set` and `install` take them. */
  get settings(): string[] {
    const settings = {
      OPENEBS_STORE: this.etcd.uri,
      OPENEBS_HOST: this.name,
      OPENEBS_ROOT: this.root,
      'docker.source': this.engine.folder,
      ...this.#settings,
    }
    return Object.entries(settings).map(([name, value]) => `${name}=${value}`)
  }

  /** Pushes the plugin of this clone to a registry, after `change` has changed it in its folder. */
  async publish(reference: string, change?: (folder: string) => Promise<void>): Promise<void> {
    const { docker } = this.engine
    const folder = join(this.engine.folder, 'published')
    await run('cp', ['-a', pluginFolder, folder])
    await change?.(folder)
    await docker('plugin', 'create', reference, folder)
    await docker('plugin', 'push', reference)
    await docker('plugin', 'rm', reference)
    await rm(folder, { recursive: true })
  }

  /**
   * The Engine gives a plugin some ten seconds until it listens, and a machine that is busy with other tests may need more: so it
   * is repeated, as a user would.
   */
  async #enable(): Promise<void> {
    const { docker, tryDocker } = this.engine
    await docker('plugin', 'set', 'openebs', ...this.settings)
    let why = ''
    const enabled = async () => {
      const { code, stderr } = await tryDocker('plugin', 'enable', 'openebs')
      why = stderr.trim()
      return code === 0
    }
    await this.until('the plugin is enabled', enabled, 60_000).catch((error: Error) => {
      throw new Error(`${error.message}\n${why}`)
    })
  }

  /** Removes the plugin with all that it keeps, and installs it anew. */
  async reinstall(): Promise<void> {
    const { docker } = this.engine
    await docker('plugin', 'rm', '-f', 'openebs')
    await docker('plugin', 'create', 'openebs', pluginFolder)
    await this.#enable()
  }

  /** Folder of this host that holds a folder per volume. */
  get root(): string {
    return join(this.engine.folder, 'openebs')
  }

  /** daemon.json, from the next reload or start on, and further options of dockerd from the next start on. */
  async configure(daemon: object, ...options: string[]): Promise<void> {
    this.#daemon = daemon
    this.#daemonOptions = options
    await writeFile(join(this.engine.folder, 'daemon.json'), JSON.stringify(daemon))
  }

  /** SIGHUP, as `systemctl reload docker` does. */
  async reload(): Promise<void> {
    const pid = (await readFile(join(this.engine.folder, 'docker.pid'), 'utf8')).trim()
    await this.engine.exec('kill', '-HUP', pid)
  }

  /** Has the Engine ask the plugin about every call, as an operator would: daemon.json and SIGHUP. */
  async authorize(): Promise<void> {
    await this.configure({ 'authorization-plugins': ['openebs'] })
    await this.reload()
    // neither `docker info` nor the log tell whether a reload took it up: only what the plugin sees does
    await this.until('the Engine asks the plugin', async () => {
      const probe = ['create', '--name', 'authz-probe', '--label', 'openebs.role=initiator', vsmImage]
      // Both are refused while the plugin does not know its volumes yet. The Engine may begin to ask between them.
      await this.engine.tryDocker(...probe)
      if ((await this.engine.tryDocker('rm', 'authz-probe')).code !== 0) return false
      return (await this.keys('audit/')).length > 0
    })
  }

  /** Ends dockerd and starts it again; `crash` ends the whole host first. */
  async restart(how: 'TERM' | 'KILL' | 'crash'): Promise<void> {
    if (how === 'crash') await this.engine.crash()
    else await this.engine.halt(how)
    await this.start()
  }

  /** Starts dockerd as it is configured. */
  async start(): Promise<void> {
    await this.engine.start(this.#daemon, ...this.#daemonOptions)
  }

  /** The sidecar as a container, as `make up` starts it. */
  async startSidecar(): Promise<void> {
    await this.engine.docker(
      ...[
        'run',
        '-d',
        '--name',
        'openebs-registrator',
        '--label',
        'openebs.role=registrator',
        '--network',
        'host',
      ],
      ...['--restart', 'always', '--read-only', '--tmpfs', '/tmp', '--cap-drop', 'ALL'],
      ...[
        '--mount',
        `type=bind,source=${this.engine.folder},target=/run/docker-host,readonly,bind-nonrecursive`,
      ],
      ...['-e', 'DOCKER_HOST=unix:///run/docker-host/docker.sock', '-e', `OPENEBS_STORE=${this.etcd.uri}`],
      ...['-e', `OPENEBS_HOST=${this.name}`, '-e', 'OPENEBS_LISTEN=127.0.0.1:9273', sidecarImage],
    )
  }

  /** Runs a shell script in a new container with volumes, as `-v` takes them; prints what it printed. */
  async shell(volumes: readonly string[], script: string): Promise<string> {
    const mounts = volumes.flatMap((volume) => ['-v', volume])
    return (
      await this.engine.docker(
        'run',
        '--rm',
        '--network',
        'none',
        ...mounts,
        '--entrypoint',
        'sh',
        sidecarImage,
        '-euc',
        script,
      )
    ).trim()
  }

  /** A container that runs on and on, restarted always; gives its name. */
  async service(name: string, volume: string, script: string): Promise<string> {
    const args = [
      'run',
      '-d',
      '--name',
      name,
      '--restart',
      'always',
      '--network',
      'none',
      '--stop-timeout',
      '2',
      '-v',
      volume,
    ]
    await this.engine.docker(...args, '--entrypoint', 'sh', sidecarImage, '-euc', script)
    return name
  }

  async etcdctl(...args: string[]): Promise<string> {
    return (await this.etcd.ctl(...args)).trim()
  }

  /** Keys of the registry below a prefix, without /openebs/v1/. */
  async keys(prefix = ''): Promise<string[]> {
    const text = await this.etcdctl('get', '--prefix', `/openebs/v1/${prefix}`, '--keys-only')
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.slice('/openebs/v1/'.length))
  }

  /** Everything on the host that a volume could have left behind, for comparing with what was there before. */
  async traces(): Promise<string[]> {
    const containers = (await this.engine.docker('ps', '-a', '--format', '{{.Names}}')).split('\n')
    const volumes = (await this.engine.docker('volume', 'ls', '-q')).split('\n')
    const folders = await readdir(this.root).catch(() => [])
    const mounts = (await this.engine.exec('cat', '/proc/self/mountinfo'))
      .split('\n')
      .filter((line) => line.includes(`${this.engine.folder}/`) && line.includes('/propagated-mount/mounts/'))
    const keys = (await this.keys()).filter((key) => /^(volumes|targets|attachments|secrets)\//.test(key))
    return [...containers, ...volumes, ...folders, ...mounts, ...keys].filter((line) => line !== '').sort()
  }

  /**
   * Kills the plugin, once it has run for some seconds: an Engine gives up one that dies just after its start, and that is
   * not what tests are about.
   */
  async killPlugin(): Promise<void> {
    await this.settledPlugin()
    await this.engine.exec('kill', '-KILL', ...(await this.processes(pluginProgram)))
  }

  /** Its folder that the host and the plugin share, as the host has it. */
  async propagatedMount(): Promise<string> {
    const id = (await this.engine.docker('plugin', 'inspect', '-f', '{{.Id}}', 'openebs')).trim()
    return `${this.engine.folder}/data/plugins/${id}/propagated-mount`
  }

  /** Where this machine's programs find the folder that the plugin keeps its state in. */
  async state(): Promise<string> {
    return this.engine.path(await this.propagatedMount())
  }

  /** Runs something, and kills the plugin at the very moment that it has done a step (plugin/stand-still.ts). */
  async killAfter(step: string, run: () => Promise<Ran>): Promise<Ran> {
    await this.settledPlugin()
    const file = join(await this.state(), 'stand-still-after')
    await writeFile(file, step)
    const before = await this.processes(pluginProgram)
    const running = run()
    try {
      await this.until(`the plugin has done ${step}`, async () => !existsSync(file))
    } finally {
      await rm(file, { force: true })
    }
    await this.engine.exec('kill', '-KILL', ...before)
    await this.until('the plugin is back', async () => {
      const now = await this.processes(pluginProgram)
      return now.length > 0 && now.every((pid) => !before.includes(pid))
    })
    return running
  }

  /** Waits until the plugin has run for some seconds. */
  async settledPlugin(): Promise<void> {
    await this.until('the plugin has run for some seconds', async () => {
      const pids = await this.processes(pluginProgram)
      if (pids.length === 0) return false
      const ages = await this.engine.exec('ps', '-o', 'etimes=', '-p', pids.join()).catch(() => '0')
      return ages
        .trim()
        .split(/\s+/)
        .every((age) => Number(age) >= 6)
    })
  }

  /** Removes the containers and volumes of a test, also when it failed half-way. */
  async tidy(): Promise<void> {
    const { docker, tryDocker } = this.engine
    const lines = (text: string) => text.split('\n').filter((line) => line !== '')
    const ours = /^(vsm-|initiator-|openebs-)/
    const containers = lines(await docker('ps', '-a', '--format', '{{.Names}}')).filter(
      (name) => !ours.test(name),
    )
    if (containers.length > 0) await docker('rm', '-f', ...containers)
    const volumes = lines(await docker('volume', 'ls', '-q'))
    if (volumes.length > 0) await tryDocker('volume', 'rm', ...volumes)
  }

  /** Waits for a condition; when it does not come in time, the error says what was waited for and what the plugin said. */
  async until(what: string, condition: () => Promise<boolean>, ms = 30_000): Promise<void> {
    const held = await until(async () => ((await condition()) ? true : undefined), { ms, every: 100 })
    if (!held) throw new Error(`not within ${ms / 1000} s: ${what}\n${await this.pluginLog()}`)
  }

  async pluginLog(): Promise<string> {
    const { stdout } = await run('sh', [
      '-c',
      `grep plugin= '${this.engine.folder}/dockerd.log' | tail -n 15`,
    ])
    return stdout
  }

  /** Process numbers, in the host, of what runs a command line that matches. */
  async processes(pattern: string): Promise<string[]> {
    const listed = await this.engine
      .exec('pgrep', '-f', pattern)
      .catch((error: { code?: number; stdout?: string }) => {
        if (error.code !== 1) throw error
        return '' // none
      })
    return listed.split('\n').filter((line) => line !== '')
  }
}
