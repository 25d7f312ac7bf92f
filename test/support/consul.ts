import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, openSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { until } from '../../process/backoff.ts'
import { ConsulClient } from '../../registry/stores/consul/client.ts'
import type { ConsulEndpoint } from '../../registry/stores/consul/settings.ts'
import type { Party } from './certificates.ts'
import { freePorts, type Teardown } from './etcd.ts'
import { stopProcess } from './signals.ts'

export interface ConsulOptions {
  /** Whoever has no token may do nothing; this one (a UUID) may do all. */
  readonly token?: string
  /** HTTPS beside HTTP, and whom it lets in. */
  readonly party?: Party
  /** Answers at a unix socket alone. */
  readonly socket?: boolean
}

/** The program of a real Consul. Fetched once; see consul.sh. */
export const consulProgram = async (): Promise<string> => {
  const script = join(import.meta.dirname, 'consul.sh')
  return (await promisify(execFile)(script, { timeout: 300_000 })).stdout.trim()
}

/** Why there is no Consul to test with; undefined where there is one. */
export const consulMissing = async (): Promise<string | undefined> => {
  try {
    await consulProgram()
    return undefined
  } catch (error) {
    return `needs Consul of Debian bullseye: ${(error as Error).message.replaceAll(/\s+/g, ' ').slice(0, 300)}`
  }
}

/** Where files are in memory, if there is such a place: a disk takes some ms a registration. Paths of sockets are to be short. */
const memory = (): string => (existsSync('/dev/shm') ? '/dev/shm' : tmpdir())

/** A real Consul, one server that is its own agent, with a leader; it ends with the test. */
export const startConsul = async (t: Teardown, options: ConsulOptions = {}): Promise<Consul> => {
  const program = await consulProgram()
  const folder = await mkdtemp(join(memory(), 'consul-'))
  const [http = 0, https = 0, serf = 0, server = 0] = await freePorts('127.0.0.1', 4)
  const consul = new Consul(program, folder, { http, https }, options)
  t.teardown(async () => {
    await consul.kill()
    await rm(folder, { recursive: true, force: true })
  })
  const { token, party, socket } = options
  await writeFile(
    join(folder, 'consul.json'),
    JSON.stringify({
      server: true,
      bootstrap_expect: 1,
      node_name: 'node',
      data_dir: join(folder, 'data'),
      bind_addr: '127.0.0.1',
      client_addr: '127.0.0.1',
      addresses: { http: socket ? `unix://${consul.socket}` : '127.0.0.1' },
      ports: { http, https: party ? https : -1, dns: -1, grpc: -1, serf_lan: serf, serf_wan: -1, server },
      // each request is a line in its log, which `requests` counts
      log_level: 'info',
      enable_script_checks: true,
      disable_update_check: true,
      disable_coordinates: true,
      leave_on_terminate: false,
      performance: { raft_multiplier: 1 },
      ...(token && {
        acl: { enabled: true, default_policy: 'deny', tokens: { master: token, agent: token } },
      }),
      ...(party && {
        ca_file: party.ca,
        cert_file: party.cert,
        key_file: party.key,
        verify_incoming_https: true,
      }),
    }),
  )
  await consul.start()
  return consul
}

export class Consul {
  /** host:port of its HTTP and HTTPS. */
  readonly address: string
  readonly secureAddress: string
  readonly socket: string
  /** A client of its own, which may do all. */
  readonly client: ConsulClient
  readonly #program: string
  readonly #folder: string
  #process: ChildProcess | undefined

  constructor(
    program: string,
    folder: string,
    ports: { http: number; https: number },
    { token, socket }: ConsulOptions,
  ) {
    this.#program = program
    this.#folder = folder
    this.address = `127.0.0.1:${ports.http}`
    this.secureAddress = `127.0.0.1:${ports.https}`
    this.socket = join(folder, 'http.sock')
    const at: ConsulEndpoint = socket
      ? { kind: 'unix', socket: this.socket }
      : { kind: 'tcp', host: '127.0.0.1', port: ports.http }
    this.client = new ConsulClient({ at, token })
  }

  /** Also after `kill`, with the data it had. Resolves when it has a leader. */
  async start(): Promise<void> {
    const log = openSync(this.#logFile, 'a')
    // setpriv: it must not outlive a test process that is killed
    const command = [
      '--pdeathsig',
      'KILL',
      this.#program,
      'agent',
      '-config-file',
      join(this.#folder, 'consul.json'),
    ]
    this.#process = spawn('setpriv', command, { stdio: ['ignore', log, log] })
    const ended = once(this.#process, 'exit').then(([code]) => {
      throw new Error(`Consul ended with status ${code}: ${readFileSync(this.#logFile, 'utf8').slice(-2000)}`)
    })
    ended.catch(() => {})
    const leads = async () => {
      const leader = await this.client.call('GET', '/v1/status/leader').catch(() => '')
      if (typeof leader !== 'string' || leader === '') return undefined
      // its own node is known: sessions need it
      const nodes = await this.client.call('GET', '/v1/catalog/nodes').catch(() => [])
      return Array.isArray(nodes) && nodes.length > 0 ? true : undefined
    }
    if (!(await Promise.race([until(leads, { ms: 30_000, every: 50 }), ended])))
      throw new Error(`Consul does not get ready: ${readFileSync(this.#logFile, 'utf8').slice(-2000)}`)
  }

  get #logFile(): string {
    return join(this.#folder, 'log')
  }

  get pid(): number | undefined {
    const child = this.#process
    return child && child.exitCode === null && child.signalCode === null ? child.pid : undefined
  }

  /** Returns when all of its threads have stopped. */
  pause(): void {
    if (this.pid !== undefined) stopProcess(this.pid)
  }

  resume(): void {
    this.#process?.kill('SIGCONT')
  }

  async kill(): Promise<void> {
    const child = this.#process
    if (!child || this.pid === undefined) return
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  }

  /** Forgets all it was told; it is not to run meanwhile. */
  async wipe(): Promise<void> {
    await rm(join(this.#folder, 'data'), { recursive: true, force: true })
  }

  /** The newest index of its log: equal means that nothing was written. */
  async index(): Promise<number> {
    const answer = await this.client.call('GET', '/v1/agent/self')
    return Number((answer as { Stats: { raft: { last_log_index: string } } }).Stats.raft.last_log_index)
  }
}
