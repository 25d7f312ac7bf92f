import { setTimeout as sleep } from 'node:timers/promises'
import { inTurn, runBench, say, within } from './support/bench.ts'
import { EngineProcess } from './support/engine-process.ts'
import { memoryOf } from './support/process-cost.ts'
import { median, round } from './support/statistics.ts'
import { compiled, type Subject, startRegistry, subjects, whenSynced } from './support/subject.ts'

const about = `memory: how much does a process hold (VmRSS) that was started by cli/registrator.sh run, long enough after its first
sync that a resync has followed? Its code is compiled before, as in the image. The peak (VmHWM) is shown beside it. Median of the runs.`

const hold = (subject: Subject, containers: number, { settle }: { settle: number }) =>
  within(async (t) => {
    const engine = await EngineProcess.start(t)
    const { etcd, view } = await startRegistry(t)
    await engine.fill(containers)
    const running = await subject.start(t, engine.endpoint(), etcd, await compiled(t))
    if (!(await whenSynced(subject, view, etcd, { containers, ms: 120_000 })))
      throw new Error(`${subject.name}: no first sync: ${running.log}`)
    const synced = memoryOf(running.pid)
    await sleep(settle * 1000)
    const settled = memoryOf(running.pid)
    say(
      `${subject.name}, ${containers}: ${round(synced.rss)} MB synced, ${round(settled.rss)} MB settled, peak ${round(settled.peak)} MB`,
    )
    return settled
  })

await runBench(
  about,
  {
    few: [1000, 'containers; 0 leaves them out'],
    many: [10_000, 'containers; 0 leaves them out'],
    runs: [5, 'runs of each'],
    settle: [90, 'seconds until it counts as settled; a resync falls into them'],
    'must-few': [130, 'MB that it may hold'],
    'must-many': [180, 'MB that it may hold'],
  },
  async (_t, options) => {
    const sizes = [
      { containers: options.few, must: options['must-few'] },
      { containers: options.many, must: options['must-many'] },
    ].filter(({ containers }) => containers > 0)
    return inTurn(sizes, async ({ containers, must }) => {
      const [own, peer] = await inTurn(subjects, async (subject) => {
        const runs = Array.from({ length: options.runs })
        const all = await inTurn(runs, () => hold(subject, containers, options))
        const rss = median(all.map((one) => one.rss))
        const peak = Math.max(...all.map((one) => one.peak))
        return { rss, text: `${round(rss)} MB (peak ${round(peak)} MB)` }
      })
      if (!own) throw new Error('nothing was measured')
      return {
        row: `memory at ${containers} containers`,
        measured: own.text,
        must: `${must} MB`,
        holds: own.rss <= must,
        ...(peer && { peer: peer.text }),
      }
    })
  },
)
