import { readdirSync, readFileSync } from 'node:fs'

/** The state of each thread of a process, as /proc has it: R, S, D, T (stopped), Z. `proc` may be another namespace's. */
export const threadStates = (pid: number, proc = '/proc'): string[] =>
  readdirSync(`${proc}/${pid}/task`).map((thread) => {
    const stat = readFileSync(`${proc}/${pid}/task/${thread}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3)
  })

export const isStopped = (pid: number, proc?: string): boolean =>
  threadStates(pid, proc).every((state) => state === 'T')

/** Returns when all of its threads have stopped: a signal is only on its way when kill returns. */
export const stopProcess = (pid: number): void => {
  process.kill(pid, 'SIGSTOP')
  while (!isStopped(pid));
}
