import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectDocker } from '../../docker/client.ts'
import { humanDuration } from '../../docker/durations.ts'
import type { Teardown } from './etcd.ts'

interface FakeContainer {
  Id: string
  name: string
  running: boolean
  port: number
  /** Nanoseconds since 1970. */
  started: bigint
}

/**
 * An engine's API on a unix socket, for what a real one does too seldom or too slowly: bursts, events that get lost, calls
 * that block, silence. Its answers have the form of Engine 20.10. As there, 256 events are kept, and one is sent again to
 * whoever asks `since` its time.
 */
export class FakeEngine {
  readonly docker
  readonly socket: string
  readonly containers = new Map<string, FakeContainer>()
  readonly volumes = new Set<string>()
  /** Requests whose path matches are not answered until it is undefined again and `release` is called. */
  block: RegExp | undefined
  /** Events are kept neither for streams nor for replays: as if the daemon had dropped them. */
  deaf = false
  /** Bytes a chunk of an event stream; 0: as they come. */
  chunk = 0
  /** It breaks off when it is asked what it remembers. */
  mute = false
  /** It breaks off at the end of a list of containers. */
  cut = false
  /** ms between the headers of an event stream and its subscription: in between it hears nothing. */
  subscribing = 50
  /** How often containers were listed, and how often it was asked what it remembers. */
  lists = 0
  recalls = 0
  readonly streams = new Set<ServerResponse>()
  /** Of each stream: what it lets through, by the beginning of an action. */
  #filters = new WeakMap<ServerResponse, readonly string[]>()
  #ring: { nano: bigint; action: string; line: string }[] = []
  #held: (() => void)[] = []
  #nano = BigInt(Date.now()) * 1_000_000n
  #server = createServer((request, response) => this.#receive(request, response))

  private constructor(socket: string) {
    this.socket = socket
    this.docker = connectDocker({ kind: 'unix', socket })
  }

  static async start(t: Teardown): Promise<FakeEngine> {
    const folder = await mkdtemp(join(tmpdir(), 'fake-'))
    const engine = new FakeEngine(join(folder, 'docker.sock'))
    await engine.listen()
    t.teardown(async () => {
      engine.stop()
      await rm(folder, { recursive: true, force: true })
    })
    return engine
  }

