import { setTimeout as sleep } from 'node:timers/promises'
import { inTurn, runBench, say, within } from './support/bench.ts'
import { now } from './support/clock.ts'
import { RealEngine } from './support/real-engine.ts'
import { round } from './support/statistics.ts'
import { type Subject, startRegistry, subjects, whenCount } from './support/subject.ts'

const about = `kill: many containers of a real engine are killed at once; how long are their instances in the registry after the kill
command has returned, and how many are left after a while? Also counted from the last die event: the engine says
that long before it has tidied up and answers a kill, or an inspect. The worst run counts.`

const kill = (engine: RealEngine, subject: Subject, names: readonly string[], patience: number) =>
  within(async (t) => {
    const { etcd, view } = await startRegistry(t)
    const registry = subject.registry(view, etcd)
    const running = await subject.start(t, engine.endpoint, etcd)
    await Promise.all(names.map((name) => engine.startContainer(name)))
    if (!(await whenCount(registry, names.length, 60_000)))
      // a peer may have lost starts: what counts here is what it has
      say(
        `${subject.name}: ${await registry.count()} of ${names.length} registered: ${running.log.slice(-500)}`,
      )
    const since = now()
    const killed = Promise.all(names.map((name) => engine.kill(name))).then(now)
    const gone = await whenCount(registry, 0, patience * 1000)
    const returned = await killed
    const died = (await engine.happened(since)).filter(({ action }) => action === 'die')
    if (died.length < names.length) throw new Error(`only ${died.length} of ${names.length} died`)
    const last = Math.max(...died.map(({ at }) => at))
    const run = {
      stale: await registry.count(),
      afterKill: gone === undefined ? Number.POSITIVE_INFINITY : Math.max(0, gone - returned) / 1000,
      afterDie: gone === undefined ? Number.POSITIVE_INFINITY : (gone - last) / 1000,
    }
    say(
      `${subject.name}: ${run.stale} stale, gone ${round(run.afterKill, 2)} s after the kill, ${round(run.afterDie, 2)} s after the last die`,
    )
    await running.end('SIGTERM')
    await sleep(500)
    return run
  })

await runBench(
  about,
  {
    containers: [40, 'containers'],
    runs: [5, 'runs'],
    patience: [10, 'seconds after which what is left counts as stale'],
  },
  async (t, { containers, runs, patience }) => {
    const engine = await RealEngine.start(t)
    const names = Array.from({ length: containers }, (_, index) => `c${index}`)
    await engine.create(names)
    const [own, peer] = await inTurn(subjects, async (subject) => {
      const all = await inTurn(Array.from({ length: runs }), () => kill(engine, subject, names, patience))
      const worst = (of: (run: (typeof all)[number]) => number) => Math.max(...all.map(of))
      const stale = worst((run) => run.stale)
      const afterKill = worst((run) => run.afterKill)
      const gone = `gone ${round(afterKill, 2)} s after the kill, ${round(
        worst((run) => run.afterDie),
        2,
      )} s after the last die`
      return { stale, afterKill, text: stale > 0 ? `${stale} stale after ${patience} s` : gone }
    })
    if (!own) throw new Error('nothing was measured')
    return [
      {
        row: `kill of ${containers} at once`,
        measured: own.text,
        must: '0 stale, gone 1 s after the kill',
        holds: own.stale === 0 && own.afterKill <= 1,
        ...(peer && { peer: peer.text }),
      },
    ]
  },
)
