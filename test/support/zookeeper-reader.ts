import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface Node {
  readonly value: string
  /** The session of an ephemeral node; 0n for a persistent one. */
  readonly owner: bigint
  readonly czxid: bigint
  readonly mzxid: bigint
}

const ops = { create: 1, delete: 2, getData: 4, setData: 5, getChildren: 8, close: -11 } as const
const noNode = -101

/** ZooKeeper's protocol in the few requests that a test needs, apart from the library that the code under test uses. */
export class ZookeeperReader implements AsyncDisposable {
  readonly #socket: Socket
  readonly #chunks: AsyncIterator<Buffer>
  #rest = Buffer.alloc(0)
  #xid = 0
  #turn: Promise<unknown> = Promise.resolve()

  constructor(socket: Socket) {
    this.#socket = socket
    this.#chunks = socket[Symbol.asyncIterator]()
  }

  static async open(port: number): Promise<ZookeeperReader> {
    const socket = connect(port, '127.0.0.1').setNoDelay()
    socket.setTimeout(10_000, () => socket.destroy(new Error('ZooKeeper does not answer')))
    await once(socket, 'connect')
    const reader = new ZookeeperReader(socket)
    // version, zxid, timeout, session, password
    await reader.#frame(Buffer.concat([int(0), long(0n), int(10_000), long(0n), bytes(Buffer.alloc(16))]))
    return reader
  }

  async get(path: string): Promise<Node | undefined> {
    const { error, body } = await this.#ask(ops.getData, text(path), bool(false))
    if (error === noNode) return undefined
    if (error) throw new Error(`get ${path}: ${error}`)
    const length = body.readInt32BE(0)
    const at = 4 + Math.max(0, length)
    return {
      value: length < 0 ? '' : body.toString('utf8', 4, at),
      czxid: body.readBigInt64BE(at),
      mzxid: body.readBigInt64BE(at + 8),
      owner: body.readBigInt64BE(at + 44),
    }
  }

  async children(path: string): Promise<string[]> {
    const { error, body } = await this.#ask(ops.getChildren, text(path), bool(false))
    if (error === noNode) return []
    if (error) throw new Error(`children of ${path}: ${error}`)
    const names: string[] = []
    for (let at = 4, left = body.readInt32BE(0); left > 0; left--) {
      const length = body.readInt32BE(at)
      names.push(body.toString('utf8', at + 4, at + 4 + length))
      at += 4 + length
    }
    return names
  }

  /** What stands two levels below, by "<parent>/<node>". */
  async tree(path: string): Promise<Record<string, Node>> {
    const found: Record<string, Node> = {}
    for (const parent of await this.children(path))
      for (const name of await this.children(`${path}/${parent}`)) {
        const node = await this.get(`${path}/${parent}/${name}`)
        if (node) found[`${parent}/${name}`] = node
      }
    return found
  }

  /** Makes it, with what is above it, or gives it another value. Persistent unless told otherwise. */
  async put(path: string, value = '', ephemeral = false): Promise<void> {
    const data = bytes(Buffer.from(value))
    if ((await this.#ask(ops.setData, text(path), data, int(-1))).error === 0) return
    const parent = path.slice(0, path.lastIndexOf('/'))
    if (parent && !(await this.get(parent))) await this.put(parent)
    const open = [int(1), int(31), text('world'), text('anyone')]
    const { error } = await this.#ask(ops.create, text(path), data, ...open, int(ephemeral ? 1 : 0))
    if (error) throw new Error(`create ${path}: ${error}`)
  }

  async remove(path: string): Promise<void> {
    const { error } = await this.#ask(ops.delete, text(path), int(-1))
    if (error && error !== noNode) throw new Error(`delete ${path}: ${error}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ask(ops.close).catch(() => {})
    this.#socket.destroy()
  }

  #ask(op: number, ...parts: Buffer[]): Promise<{ error: number; body: Buffer }> {
    const asked = this.#turn.then(async () => {
      const reply = await this.#frame(Buffer.concat([int(++this.#xid), int(op), ...parts]))
      return { error: reply.readInt32BE(12), body: reply.subarray(16) }
    })
    this.#turn = asked.catch(() => {})
    return asked
  }

  async #frame(request: Buffer): Promise<Buffer> {
    this.#socket.write(bytes(request))
    for (;;) {
      const end = this.#rest.length >= 4 ? 4 + this.#rest.readInt32BE(0) : Number.POSITIVE_INFINITY
      if (this.#rest.length >= end) {
        const frame = this.#rest.subarray(4, end)
        this.#rest = this.#rest.subarray(end)
        return frame
      }
      const { value, done } = await this.#chunks.next()
      if (done) throw new Error('ZooKeeper has closed the connection')
      this.#rest = Buffer.concat([this.#rest, value])
    }
  }
}

const int = (value: number): Buffer => {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32BE(value)
  return buffer
}
const long = (value: bigint): Buffer => {
  const buffer = Buffer.alloc(8)
  buffer.writeBigInt64BE(value)
  return buffer
}
const bool = (value: boolean): Buffer => Buffer.from([value ? 1 : 0])
const bytes = (value: Buffer): Buffer => Buffer.concat([int(value.length), value])
const text = (value: string): Buffer => bytes(Buffer.from(value))
