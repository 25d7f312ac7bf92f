import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Teardown } from './etcd.ts'

/** A TCP proxy before a server at `address` (host:port), to play a bad network. It ends with the test. */
export const startProxy = async (t: Teardown, address: string): Promise<TcpProxy> => {
  const proxy = new TcpProxy(address)
  await proxy.listen()
  t.teardown(() => proxy.close())
  return proxy
}

export class TcpProxy {
  #target: string
  readonly #pairs = new Set<{ client: Socket; server: Socket }>()
  readonly #forgotten = new WeakSet<object>()
  readonly #delayed = new Map<{ client: Socket; server: Socket }, Buffer[]>()
  #sealed = false
  readonly #server = createServer((client) => this.#accept(client))
  #mode: 'open' | 'stalled' | 'refusing' = 'open'
  #bytes = Number.POSITIVE_INFINITY
  /** Connections that it has taken so far. */
  accepted = 0
  /** How often it dropped its connections after so many bytes. */
  cuts = 0

  constructor(target: string) {
    this.#target = target
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Drops all connections; new ones are taken. */
  cut(): void {
    for (const { client, server } of this.#pairs) {
      client.destroy()
      server.destroy()
    }
  }

  /** Drops all connections, and every new one at once, until `open`. */
  refuse(): void {
    this.#mode = 'refusing'
    this.cut()
  }

  /** Carries nothing more, in either direction, and drops nothing. */
  stall(): void {
    this.#mode = 'stalled'
    for (const { client, server } of this.#pairs) {
      client.pause()
      server.pause()
    }
  }

  /**
   * Keeps what clients send over the connections of now, instead of carrying it; new connections are carried. What was kept
   * until `seal` arrives by `deliver`, however late, even if its client has gone by then.
   */
  delay(): void {
    for (const pair of this.#pairs) this.#delayed.set(pair, [])
  }

  /** How many bytes are kept. */
  get kept(): number {
    return [...this.#delayed.values()].flat().reduce((sum, { length }) => sum + length, 0)
  }

  /** Keeps no more: what clients send from now on over those connections is lost. */
  seal(): void {
    this.#sealed = true
  }

  /** Carries what was kept to the server, and no more over those connections. */
  deliver(): void {
    for (const [{ server }, chunks] of this.#delayed) for (const chunk of chunks) server.write(chunk)
  }

  /** Drops the connections of `delay`. */
  forgetDelayed(): void {
    for (const { client, server } of this.#delayed.keys()) {
      client.destroy()
      server.destroy()
    }
    this.#delayed.clear()
    this.#sealed = false
  }

  /** Carries what clients send, and no answer to it. */
  mute(): void {
    for (const { server } of this.#pairs) server.pause()
  }

  /** Stalls the connections of now for good, and carries new ones: a firewall that has forgotten them. */
  forget(): void {
    for (const pair of this.#pairs) this.#forgotten.add(pair)
    this.stall()
    this.open()
  }

  open(): void {
    this.#mode = 'open'
    for (const pair of this.#pairs) {
      if (this.#forgotten.has(pair)) continue
      pair.client.resume()
      pair.server.resume()
    }
  }

  /** Drops all connections as soon as the server has answered so many bytes more. */
  cutAfter(bytes: number): void {
    this.#bytes = bytes
  }

  /** Drops all connections and leads new ones to another server. */
  retarget(address: string): void {
    this.#target = address
    this.cut()
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.cut()
    this.forgetDelayed()
    await closed
  }

  #accept(client: Socket): void {
    this.accepted += 1
    if (this.#mode === 'refusing') {
      client.destroy()
      return
    }
    const [host, port] = this.#target.split(':')
    const server = connect(Number(port), host)
    const pair = { client, server }
    this.#pairs.add(pair)
    const drop = () => {
      this.#pairs.delete(pair)
      client.destroy()
      if (!this.#delayed.has(pair)) server.destroy()
    }
    client.on('data', (data: Buffer) => {
      const kept = this.#delayed.get(pair)
      if (!kept) server.write(data)
      else if (!this.#sealed) kept.push(data)
    })
    server.on('data', (data: Buffer) => this.#answer(client, data))
    for (const socket of [client, server]) socket.on('error', drop).on('close', drop)
    if (this.#mode === 'stalled') this.stall()
  }

  #answer(client: Socket, data: Buffer): void {
    client.write(data)
    this.#bytes -= data.length
    if (this.#bytes > 0) return
    this.#bytes = Number.POSITIVE_INFINITY
    this.cuts += 1
    this.cut()
  }
}
