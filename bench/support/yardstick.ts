import recorded from './recorded.json' with { type: 'json' }
import { median, round } from './statistics.ts'

/**
 * How fast this machine is now, by work that has nothing of ours in it: ms for reading and writing recorded answers of an
 * Engine. Figures in seconds or shares of a core are to be read with it; ratios need it not.
 */
const text = JSON.stringify(recorded)
const once = (): number => {
  const began = performance.now()
  for (let n = 0; n < 1000; n++) JSON.stringify(JSON.parse(text))
  return performance.now() - began
}
once() // compiled by then
process.stdout.write(`${round(median(Array.from({ length: 5 }, once)))}\n`)
