import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Collects what nobody holds, and gives freed memory back to the system. Takes some 50 ms for 30 MB that are held. */
type Collect = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void

export interface GiveBackOptions {
  /** ms between two looks. */
  readonly every: number
  /**
   * What is worth a collection, which takes as much time as a look at a thousand containers: bytes that the heap has grown
   * by, and ms since the last one.
   */
  readonly worth: readonly { readonly growth: number; readonly rest: number }[]
  /** Share of a core below which a process counts as quiet. */
  readonly quiet: number
}
const usual: GiveBackOptions = {
  every: 5000,
  worth: [
    { growth: 16 * 2 ** 20, rest: 60_000 },
    { growth: 8 * 2 ** 20, rest: 600_000 },
  ],
  quiet: 0.1,
}

/** Bytes; process.memoryUsage reads more than that, out of /proc. */
const heapTotal = () => getHeapStatistics().total_heap_size

/**
 * Keeps a process small that works in bursts: Node takes memory for the young objects of a burst (it makes bursts half
 * again as fast) and keeps it afterwards. When the heap has grown and the process has been quiet for five seconds, it is
 * given back, the less there is the more seldom. Runs until the signal fires.
 */
export const giveBackMemory = (signal: AbortSignal, options: Partial<GiveBackOptions> = {}): void => {
  const { every, worth, quiet } = { ...usual, ...options }
  setFlagsFromString('--expose-gc')
  const collect: Collect = runInNewContext('gc')
  let least = heapTotal()
  let busy = process.cpuUsage()
  let last = Number.NEGATIVE_INFINITY
  const look = () => {
    const { user, system } = process.cpuUsage(busy)
    busy = process.cpuUsage()
    const total = heapTotal()
    least = Math.min(least, total)
    const [growth, idle] = [total - least, performance.now() - last]
    if (user + system > every * 1000 * quiet) return
    if (!worth.some((one) => growth >= one.growth && idle >= one.rest)) return
    last = performance.now()
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
    least = heapTotal()
    busy = process.cpuUsage()
  }
  const timer = setInterval(look, every).unref()
  signal.addEventListener('abort', () => clearInterval(timer), { once: true })
}
