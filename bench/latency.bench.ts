import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { EtcdCluster, Teardown } from '../test/support/etcd.ts'
import { Arrivals } from './support/arrivals.ts'
import { inTurn, runBench, say, within } from './support/bench.ts'
import { now } from './support/clock.ts'
import type { EtcdView } from './support/etcd-view.ts'
import { RealEngine } from './support/real-engine.ts'
import type { Row } from './support/rows.ts'
import { median, quantile, round } from './support/statistics.ts'
import { Running, type Subject, startRegistry, subjects } from './support/subject.ts'

const about = `latency: from a container's start or die event (its timeNano) to its arrival in a watch on etcd, on real engines. The floor is
support/floor.ts: event, inspect, one put.

Each one has an engine of its own, so that none waits for another's inspects: they do the same on all engines, one container
at a time, in turn, and so meet the same noise. For every round they change places, and are started anew. The ratio of
p50 is the median of the blocks' ratios; that of p99 is over all.`

/** One that is measured: how it is started, and how what it writes is heard. */
interface Contestant {
  readonly name: string
  start(t: Teardown, engine: RealEngine, etcd: EtcdCluster): Promise<Running>
  listen(t: Teardown, view: EtcdView, etcd: EtcdCluster, arrivals: Arrivals): Promise<void>
}
type Action = 'start' | 'die'
type Samples = Record<Action, number[]>

const event = (container: string, action: Action): string => `${action} ${container}`

const floor: Contestant = {
  name: 'floor',
  async start(t, engine, etcd) {
    const socket = engine.endpoint.replace('unix://', '')
    const script = join(import.meta.dirname, 'support/floor.ts')
    return new Running(t, [process.execPath, script, socket, etcd.member.address], {})
  },
  listen: (t, view, _etcd, arrivals) =>
    view.watch(t, '/floor/', ({ key, value, at }) => {
      const container = key.split(':')[1] ?? ''
      arrivals.note(event(container, value?.includes('"running"') ? 'start' : 'die'), at)
    }),
}

const contestantOf = (subject: Subject): Contestant => ({
  name: subject.name,
  start: (t, engine, etcd) => subject.start(t, engine.endpoint, etcd),
  listen: (t, view, etcd, arrivals) =>
    subject
      .registry(view, etcd)
      .watch(t, ({ container, present, at }) =>
        arrivals.note(event(container, present ? 'start' : 'die'), at),
      ),
})

/** One start and one end of a container; undefined where they did not arrive. */
const sample = async (engine: RealEngine, arrivals: Arrivals, container: string) => {
  arrivals.forget(event(container, 'start'))
  arrivals.forget(event(container, 'die'))
  const since = now()
  await engine.startContainer(container)
  const started = await arrivals.when(event(container, 'start'), 5000)
  await sleep(30) // what the engine and the contestant still do for the start is not the end's
  await engine.kill(container)
  const ended = await arrivals.when(event(container, 'die'), 5000)
  const happened = await engine.happened(since)
  const time = (action: Action, at: number | undefined) => {
    const from = happened.find((one) => one.container === container && one.action === action)
    if (at === undefined || !from) throw new Error(`the ${action} of ${container} did not arrive`)
    return at - from.at
  }
  return { start: time('start', started), die: time('die', ended) }
}

interface Plan {
  readonly blocks: number
  readonly block: number
  readonly rounds: number
  readonly warm: number
}

const ready = async (subject: Contestant, engine: RealEngine, arrivals: Arrivals, running: Running) => {
  for (let attempt = 0; attempt < 5; attempt++)
    try {
      await sample(engine, arrivals, `${subject.name}-0`)
      return
    } catch (error) {
      if (attempt === 4)
        throw new Error(`${subject.name} registers nothing: ${running.log}`, { cause: error })
    }
}

/** Samples of each block, by contestant. */
const measureAll = async (t: Teardown, contestants: readonly Contestant[], plan: Plan) => {
  const { etcd, view } = await startRegistry(t)
  const engines = await inTurn(contestants, async () => RealEngine.start(t))
  const names = contestants.map(({ name }) => Array.from({ length: 10 }, (_, index) => `${name}-${index}`))
  for (const engine of engines) for (const its of names) await engine.create(its)
  const samples = new Map(contestants.map(({ name }) => [name, [] as Samples[]]))

  for (let round = 0; round < plan.rounds; round++)
    await within(async (t) => {
      const seats = await inTurn([...contestants.entries()], async ([index, contestant]) => {
        const engine = engines[(index + round) % engines.length]
        if (!engine) throw new Error('an engine is missing')
        const arrivals = new Arrivals()
        await contestant.listen(t, view, etcd, arrivals)
        const running = await contestant.start(t, engine, etcd)
        await ready(contestant, engine, arrivals, running)
        return { name: contestant.name, engine, arrivals }
      })
      for (let turn = 0; turn < plan.warm; turn++)
        for (const { name, engine, arrivals } of seats) await sample(engine, arrivals, `${name}-${turn % 10}`)
      for (let block = 0; block < plan.blocks / plan.rounds; block++) {
        const taken = new Map(seats.map(({ name }) => [name, { start: [], die: [] } as Samples]))
        for (let turn = 0; turn < plan.block; turn++)
          for (const { name, engine, arrivals } of seats) {
            const { start, die } = await sample(engine, arrivals, `${name}-${turn % 10}`)
            taken.get(name)?.start.push(start)
            taken.get(name)?.die.push(die)
          }
        for (const [name, its] of taken) {
          samples.get(name)?.push(its)
          say(
            `${name}, block ${block + 1} of round ${round + 1}: start ${show(its.start)}, die ${show(its.die)}`,
          )
        }
      }
    })
  return samples
}

const show = (values: readonly number[]): string =>
  `p50 ${round(quantile(values, 0.5))} p99 ${round(quantile(values, 0.99))} ms`

const compare = (action: Action, mine: readonly Samples[], floors: readonly Samples[]) => {
  const all = (samples: readonly Samples[]) => samples.flatMap((block) => block[action])
  const p50 = median(
    mine.map((block, index) => quantile(block[action], 0.5) / quantile(floors[index]?.[action] ?? [], 0.5)),
  )
  const p99 = quantile(all(mine), 0.99) / quantile(all(floors), 0.99)
  return { p50, p99, text: `${round(p50, 2)}x, ${round(p99, 2)}x (${show(all(mine))})` }
}

await runBench(
  about,
  {
    blocks: [6, 'blocks'],
    block: [34, 'starts and ends a block'],
    rounds: [2, 'rounds: starts of the contestants, on another engine each time'],
    warm: [10, 'starts and ends of each that are not counted, a round'],
  },
  async (t, plan) => {
    const samples = await measureAll(t, [floor, ...subjects.map(contestantOf)], plan)
    const of = (name: string) => samples.get(name) ?? []
    const floors = of(floor.name)
    const total = plan.blocks * plan.block
    return (['start', 'die'] as const).map((action): Row => {
      const own = compare(action, of('ours'), floors)
      const least = show(floors.flatMap((block) => block[action]))
      return {
        row: `${action} event to watch, n = ${total}`,
        measured: `${own.text}; floor ${least}`,
        must: 'p50 1.5x, p99 3x the floor',
        holds: own.p50 <= 1.5 && own.p99 <= 3,
        ...(of('peer').length > 0 && { peer: compare(action, of('peer'), floors).text }),
      }
    })
  },
)
