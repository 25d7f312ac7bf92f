import { setTimeout as sleep } from 'node:timers/promises'
import { inTurn, runBench, say, within } from './support/bench.ts'
import { now } from './support/clock.ts'
import { RealEngine } from './support/real-engine.ts'
import { median, round } from './support/statistics.ts'
import { type Subject, startRegistry, subjects, whenCount } from './support/subject.ts'

const about = `kill: many containers of a real engine are killed at once; how long do their instances stay in the registry after the last die
event, and how many are left after a while? The worst run counts.`

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
    await Promise.all(names.map((name) => engine.kill(name)))
    const at = await whenCount(registry, 0, patience * 1000)
    const died = (await engine.happened(since)).filter(({ action }) => action === 'die')
    if (died.length < names.length) throw new Error(`only ${died.length} of ${names.length} died`)
    const stale = await registry.count()
    const seconds =
      at === undefined ? Number.POSITIVE_INFINITY : (at - Math.max(...died.map((one) => one.at))) / 1000
    say(`${subject.name}: ${stale} stale, empty ${round(seconds, 2)} s after the last died`)
    await running.end('SIGTERM')
    await sleep(500)
    return { stale, seconds }
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
      const stale = Math.max(...all.map((run) => run.stale))
      const seconds = Math.max(...all.map((run) => run.seconds))
      const gone =
        stale > 0
          ? ''
          : `, gone ${round(seconds, 2)} s (median ${round(median(all.map((run) => run.seconds)), 2)} s) after the last died`
      return { stale, seconds, text: `${stale} stale${gone}` }
    })
    if (!own) throw new Error('nothing was measured')
    return [
      {
        row: `kill of ${containers} at once`,
        measured: own.text,
        must: '0 stale, gone within 1 s',
        holds: own.stale === 0 && own.seconds <= 1,
        ...(peer && { peer: peer.text }),
      },
    ]
  },
)
