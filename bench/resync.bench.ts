import { until } from '../process/backoff.ts'
import { inTurn, runBench, say, within } from './support/bench.ts'
import { EngineProcess } from './support/engine-process.ts'
import { costOf } from './support/process-cost.ts'
import { median, round } from './support/statistics.ts'
import { ours, startRegistry, whenSynced } from './support/subject.ts'

const about = `resync: nothing changes on a host, and the sidecar compares everything anew. Does it write, and how much processor time
does a pass take? That is utime + stime of its process over a window with passes, less what it takes in a window of the
same length without, for each list of containers that the engine was asked for. Median of the windows.`

interface Window {
  readonly passes: number
  readonly cpu: number
  readonly written: number
}

/** Runs a sidecar with that resync, and looks at it over windows of equal length. */
const observe = (resync: number, { containers, warm, windows, seconds }: Record<string, number>) =>
  within(async (t) => {
    const engine = await EngineProcess.start(t)
    const { etcd, view } = await startRegistry(t)
    await engine.fill(containers ?? 0)
    const running = await ours.start(t, engine.endpoint(), etcd, { OPENEBS_RESYNC: String(resync) })
    if (!(await whenSynced(ours, view, etcd, { containers: containers ?? 0, ms: 60_000 })))
      throw new Error(`no first sync: ${running.log}`)
    await wait(warm ?? 0)
    await engine.counts()
    return inTurn(Array.from({ length: windows ?? 0 }), async (): Promise<Window> => {
      const [cost, revision] = [costOf(running.pid), await view.revision()]
      await wait(seconds ?? 0)
      const cpu = costOf(running.pid).cpu - cost.cpu
      const { lists: passes } = await engine.counts()
      return { passes, cpu, written: (await view.revision()) - revision }
    })
  })

const wait = (seconds: number) => until(() => undefined, { ms: seconds * 1000, every: seconds * 1000 })

await runBench(
  about,
  {
    containers: [1000, 'containers'],
    every: [2, 'seconds between passes'],
    warm: [60, 'seconds before the first window'],
    windows: [5, 'windows'],
    seconds: [10, 'seconds a window'],
    must: [100, 'ms of processor time that a pass may take'],
  },
  async (_t, options) => {
    const idle = await observe(86_400, { ...options, windows: 2 })
    const quiet = median(idle.map(({ cpu }) => cpu))
    const busy = await observe(options.every, options)
    const perPass = busy.map(({ cpu, passes }) => (cpu - quiet) / passes)
    say(`without passes ${round(quiet)} ms in ${options.seconds} s`)
    for (const { cpu, passes } of busy) say(`${passes} passes: ${round(cpu)} ms`)
    if (busy.some(({ passes }) => passes === 0)) throw new Error('a window without a pass')
    const written = busy.reduce((sum, window) => sum + window.written, 0)
    const cpu = median(perPass)
    return [
      {
        row: `resync without change, ${options.containers} containers`,
        measured: `${written} writes in ${busy.reduce((sum, { passes }) => sum + passes, 0)} passes, ${round(cpu)} ms of CPU a pass`,
        must: `0 writes, ${options.must} ms`,
        holds: written === 0 && cpu <= options.must,
      },
    ]
  },
)
