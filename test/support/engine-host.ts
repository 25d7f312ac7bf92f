import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { access, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Teardown } from './etcd.ts'
import { isStopped } from './signals.ts'

const run = promisify(execFile)
const script = join(import.meta.dirname, 'engine.sh')
const maxBuffer = 1 << 26

const suites = ['bullseye', 'bookworm', 'trixie', 'forky'] as const
export type Suite = (typeof suites)[number]

/** The Engine that tests are run on, by ENGINE_SUITE, as engine.sh knows it: the same tests run on several. */
export const chosenSuite = (): Suite => {
  const chosen = process.env.ENGINE_SUITE || 'bookworm'
  const suite = suites.find((one) => one === chosen)
  if (!suite) throw new Error(`ENGINE_SUITE is ${chosen}: expected one of ${suites.join(', ')}`)
  return suite
}

export interface EngineOptions {
  /** Debian suite that the Engine is from; the chosen one by default. */
  suite?: Suite
  /** A data-root of a stopped Engine of that suite, to begin with a copy of: its images are there at once. */
  data?: string
}

/** How a program ended. */
export interface Ran {
  code: number
  stdout: string
  stderr: string
}

/** A real Docker Engine as a host of its own (engine.sh). It ends with the test. */
export class EngineHost {
  readonly folder: string
  readonly #suite: string

  private constructor(folder: string, suite: string) {
    this.folder = folder
    this.#suite = suite
  }

  /** Starts nothing yet. */
  static async prepare(
    t: Teardown,
    { suite = chosenSuite(), data }: EngineOptions = {},
  ): Promise<EngineHost> {
    await sweep()
    const host = new EngineHost(await mkdtemp(join(tmpdir(), `eng-${process.pid}-`)), suite)
    t.teardown(() => host.remove())
    if (data) await run('cp', ['-a', data, join(host.folder, 'data')])
    return host
  }

  /** One that another process prepared. */
  static left(folder: string): EngineHost {
    return new EngineHost(folder, 'bookworm')
  }

  /** Ends all of it and removes its disk. */
  async remove(): Promise<void> {
    await this.crash()
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }

  /** For DOCKER_HOST; the socket is there once the engine has started. */
  get endpoint(): string {
    return `unix://${this.folder}/docker.sock`
  }

  /** Starts dockerd, for the first time or again, and returns when it answers. */
  async start(daemon: object = {}, ...options: string[]): Promise<void> {
    await writeFile(join(this.folder, 'daemon.json'), JSON.stringify(daemon))
    await this.#script('start', ...options)
  }

  /** Ends dockerd alone. */
  async halt(signal: 'TERM' | 'KILL'): Promise<void> {
    await this.#script('halt', signal)
  }

  /** Whether dockerd is there at all, stopped or not. */
  async runs(): Promise<boolean> {
    const pid = await this.#daemon().catch(() => undefined) // it takes the file away when it ends
    return pid !== undefined && (await this.tryExec('test', '-e', `/proc/${pid}`)).code === 0
  }

