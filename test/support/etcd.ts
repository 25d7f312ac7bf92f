import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { until } from '../../process/backoff.ts'
import type { Party } from './certificates.ts'
import { stopProcess } from './signals.ts'

/** What a test must offer: tap's t does. */
export interface Teardown {
  teardown(fn: () => unknown): unknown
}

export interface EtcdOptions {
  /** An address of this machine; engines in other network namespaces need one that they can reach. */
  listen?: string
  members?: number
  /** TLS for clients, with a certificate that etcd signs itself: `ca` then is its file. */
  tls?: boolean
  /** Mutual TLS for clients: what etcd shows, and what this test and its etcdctl show. */
  parties?: { server: Party; client: Party }
  /** More arguments for etcd, such as --auto-compaction-retention. */
  args?: string[]
  /** Puts the data on a disk of its own (in memory) of so many MiB, which can be filled: `folder`. Needs root. */
  disk?: number
}

const diskName = 'etcd-disk-'

/** Takes away the disks that killed tests have left: they are memory. */
const mountDisk = async (dir: string, size: number): Promise<void> => {
  const run = promisify(execFile)
  const mounted = readFileSync('/proc/self/mounts', 'utf8').matchAll(
    new RegExp(` (\\S+/${diskName}(\\d+)-\\S+) `, 'g'),
  )
  for (const [, left = '', owner] of mounted) {
    if (existsSync(`/proc/${owner}`)) continue
    await run('umount', ['--lazy', left])
    await rm(left, { recursive: true })
  }
  await run('mount', ['-t', 'tmpfs', '-o', `size=${size}m`, 'tmpfs', dir])
}

/** A real etcd cluster that answers; it ends with the test. */
export const startEtcd = async (t: Teardown, options: EtcdOptions = {}): Promise<EtcdCluster> => {
  const { listen = '127.0.0.1', members: count = 1, args = [], disk, parties } = options
  const tls = options.tls === true || parties !== undefined
  const dir = await mkdtemp(join(tmpdir(), disk === undefined ? 'etcd-' : `${diskName}${process.pid}-`))
  if (disk !== undefined) await mountDisk(dir, disk)
  const ports = await freePorts(listen, count * 2)
  const at = (index: number) => `${listen}:${ports[index]}`
  const names = Array.from({ length: count }, (_, index) => `m${index}`)
  const cluster = names.map((name, index) => `${name}=http://${at(count + index)}`).join(',')
  const members = names.map((name, index) => {
    const client = `${tls ? 'https' : 'http'}://${at(index)}`
    const peer = `http://${at(count + index)}`
    return new EtcdMember(at(index), client, join(dir, name), parties?.client, [
      ...['--name', name, '--data-dir', join(dir, name), '--log-level', 'error', '--logger', 'zap'],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', cluster],
      // Elections, and so starts, in a fraction of the usual time.
      ...(count > 1 ? ['--heartbeat-interval', '50', '--election-timeout', '500'] : []),
      ...(count > 1 ? [] : ['--heartbeat-interval', '20', '--election-timeout', '200']),
      ...(parties ? ['--client-cert-auth', '--trusted-ca-file', parties.server.ca] : []),
      ...(parties ? ['--cert-file', parties.server.cert, '--key-file', parties.server.key] : []),
      ...(tls && !parties ? ['--auto-tls'] : []),
      ...args,
    ])
  })
  t.teardown(async () => {
    await Promise.all(members.map((member) => member.kill()))
    if (disk !== undefined) await promisify(execFile)('umount', [dir])
    await rm(dir, { recursive: true, force: true })
  })
  await Promise.all(members.map((member) => member.start()))
  const ca = parties?.client.ca ?? join(dir, 'm0', 'fixtures', 'client', 'cert.pem')
  return new EtcdCluster(members, { tls, ca, client: parties?.client, folder: dir })
}

export class EtcdCluster {
  readonly members: readonly EtcdMember[]
  /** "etcd://127.0.0.1:34567,…", to which a prefix may be added. */
  readonly uri: string
  /** With TLS: the file of the certificate to trust. */
  readonly ca: string
  /** Where the members have their data. */
  readonly folder: string
  readonly #client: Party | undefined

  constructor(
    members: readonly EtcdMember[],
    options: { tls: boolean; ca: string; client: Party | undefined; folder: string },
  ) {
    const { tls, ca, client, folder } = options
    this.#client = client
    this.members = members
    this.ca = ca
    this.folder = folder
    this.uri = `${tls ? 'etcds' : 'etcd'}://${members.map(({ address }) => address).join(',')}`
  }

  /** The only member of a single etcd, or the first. */
  get member(): EtcdMember {
    const [first] = this.members
    if (!first) throw new Error('a cluster needs a member')
    return first
  }

