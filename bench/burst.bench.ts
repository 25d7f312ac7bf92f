import { inTurn, runBench, say, within } from './support/bench.ts'
import { EngineProcess } from './support/engine-process.ts'
import { median, round } from './support/statistics.ts'
import { type Subject, startRegistry, subjects, whenCount } from './support/subject.ts'

const about = `burst: that many containers start at once on a synthetic engine; how many are registered, and after how many seconds
since the first event? Every run is one of a process that has just started; the slowest one counts.`

interface Run {
  readonly registered: number
  readonly seconds: number
  readonly published: number
  readonly dropped: number
}

const burst = (subject: Subject, starts: number, limit: number): Promise<Run> =>
  within(async (t) => {
    const engine = await EngineProcess.start(t)
    const { etcd, view } = await startRegistry(t)
    await engine.fill(1)
    const running = await subject.start(t, engine.endpoint(), etcd)
    const registry = subject.registry(view, etcd)
    if (!(await whenCount(registry, 1, 20_000)))
      throw new Error(`${subject.name} does not start: ${running.log}`)
    const { names, from, to } = await engine.run(starts)
    const at = await whenCount(registry, starts + 1, limit * 1000)
    const found = await registry.containers()
    const { dropped } = await engine.counts()
    return {
      registered: names.filter((name) => found.has(name)).length,
      seconds: at === undefined ? Number.POSITIVE_INFINITY : (at - from) / 1000,
      published: (to - from) / 1000,
      dropped,
    }
  })

const repeat = async (
  subject: Subject,
  { starts, runs, limit }: { starts: number; runs: number; limit: number },
) => {
  const all: Run[] = []
  for (let run = 0; run < runs; run++) {
    const one = await burst(subject, starts, limit)
    say(
      `${subject.name}: ${one.registered} of ${starts} within ${round(one.seconds, 2)} s; published in ${round(one.published, 2)} s, ${one.dropped} events dropped`,
    )
    all.push(one)
  }
  const least = Math.min(...all.map(({ registered }) => registered))
  const seconds = all.map((one) => one.seconds)
  const slowest = Math.max(...seconds)
  const time = Number.isFinite(slowest) ? `within ${round(slowest, 2)} s` : `after ${limit} s`
  return { least, slowest, text: `${least} ${time} (median ${round(median(seconds), 2)} s)` }
}

await runBench(
  about,
  {
    starts: [1000, 'containers that start'],
    runs: [5, 'runs'],
    limit: [15, 'seconds after which a run is given up'],
    must: [2, 'seconds that it may take'],
  },
  async (_t, options) => {
    const [own, peer] = await inTurn(subjects, (subject) => repeat(subject, options))
    if (!own) throw new Error('nothing was measured')
    return [
      {
        row: `burst of ${options.starts} starts`,
        measured: own.text,
        must: `${options.starts} within ${options.must} s`,
        holds: own.least === options.starts && own.slowest <= options.must,
        ...(peer && { peer: peer.text }),
      },
    ]
  },
)
