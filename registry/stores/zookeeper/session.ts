import zk from 'node-zookeeper-client'
import { Failure, isFailure } from '../../../process/failure.ts'
import { inParallel } from '../../../process/in-parallel.ts'
import type { OnExit } from '../../backend.ts'
import type { PlaceChange, PlaceEntry, PlaceSession } from '../../mirror.ts'
import { type Answer, type Connection, codeOf } from './connection.ts'
import { below, decodeName, nodePath } from './names.ts'

const { CreateMode, Exception } = zk

/** Questions under way at once. */
const atOnce = 64
/** Bytes: a server's jute.maxbuffer is 1 MiB by default, with the paths and some framing in it. */
export const mostBytes = 1_000_000
const bytesAtOnce = 500_000

/** What makes one change; done together or not at all. */
interface Step {
  readonly bytes: number
  add(to: zk.Transaction): zk.Transaction
}

export class ZookeeperSession implements PlaceSession {
  readonly #connection: Connection
  readonly #path: string
  /** Others' entries, as they were read: czxid by key. Only such a one may be taken over or removed. */
  readonly #others = new Map<string, string>()
  /** Parents that stood a while ago. */
  readonly #parents = new Set<string>()

  /** Sessions of this run so far, which a server may not have ended yet: their IDs in hex. This one is added. */
  readonly #sessions: Set<string>

  constructor(connection: Connection, path: string, sessions: Set<string>) {
    this.#connection = connection
    this.#path = path
    this.#sessions = sessions.add(connection.id.toString('hex'))
  }

  get lost(): AbortSignal {
    return this.#connection.lost
  }

  /** Makes what is missing of the path. */
  async makePath(): Promise<void> {
    const parts = this.#path.split('/').filter((part) => part !== '')
    for (const [index] of parts.entries()) await this.#makeParent(`/${parts.slice(0, index + 1).join('/')}`)
  }

  async read(wanted: ReadonlySet<string>): Promise<ReadonlyMap<string, PlaceEntry>> {
    this.#parents.clear()
    this.#others.clear()
    const keys = await inParallel(await this.#children(this.#path), atOnce, async (name) => {
      const service = decodeName(name)
      if (service === undefined) return []
      const parent = below(this.#path, name)
      const nodes = await this.#children(parent)
      this.#parents.add(parent)
      return nodes.flatMap((node) => {
        const decoded = decodeName(node)
        return decoded === undefined ? [] : [`${service}/${decoded}`]
      })
    })
    const entries = new Map<string, PlaceEntry>()
    await inParallel(keys.flat(), atOnce, async (key) => {
      const found = await this.#data(nodePath(this.#path, key).node)
      if (!found) return
      const ours = this.#isOurs(found.stat)
      // another's that is not wanted is of interest only where it may be an earlier run's: persistent nodes never are
      if (!ours && !wanted.has(key) && isPersistent(found.stat)) return
      if (!ours) this.#others.set(key, found.stat.czxid.toString('hex'))
      const earlier = !ours && this.#sessions.has(found.stat.ephemeralOwner.toString('hex'))
      entries.set(key, { value: found.data.toString(), ours, earlier })
    })
    return entries
  }