  /** What etcdctl prints. It asks the members that run: it would wait for one that hangs. */
  async ctl(...args: string[]): Promise<string> {
    const run = promisify(execFile)
    const options = { env: ctlEnvironment(), maxBuffer: 1 << 26, timeout: 10_000 }
    return (await run('etcdctl', [...this.#where(), ...args], options)).stdout
  }

  /** etcdctl as a process that goes on, such as a watch: its output is read from `stdout`. */
  ctlProcess(...args: string[]): ChildProcess {
    // setpriv: it must not outlive a test process that is killed
    const command = ['--pdeathsig', 'KILL', 'etcdctl', ...this.#where(), ...args]
    return spawn('setpriv', command, { env: ctlEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] })
  }

  #where(): string[] {
    const running = this.members.filter((member) => member.runs)
    const asked = running.length > 0 ? running : this.members
    const endpoints = asked.map(({ url }) => url).join(',')
    const mine = this.#client ? ['--cert', this.#client.cert, '--key', this.#client.key] : []
    const trust = endpoints.startsWith('https') ? ['--cacert', this.ca] : []
    return ['--endpoints', endpoints, ...trust, ...mine]
  }

  /** Drops the history before now: watches that resume from there fail. */
  async compact(): Promise<void> {
    const status = await this.ctl('endpoint', 'status', '--write-out', 'json')
    const [first] = JSON.parse(status) as { Status: { header: { revision: number } } }[]
    await this.ctl('compact', String(first?.Status.header.revision))
  }

  async leader(): Promise<EtcdMember> {
    const status = await this.ctl('endpoint', 'status', '--write-out', 'json')
    const rows = JSON.parse(status) as {
      Endpoint: string
      Status: { header: { member_id: number }; leader: number }
    }[]
    const row = rows.find(({ Status }) => Status.header.member_id === Status.leader)
    const leader = this.members.find(({ url }) => url === row?.Endpoint)
    if (!leader) throw new Error('the cluster has no leader')
    return leader
  }
}

const ctlEnvironment = () => ({ ...process.env, ETCDCTL_API: '3' })

export class EtcdMember {
  /** <host>:<port> for clients. */
  readonly address: string
  readonly url: string
  readonly #data: string
  readonly #client: Party | undefined
  readonly #args: string[]
  #process: ChildProcess | undefined
  #paused = false

  constructor(address: string, url: string, data: string, client: Party | undefined, args: string[]) {
    this.#client = client
    this.address = address
    this.url = url
    this.#data = data
    this.#args = args
  }

  /** Undefined when it has ended. */
  get pid(): number | undefined {
    const child = this.#process
    return child && child.exitCode === null && child.signalCode === null ? child.pid : undefined
  }

  /** Neither ended nor stopped. */
  get runs(): boolean {
    return this.pid !== undefined && !this.#paused
  }

  /** Also after `kill`, with the data it had. Resolves when it answers. */
  async start(): Promise<void> {
    this.#process = spawn('etcd', this.#args, { stdio: 'ignore' })
    const ended = once(this.#process, 'exit').then(([code]) => {
      throw new Error(`etcd ended with status ${code}: ${this.#args.join(' ')}`)
    })
    ended.catch(() => {})
    const healthy = async () => ((await isHealthy(this.url, this.#client)) ? true : undefined)
    if (!(await Promise.race([until(healthy, { ms: 20_000, every: 20 }), ended])))
      throw new Error(`etcd at ${this.address} does not answer`)
  }

  /** Returns when all of its threads have stopped. */
  pause(): void {
    if (this.pid === undefined) return
    this.#paused = true
    stopProcess(this.pid)
  }

  resume(): void {
    this.#paused = false
    this.#process?.kill('SIGCONT')
  }

  async kill(): Promise<void> {
    const child = this.#process
    this.#paused = false
    if (!child || this.pid === undefined) return
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  }

  /** Removes its data: after `start` it is empty. A token makes another cluster of it, with an ID of its own. */
  async wipe(token?: string): Promise<void> {
    await this.kill()
    await rm(this.#data, { recursive: true, force: true })
    if (token !== undefined) this.#args.push('--initial-cluster-token', token)
  }
}

const isHealthy = (url: string, client: Party | undefined): Promise<boolean> =>
  new Promise((resolve) => {
    const get = url.startsWith('https') ? https.get : http.get
    const mine = client && { cert: readFileSync(client.cert), key: readFileSync(client.key) }
    const options = { rejectUnauthorized: false, timeout: 1000, ...mine }
    const request = get(`${url}/health`, options, (response) => {
      response.setEncoding('utf8').on('data', (text: string) => resolve(text.includes('"true"')))
      response.on('close', () => resolve(false))
    })
    request.on('timeout', () => request.destroy()).on('error', () => resolve(false))
  })

/** Ports that nothing listened on a moment ago. */
export const freePorts = async (host: string, count: number): Promise<number[]> => {
  const servers = Array.from({ length: count }, () => createServer().listen(0, host))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}
