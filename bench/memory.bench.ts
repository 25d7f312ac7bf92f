import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../process/backoff.ts'
import { inTurn, runBench, say, within } from './support/bench.ts'
import { EngineProcess } from './support/engine-process.ts'
import { memoryOf } from './support/process-cost.ts'
import { median, round } from './support/statistics.ts'
import { type Subject, startRegistry, subjects, whenSynced } from './support/subject.ts'

const about = `memory: how much does a process hold (VmRSS) that was started by cli/registrator.sh run, after its first sync and some
resyncs? The peak (VmHWM) is shown beside it. Median of the runs.`

const hold = (subject: Subject, containers: number, { passes, every }: { passes: number; every: number }) =>
  within(async (t) => {
    const engine = await EngineProcess.start(t)
    const { etcd, view } = await startRegistry(t)
    await engine.fill(containers)
    const settings = { OPENEBS_RESYNC: String(every) }
    const running = await subject.start(t, engine.endpoint(), etcd, settings)
    if (!(await whenSynced(subject, view, etcd, { containers, ms: 120_000 })))
      throw new Error(`${subject.name}: no first sync: ${running.log}`)
    const synced = memoryOf(running.pid)
    if (subject.name === 'ours') {
      let lists = 0
      await engine.counts()
      const enough = async () => {
        lists += (await engine.counts()).lists
        return lists >= passes ? lists : undefined
      }
      if (!(await until(enough, { ms: 120_000, every: 200 }))) throw new Error('no resyncs')
    }
    await sleep(3000)
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
    runs: [3, 'runs of each'],
    passes: [5, 'resyncs before it counts as settled'],
    every: [3, 'seconds between resyncs'],
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