  async apply(changes: readonly PlaceChange[]): Promise<void> {
    for (const change of changes) refuseLarge(change)
    const parents = new Set(
      changes.filter(({ kind }) => kind === 'put').map(({ key }) => nodePath(this.#path, key).parent),
    )
    await inParallel(
      [...parents].filter((parent) => !this.#parents.has(parent)),
      atOnce,
      async (parent) => {
        await this.#makeParent(parent)
        this.#parents.add(parent)
      },
    )
    const steps = await inParallel(changes, atOnce, (change) => this.#step(change))
    try {
      for (const part of portions(steps.filter((step) => step !== undefined))) await this.#commit(part)
    } catch (error) {
      if (isFailure(error)) throw error
      // somebody was quicker: what stands is read again
      throw new Failure('conflict', `${this.#path} has changed meanwhile`, error)
    }
    for (const { key } of changes) this.#others.delete(key)
    await this.#removeEmptied(changes)
  }

  async end(onExit: OnExit): Promise<void> {
    if (onExit === 'withdraw') await this.#connection.close()
    else this.#connection.drop()
  }

  async #step(change: PlaceChange): Promise<Step | undefined> {
    const { node } = nodePath(this.#path, change.key)
    const stat = await this.#stat(node)
    const ours = stat !== undefined && this.#isOurs(stat)
    const seen = stat !== undefined && this.#others.get(change.key) === stat.czxid.toString('hex')
    if (change.kind === 'delete')
      return ours || seen ? { bytes: node.length, add: (to) => to.remove(node) } : undefined
    if (stat && !ours && !seen) throw new Failure('conflict', `${node} is another's by now`)
    const value = Buffer.from(change.value)
    const bytes = value.length + 2 * node.length
    if (ours) return { bytes, add: (to) => to.setData(node, value) }
    return {
      bytes,
      add: (to) => (stat ? to.remove(node) : to).create(node, value, CreateMode.EPHEMERAL),
    }
  }

  #commit(steps: readonly Step[]): Promise<unknown> {
    return this.#connection.call((answer) => {
      const transaction = this.#connection.client.transaction()
      for (const step of steps) step.add(transaction)
      transaction.commit(answer)
    })
  }

  /** As the peer does: a service's node goes with its last entry, unless it holds anything. */
  async #removeEmptied(changes: readonly PlaceChange[]): Promise<void> {
    const deleted = changes.filter(({ kind }) => kind === 'delete')
    const parents = new Set(deleted.map(({ key }) => nodePath(this.#path, key).parent))
    await inParallel([...parents], atOnce, async (parent) => {
      const stat = await this.#stat(parent)
      if (!stat || stat.numChildren > 0 || stat.dataLength > 0) return
      this.#parents.delete(parent)
      await this.#tolerating<void>([Exception.NO_NODE, Exception.NOT_EMPTY], (answer) =>
        this.#connection.client.remove(parent, (error) => answer(error, undefined)),
      )
    })
  }

  async #makeParent(path: string): Promise<void> {
    if (await this.#stat(path)) return
    await this.#tolerating([Exception.NODE_EXISTS], (answer) =>
      this.#connection.client.create(path, Buffer.alloc(0), answer),
    )
  }

  #isOurs({ ephemeralOwner }: zk.Stat): boolean {
    return ephemeralOwner.equals(this.#connection.id)
  }

  /** Undefined where it does not exist: the library answers so. */
  async #stat(path: string): Promise<zk.Stat | undefined> {
    return (
      (await this.#tolerating<zk.Stat>([Exception.NO_NODE], (answer) =>
        this.#connection.client.exists(path, answer),
      )) ?? undefined
    )
  }

  async #children(path: string): Promise<string[]> {
    return (
      (await this.#tolerating<string[]>([Exception.NO_NODE], (answer) =>
        this.#connection.client.getChildren(path, answer),
      )) ?? []
    )
  }

  #data(path: string): Promise<{ data: Buffer; stat: zk.Stat } | undefined> {
    return this.#tolerating([Exception.NO_NODE], (answer) =>
      this.#connection.client.getData(path, (error, data, stat) =>
        // a node without data has none at all here
        answer(error, { data: data ?? Buffer.alloc(0), stat }),
      ),
    )
  }

  /** Undefined where it ends with one of these codes. */
  async #tolerating<T>(codes: readonly number[], ask: (answer: Answer<T>) => void): Promise<T | undefined> {
    try {
      return await this.#connection.call(ask)
    } catch (error) {
      if (isFailure(error)) throw error
      if (codes.includes(codeOf(error) ?? 0)) return undefined
      throw new Failure('unavailable', 'ZooKeeper refuses a request', error)
    }
  }
}

const isPersistent = ({ ephemeralOwner }: zk.Stat): boolean => ephemeralOwner.every((byte) => byte === 0)

const refuseLarge = (change: PlaceChange): void => {
  if (change.kind === 'put' && Buffer.byteLength(change.value) > mostBytes)
    throw new Failure('invalid', `the value of ${change.key} is larger than ${mostBytes} bytes`)
}

/** Together no larger than a server takes; a large one is alone. Pure. */
function* portions(steps: readonly Step[]): Generator<Step[]> {
  let part: Step[] = []
  let bytes = 0
  for (const step of steps) {
    if (part.length > 0 && bytes + step.bytes > bytesAtOnce) {
      yield part
      part = []
      bytes = 0
    }
    part.push(step)
    bytes += step.bytes
  }
  if (part.length > 0) yield part
}
