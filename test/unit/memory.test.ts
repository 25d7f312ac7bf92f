import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

const run = promisify(execFile)

/**
 * A process that holds `held` MB, drops them, and then is quiet or not. Returns the MB of its heap with them, and after
 * `ms`. On a machine that does much else a busy process gets a small share of a core.
 */
const heapOf = async ({ held, busy, ms }: { held: number; busy: boolean; ms: number }) => {
  const program = `
    import { setTimeout as sleep } from 'node:timers/promises'
    import { getHeapStatistics } from 'node:v8'
    import { giveBackMemory } from ${JSON.stringify(join(import.meta.dirname, '../../process/memory.ts'))}
    const heap = () => getHeapStatistics().total_heap_size / 2 ** 20
    const stop = new AbortController()
    giveBackMemory(stop.signal, { every: 250, quiet: ${busy ? 0.03 : 0.3} })
    let objects = Array.from({ length: ${held} * 8192 }, (_, at) => ({ at, and: [at], more: { at } }))
    const grown = heap()
    objects = undefined
    const end = performance.now() + ${ms}
    while (performance.now() < end && (${busy} || heap() > grown / 2)) {
      if (!${busy}) await sleep(50)
      else {
        for (const until = performance.now() + 150; performance.now() < until; );
        await sleep(1)
      }
    }
    console.log(JSON.stringify({ grown, after: heap() }))
    stop.abort()
  `
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', program])
  return JSON.parse(stdout) as { grown: number; after: number }
}

t.test('a quiet process gives back what a burst took, at once', async (t) => {
  const { grown, after } = await heapOf({ held: 64, busy: false, ms: 5000 })
  t.ok(grown > 64, `it took ${Math.round(grown)} MB`)
  t.ok(after < grown / 2, `and has ${Math.round(after)} MB`)
})

t.test('a busy one is not held up by that', async (t) => {
  const { grown, after } = await heapOf({ held: 64, busy: true, ms: 2000 })
  t.ok(after > grown / 2, `${Math.round(after)} of ${Math.round(grown)} MB`)
})
