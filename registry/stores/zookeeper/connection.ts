import zk from 'node-zookeeper-client'
import { Failure } from '../../../process/failure.ts'
import type { Server } from './settings.ts'

/** What is used of the library's inside, which is why its version is pinned exactly. */
interface Manager {
  servers: { host: string; port: number }[]
  readonly socket?: { destroy(): void }
  pendingBuffer: Buffer | null
  setState(state: number): void
  connect(): void
  findNextServer(callback: (server: unknown) => void): void
  onSocketData(this: Manager, buffer: Buffer): void
}

const closing = -1
/** The library's callbacks. */
export type Answer<T> = (error: unknown, result: T) => void
const { Exception } = zk

/** ms that any call may take. */
export const patience = 4000
/** ms for a try to connect: a server that is just starting takes connections, and leaves them unanswered. */
const connecting = 1500

/**
 * One session with ZooKeeper over one connection after another. The library reconnects by itself; this adds what it lacks: time
 * limits, notice of a server that hangs, an end without closing the session, IPv6.
 */
export class Connection {
  readonly client: zk.Client
  readonly #manager: Manager
  readonly #lost = new AbortController()
  readonly #where: string
  #timer: NodeJS.Timeout | undefined
  #dropped = false
  #away = performance.now()
  #attempt = performance.now()
  #asking = false

  /** `timeout`: of the session, ms. */
  constructor(servers: readonly Server[], timeout: number) {
    const names = servers.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`)
    this.#where = names.join(',')
    this.client = zk.createClient(this.#where, { sessionTimeout: timeout, spinDelay: 200, retries: 0 })
    this.#manager = (this.client as unknown as { connectionManager: Manager }).connectionManager
    this.#guard(servers)
  }

  /** Fires when the session has expired, or has been out of reach for so long that it must have. */
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  get connected(): boolean {
    return this.client.getState() === zk.State.SYNC_CONNECTED
  }

  get id(): Buffer {
    return this.client.getSessionId()
  }

  async open(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const late = setTimeout(() => reject(this.#unavailable('does not answer')), patience)
    this.client.once('connected', resolve)
    this.client.once('authenticationFailed', () =>
      reject(new Failure('denied', `ZooKeeper at ${this.#where} refuses us`)),
    )
    this.client.on('disconnected', () => {
      // the rest of an answer that was cut off must not be taken for the begin of the next one
      this.#manager.pendingBuffer = null
      this.#away = performance.now()
    })
    this.client.on('connected', () => {
      this.#attempt = performance.now()
    })
    this.client.on('expired', () => this.#lose())
    this.client.connect()
    try {
      await promise
    } catch (error) {
      this.drop()
      throw error
    } finally {
      clearTimeout(late)
    }
    this.#timer = setInterval(() => this.#watch(), Math.min(1000, this.client.getSessionTimeout() / 3))
  }

  /**
   * Asks the library, within `patience`. Rejects with the library's Exception, for `codeOf`, or with a Failure (`unavailable`).
   * Without a connection nothing is asked: the library would keep it and do it later, when nobody waits for it any more.
   */
  async call<T>(ask: (answer: Answer<T>) => void): Promise<T> {
    if (!this.connected || this.#dropped) throw this.#unavailable('is not connected')
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const late = setTimeout(() => {
      this.#hangUp()
      reject(this.#unavailable('does not answer'))
    }, patience)
    try {
      ask((error, result) => (error ? reject(error) : resolve(result)))
      return await promise
    } catch (error) {
      throw this.#explained(error)
    } finally {
      clearTimeout(late)
    }
  }

  /** Closes the session: its ephemeral nodes go at once. Rejects with `unavailable` when the server does not say so. */
  async close(): Promise<void> {
    if (!this.connected) {
      this.drop()
      throw this.#unavailable('is not connected')
    }
    clearInterval(this.#timer)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const late = setTimeout(() => reject(this.#unavailable('does not answer')), patience)
    this.client.once('disconnected', resolve)
    this.client.close()
    try {
      await promise
    } finally {
      clearTimeout(late)
      this.drop()
    }
  }

  /** Lets go of the connection. The session goes on at the server until its timeout. */
  drop(): void {
    this.#dropped = true
    clearInterval(this.#timer)
    this.#manager.setState(closing)
    this.#manager.socket?.destroy()
  }

  #guard(servers: readonly Server[]): void {
    const manager = this.#manager
    manager.servers = servers.map((server) => ({ ...server })).sort(() => Math.random() - 0.5)
    const find = manager.findNextServer
    manager.findNextServer = (callback) =>
      find.call(manager, (server) => {
        this.#attempt = performance.now()
        if (!this.#dropped) callback(server)
      })
    // it throws for error codes that it does not know (a quota, a throttle) and for garbage: the connection ends, not the process
    const read = manager.onSocketData
    manager.onSocketData = (data) => {
      try {
        read.call(manager, data)
      } catch {
        this.#hangUp()
      }
    }
  }

  /** A server that hangs keeps its connection open: asked now and then, and left when it is silent. */
  #watch(): void {
    if (this.connected) {
      if (this.#asking) return
      this.#asking = true
      const done = () => {
        this.#asking = false
      }
      this.call((answer) => this.client.exists('/', answer)).then(done, done)
      return
    }
    const now = performance.now()
    if (now - this.#away > 2 * this.client.getSessionTimeout()) this.#lose()
    else if (now - this.#attempt > connecting) this.#hangUp()
  }

  #lose(): void {
    this.drop()
    this.#lost.abort()
  }

  #hangUp(): void {
    this.#attempt = performance.now()
    this.#manager.socket?.destroy()
  }

  #unavailable(what: string, cause?: unknown): Failure {
    return new Failure('unavailable', `ZooKeeper at ${this.#where} ${what}`, cause)
  }

  #explained(error: unknown): unknown {
    const code = codeOf(error)
    if (code === Exception.CONNECTION_LOSS) return this.#unavailable('has closed the connection', error)
    if (code === Exception.SESSION_EXPIRED) return this.#unavailable('has ended the session', error)
    if (code === Exception.NO_AUTH || code === Exception.AUTH_FAILED)
      return new Failure('denied', `ZooKeeper at ${this.#where} does not allow it`, error)
    return error
  }
}

/** The library's code of an error, such as Exception.NO_NODE. */
export const codeOf = (error: unknown): number | undefined =>
  error instanceof Exception ? error.getCode() : undefined