  /** Stops dockerd (SIGSTOP), and returns when all of its threads have stopped. */
  async pause(): Promise<void> {
    await this.exec('kill', '-STOP', await this.#daemon())
    while (!(await this.paused()));
  }

  async paused(): Promise<boolean> {
    return isStopped(Number(await this.#daemon()), await this.path('/proc'))
  }

  async resume(): Promise<void> {
    // nsenter, which has started it, stops along with it, and would not see its end
    process.kill(Number(await readFile(join(this.folder, 'outer.pid'), 'utf8')), 'SIGCONT')
    await this.exec('kill', '-CONT', await this.#daemon())
  }

  /** Its pid, as seen in the host. */
  async #daemon(): Promise<string> {
    return (await readFile(join(this.folder, 'docker.pid'), 'utf8')).trim()
  }

  /** The host dies with all its processes; its disk stays. `start` boots it. */
  async crash(): Promise<void> {
    await this.#script('crash')
  }

  /** Takes the host off the network, and puts it back. */
  async cut(): Promise<void> {
    await this.#script('cut')
  }
  async join(): Promise<void> {
    await this.#script('join')
  }

  /** Runs a program of that host in it. */
  async exec(...command: string[]): Promise<string> {
    return this.#script('exec', ...command)
  }

  /** How a program ended that was run in it, where failing is of interest. */
  readonly tryExec = (...command: string[]): Promise<Ran> =>
    new Promise((resolve) => {
      execFile(script, ['exec', this.folder, ...command], { maxBuffer }, (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
      )
    })

  /** Runs a program of this machine in its network. */
  async net(...command: string[]): Promise<string> {
    return this.#script('net', ...command)
  }

  /** A program of this machine in its network, as a process that goes on; it ends with this one. */
  netProcess(...command: string[]): ChildProcess {
    const args = ['--pdeathsig', 'KILL', script, 'net', this.folder, ...command]
    return spawn('setpriv', args, { stdio: 'ignore' })
  }

  /** Where this machine's programs find a path of the host with what is mounted there. */
  async path(path: string): Promise<string> {
    return `/proc/${(await readFile(join(this.folder, 'holder.pid'), 'utf8')).trim()}/root${path}`
  }

  /** Makes a folder of the host whose mounts spread to and from containers that bind it `rshared`; returns its path. */
  async sharedFolder(name: string): Promise<string> {
    const folder = join(this.folder, name)
    await mkdir(folder, { recursive: true })
    await this.exec('mount', '--bind', folder, folder)
    await this.exec('mount', '--make-shared', folder)
    return folder
  }

  /** Where its published ports answer. */
  async address(): Promise<string> {
    return (await readFile(join(this.folder, 'addr'), 'utf8')).trim()
  }

  /** What the docker client prints. */
  readonly docker = async (...args: string[]): Promise<string> => {
    const env = { ...process.env, DOCKER_HOST: this.endpoint }
    return (await run('docker', args, { env, maxBuffer })).stdout
  }

  /** docker as a process that goes on, such as `events`: its output is read from `stdout`. */
  dockerProcess(...args: string[]): ChildProcess {
    const env = { ...process.env, DOCKER_HOST: this.endpoint }
    // setpriv: it must not outlive a test process that is killed
    const command = ['--pdeathsig', 'KILL', 'docker', ...args]
    return spawn('setpriv', command, { env, stdio: ['ignore', 'pipe', 'ignore'] })
  }

  /** How a docker command ended, where failing is of interest. */
  readonly tryDocker = (...args: string[]): Promise<Ran> => this.tryDockerWith('', ...args)

  /** The same, with something on its standard input. */
  readonly tryDockerWith = (input: string, ...args: string[]): Promise<Ran> =>
    new Promise((resolve) => {
      const env = { ...process.env, DOCKER_HOST: this.endpoint }
      const child = execFile('docker', args, { env, maxBuffer }, (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
      )
      // a command may end before it reads anything: how it ended is what counts
      child.stdin?.on('error', () => {}).end(input)
    })

  /** Loads images that images.sh wrote: "vsm", "base". */
  async load(...images: string[]): Promise<void> {
    for (const image of images) await this.docker('load', '--quiet', '--input', imageFile(image))
  }

  /** An image of this machine's programs and the libraries they need: nothing can be pulled there. */
  async importImage(name: string, programs: readonly string[], ...changes: string[]): Promise<void> {
    await importImage(this.endpoint, name, programs, ...changes)
  }

  async #script(command: string, ...args: string[]): Promise<string> {
    const env = { ...process.env, ENGINE_SUITE: this.#suite }
    return (await run(script, [command, this.folder, ...args], { env, maxBuffer })).stdout
  }
}

/** The same, for the Engine at any endpoint. */
export const importImage = async (
  endpoint: string,
  name: string,
  programs: readonly string[],
  ...changes: string[]
): Promise<void> => {
  const printed = await run('ldd', [...programs])
  const libraries = new Set(
    [...printed.stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1] ?? ''),
  )
  const files = [...programs, ...libraries].map((file) => file.slice(1))
  const tar = `tar -ch -C / -- "$@" | docker import ${changes.map((_, index) => `--change "$change${index}"`).join(' ')} - "$image"`
  const variables = Object.fromEntries(changes.map((change, index) => [`change${index}`, change]))
  const env = { ...process.env, DOCKER_HOST: endpoint, image: name, ...variables }
  await run('sh', ['-c', tar, 'sh', ...files], { env })
}

const cache = process.env.OPENEBS_CACHE ?? join(import.meta.dirname, '../../.cache')
const imageFile = (name: string): string => join(cache, 'images', `${name}.tar`)

/** Builds what is missing or out of date of the images that tests load. */
export const buildImages = async (...names: string[]): Promise<void> => {
  await run(join(import.meta.dirname, 'images.sh'), names, { maxBuffer })
}

/** Ends the hosts that a killed test process left. */
const sweep = async (): Promise<void> => {
  for (const name of await readdir(tmpdir())) {
    const owner = /^eng-(\d+)-/.exec(name)?.[1]
    if (!owner || (await exists(`/proc/${owner}`))) continue
    await EngineHost.left(join(tmpdir(), name))
      .remove()
      .catch((error: Error) =>
        process.emitWarning(`${name}, left by a test that was killed, stays: ${error.message}`),
      )
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )
