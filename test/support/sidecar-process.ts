import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { until } from '../../process/backoff.ts'
import { freePorts, type Teardown } from './etcd.ts'
import { isStopped, stopProcess } from './signals.ts'

const program = join(import.meta.dirname, '../../cli/registrator.sh')

/** The sidecar as its users run it, as a process of this machine. It ends with the test. */
export class SidecarProcess {
  readonly url: string
  /** What it wrote, to be shown when a test fails. */
  log = ''
  #process: ChildProcess

  private constructor(child: ChildProcess, url: string) {
    this.#process = child
    this.url = url
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => (this.log += chunk))
  }

  /**
   * `settings` are environment variables; OPENEBS_LISTEN, unless given, is a free port. `args`: what is run, "registrator run"
   * unless told otherwise.
   */
  static async start(
    t: Teardown,
    settings: Record<string, string>,
    args: readonly string[] = ['run'],
  ): Promise<SidecarProcess> {
    const [port] = await freePorts('127.0.0.1', 1)
    const listen = settings.OPENEBS_LISTEN ?? `127.0.0.1:${port}`
    const env = { PATH: process.env.PATH, OPENEBS_TTL: '5', ...settings, OPENEBS_LISTEN: listen }
    // setpriv: it must not outlive a test process that is killed
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const sidecar = new SidecarProcess(child, `http://${listen}`)
    t.teardown(() => sidecar.end('SIGKILL'))
    return sidecar
  }

  /** What it still misses; [] when it is ready, and why it cannot be asked. */
  async missing(): Promise<string[]> {
    try {
      const response = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(5000) })
      const { missing } = (await response.json()) as { missing: string[] }
      return response.status === (missing.length === 0 ? 200 : 503) ? missing : [`status ${response.status}`]
    } catch (error) {
      return [`cannot be asked: ${String(error)}`]
    }
  }

  /** Waits until the program has started: it answers, whatever it still misses. */
  async answers(ms = 30_000): Promise<void> {
    const answers = async () => (await fetch(`${this.url}/healthz`).catch(() => undefined))?.ok || undefined
    if (!(await until(answers, { ms }))) throw new Error(`the sidecar does not answer:\n${this.log}`)
  }

  /** Waits until it misses nothing: what a test counts from here on is not how long the program takes to start. */
  async ready(ms = 30_000): Promise<void> {
    const ready = async () => ((await this.missing()).length === 0 ? true : undefined)
    if (!(await until(ready, { ms }))) throw new Error(`the sidecar is not ready:\n${this.log}`)
  }

  async get(path: string): Promise<string> {
    return (await fetch(this.url + path)).text()
  }

  /** Its exit status, and null where a signal ended it; rejects when it runs on for 30 s. */
  async ended(): Promise<number | null> {
    const child = this.#process
    if (child.exitCode === null && child.signalCode === null)
      await once(child, 'exit', { signal: AbortSignal.timeout(30_000) })
    return child.exitCode
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    this.#process.kill(signal)
    return this.ended()
  }

  /** Returns when all of its threads have stopped. */
  stall(): void {
    if (this.#process.pid !== undefined) stopProcess(this.#process.pid)
  }

  get stalled(): boolean {
    return this.#process.pid !== undefined && isStopped(this.#process.pid)
  }

  resume(): void {
    this.#process.kill('SIGCONT')
  }
}
