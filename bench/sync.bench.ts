import { inTurn, runBench, say, within } from './support/bench.ts'
import { EngineProcess } from './support/engine-process.ts'
import { median, round } from './support/statistics.ts'
import { type Subject, startRegistry, subjects, whenSynced } from './support/subject.ts'

const about = `sync: a process starts where a host is full of containers; after how many seconds are all in etcd? Counted from its
first request to the engine, which is when its work begins (this is what the must is about), and from its exec.
Etcd is empty before every run; the median of the runs counts.`

interface Run {
  readonly work: number
  readonly exec: number
}

const sync = (subject: Subject, containers: number, limit: number): Promise<Run> =>
  within(async (t) => {
    const engine = await EngineProcess.start(t)
    const { etcd, view } = await startRegistry(t)
    await engine.fill(containers)
    await engine.warm()
    const running = await subject.start(t, engine.endpoint(), etcd)
    const at = await whenSynced(subject, view, etcd, { containers, ms: limit * 1000 })
    const { firstRequest } = await engine.counts()
    if (firstRequest === undefined) throw new Error(`${subject.name} asks nothing: ${running.log}`)
    if (at === undefined) return { work: Number.POSITIVE_INFINITY, exec: Number.POSITIVE_INFINITY }
    return { work: (at - firstRequest) / 1000, exec: (at - running.startedAt) / 1000 }
  })

const repeat = async (subject: Subject, containers: number, runs: number, limit: number) => {
  const all: Run[] = []
  for (let run = 0; run < runs; run++) {
    const one = await sync(subject, containers, limit)
    say(`${subject.name}: ${containers} in ${round(one.work, 2)} s, ${round(one.exec, 2)} s from exec`)
    all.push(one)
  }
  const work = all.map((one) => one.work)
  const typical = median(work)
  const exec = median(all.map((one) => one.exec))
  const text = Number.isFinite(typical)
    ? `${round(typical, 2)} s (slowest ${round(Math.max(...work), 2)} s; from exec ${round(exec, 2)} s)`
    : `not within ${limit} s`
  return { typical, text }
}

await runBench(
  about,
  {
    few: [1000, 'containers; 0 leaves them out'],
    many: [10_000, 'containers; 0 leaves them out'],
    runs: [5, 'runs of each'],
    limit: [60, 'seconds after which a run is given up'],
    'must-few': [1, 'seconds that it may take'],
    'must-many': [8, 'seconds that it may take'],
  },
  async (_t, options) => {
    const sizes = [
      { containers: options.few, must: options['must-few'] },
      { containers: options.many, must: options['must-many'] },
    ].filter(({ containers }) => containers > 0)
    return inTurn(sizes, async ({ containers, must }) => {
      const [own, peer] = await inTurn(subjects, (subject) =>
        repeat(subject, containers, options.runs, options.limit),
      )
      if (!own) throw new Error('nothing was measured')
      return {
        row: `first sync of ${containers} containers`,
        measured: own.text,
        must: `${must} s`,
        holds: own.typical <= must,
        ...(peer && { peer: peer.text }),
      }
    })
  },
)
