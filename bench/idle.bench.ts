import { setTimeout as sleep } from 'node:timers/promises'
import { runBench } from './support/bench.ts'
import { EngineProcess } from './support/engine-process.ts'
import { costOf } from './support/process-cost.ts'
import { round } from './support/statistics.ts'
import { ours, startRegistry, whenSynced } from './support/subject.ts'

const about = `idle: nothing happens on a host full of containers, and the sidecar runs with its default settings. How many renewals of
its lease does etcd count, what is written, and which share of a core does it take? A minute has one resync in it. What the
first sync leaves to be cleaned up (memory, compiled code) is done two minutes later; from then on it is idle.`

/** OPENEBS_TTL's default, a renewal every third of it. */
const renewal = 15 / 3

await runBench(
  about,
  {
    containers: [1000, 'containers'],
    settle: [120, 'seconds after the first sync that are not counted'],
    seconds: [125, 'seconds that are counted'],
    permille: [5, 'thousandths of a core that it may take'],
  },
  async (t, { containers, settle, seconds, permille }) => {
    const engine = await EngineProcess.start(t)
    const { etcd, view } = await startRegistry(t)
    await engine.fill(containers)
    const running = await ours.start(t, engine.endpoint(), etcd)
    if (!(await whenSynced(ours, view, etcd, { containers, ms: 60_000 })))
      throw new Error(`no first sync: ${running.log}`)
    await sleep(settle * 1000)
    await engine.counts()
    const [renewed, revision] = [await view.keepAlives(), await view.revision()]
    const before = costOf(running.pid)
    await sleep(seconds * 1000)
    const after = costOf(running.pid)
    const renewals = (await view.keepAlives()) - renewed
    const written = (await view.revision()) - revision
    const passes = (await engine.counts()).lists
    const share = (after.cpu - before.cpu) / (after.at - before.at)
    const due = seconds / renewal
    return [
      {
        row: `idle with ${containers} containers, ${seconds} s`,
        measured: `${renewals} keep-alives, ${written} writes, ${round(share * 100, 2)} % of a core (${passes} resync)`,
        must: `${Math.floor(due)} keep-alives (one per TTL/3), ${permille / 10} %`,
        holds: Math.abs(renewals - due) <= 1 && written === 0 && share * 1000 <= permille,
      },
    ]
  },
)