  async listen(): Promise<void> {
    this.#server.listen(this.socket)
    await once(this.#server, 'listening')
  }

  /** Its process ends: connections break, and the kept events are gone. */
  stop(): void {
    this.#server.close()
    this.#server.closeAllConnections()
    this.#ring = []
  }

  /** Only the event streams break. */
  breakStreams(): void {
    for (const stream of this.streams) stream.destroy()
  }

  run(name: string): void {
    const Id = Buffer.from(name).toString('hex').padEnd(64, '0')
    this.containers.set(Id, {
      Id,
      name,
      running: true,
      port: 20_000 + this.containers.size,
      started: this.#nano,
    })
    this.emit('container', 'start', Id)
  }

  kill(name: string): void {
    for (const container of this.containers.values())
      if (container.name === name) {
        container.running = false
        this.emit('container', 'die', container.Id, { exitCode: '137' })
      }
  }

  remove(name: string): void {
    for (const { Id, name: its } of this.containers.values())
      if (its === name) {
        this.containers.delete(Id)
        this.emit('container', 'destroy', Id)
      }
  }

  emit(Type: string, Action: string, ID: string, more: Record<string, string> = {}): void {
    this.#nano += 1001n
    if (this.deaf) return
    const attributes = JSON.stringify({ name: 'ä', ...more })
    const line = `{"Type":"${Type}","Action":"${Action}","Actor":{"ID":"${ID}","Attributes":${attributes}},"timeNano":${this.#nano}}\n`
    this.#ring.push({ nano: this.#nano, action: Action, line })
    if (this.#ring.length > 256) this.#ring.shift()
    for (const stream of this.streams) this.#send(stream, Action, line)
  }

  release(): void {
    for (const answer of this.#held.splice(0)) answer()
  }

  #send(stream: ServerResponse, action: string, line: string): void {
    if (this.#filters.get(stream)?.some((one) => action.startsWith(one)) === false) return
    const bytes = Buffer.from(line)
    const size = this.chunk || bytes.length
    for (let at = 0; at < bytes.length; at += size) stream.write(bytes.subarray(at, at + size))
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', 'http://engine')
    const answer = () => this.#answer(url, response)
    if (this.block?.test(url.pathname)) this.#held.push(answer)
    else answer()
  }

  #answer(url: URL, response: ServerResponse): void {
    if (url.pathname === '/events') {
      this.#follow(url, response)
      return
    }
    const body = this.#body(url.pathname)
    response.writeHead(body === undefined ? 404 : 200, { 'Content-Type': 'application/json' })
    const text = JSON.stringify(body ?? { message: 'no such thing' })
    if (this.cut && url.pathname === '/containers/json') {
      response.write(text.slice(0, -1))
      setTimeout(() => response.destroy(), 20)
    } else response.end(text)
  }

  #follow(url: URL, response: ServerResponse): void {
    const [seconds = '0', fraction = '0'] = (url.searchParams.get('since') ?? '').split('.')
    const since = BigInt(seconds) * 1_000_000_000n + BigInt(fraction)
    const filters = JSON.parse(url.searchParams.get('filters') ?? '{}') as { event?: string[] }
    if (filters.event) this.#filters.set(response, filters.event)
    const recall = url.searchParams.has('until')
    if (recall) this.recalls++
    if (recall && this.mute) {
      response.destroy()
      return
    }
    response.writeHead(200)
    if (recall) {
      // now, or before: all that is remembered, and no more
      response.end(this.#ring.map(({ line }) => line).join(''))
      return
    }
    response.flushHeaders()
    setTimeout(() => {
      for (const { nano, action, line } of this.#ring) if (nano >= since) this.#send(response, action, line)
      if (!response.destroyed) this.streams.add(response)
    }, this.subscribing)
    response.on('close', () => this.streams.delete(response))
  }

  #body(path: string): unknown {
    const [, collection = '', id = ''] = path.split('/')
    if (path === '/_ping') return 'OK'
    if (path === '/info')
      return {
        ID: 'x',
        Name: 'fake',
        NCPU: 1,
        MemTotal: 1,
        SystemTime: new Date(Number(this.#nano / 1_000_000n)).toISOString(),
      }
    if (path === '/containers/json') this.lists++
    if (path === '/containers/json') return [...this.containers.values()].map(listed)
    if (collection === 'containers') {
      const container = this.containers.get(id)
      return container && inspected(container)
    }
    if (path === '/volumes') return { Volumes: [...this.volumes].map(volume), Warnings: null }
    if (collection === 'volumes') return this.volumes.has(id) ? volume(id) : undefined
    return ['/images/json', '/networks', '/plugins'].includes(path) ? [] : undefined
  }
}

const volume = (Name: string) => ({ Name, Driver: 'local', Scope: 'local', Labels: null })

const inspected = ({ Id, name, running, port, started }: FakeContainer) => ({
  Id,
  Name: `/${name}`,
  Created: '2026-01-01T00:00:00.000000001Z',
  State: {
    Status: running ? 'running' : 'exited',
    Running: running,
    ExitCode: running ? 0 : 137,
    StartedAt: `${new Date(Number(started / 1_000_000n)).toISOString().slice(0, 19)}.${String(started % 1_000_000_000n).padStart(9, '0')}Z`,
  },
  Config: { Image: 'web:1', Env: null, Labels: null, ExposedPorts: { '80/tcp': {} } },
  HostConfig: { NetworkMode: 'default' },
  NetworkSettings: {
    Networks: {},
    Ports: running ? { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: String(port) }] } : {},
  },
  Mounts: [],
})

const listed = ({ Id, name, running, port, started }: FakeContainer) => ({
  Id,
  Names: [`/${name}`],
  State: running ? 'running' : 'exited',
  Status: running
    ? `Up ${humanDuration(Date.now() / 1000 - Number(started / 1_000_000n) / 1000)}`
    : 'Exited (137) 1 second ago',
  Ports: running ? [{ IP: '0.0.0.0', PrivatePort: 80, PublicPort: port, Type: 'tcp' }] : [],
  NetworkSettings: { Networks: {} },
})
