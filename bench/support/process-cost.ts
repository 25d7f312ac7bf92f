import { readFileSync } from 'node:fs'

/** What a process has cost so far, by /proc. */
export interface Cost {
  /** ms of processor, user and system; in steps of 10. */
  readonly cpu: number
  /** performance.now() */
  readonly at: number
}

const ticks = 100 // per second: USER_HZ, the same on every Linux that Node runs on

export const costOf = (pid: number): Cost => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // the second field is the program's name and may hold spaces; user and system time are fields 14 and 15
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { cpu: ((Number(fields[11]) + Number(fields[12])) / ticks) * 1000, at: performance.now() }
}

/** MB of memory, now and at most: VmRSS and VmHWM. */
export const memoryOf = (pid: number): { rss: number; peak: number } => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => Number(new RegExp(`${name}:\\s*(\\d+) kB`).exec(status)?.[1]) / 1000
  return { rss: field('VmRSS'), peak: field('VmHWM') }
}
