import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../process/backoff.ts'
import { type Consul, startConsul } from '../test/support/consul.ts'
import { inTurn, runBench, say, within } from './support/bench.ts'
import { now } from './support/clock.ts'
import { EngineProcess } from './support/engine-process.ts'
import { median, round } from './support/statistics.ts'
import { Running } from './support/subject.ts'

const about = `consul: \`registrator consul://\` starts where a host is full of containers; after how many seconds are all services of
Consul's agent, counted from its first request to the engine? Beside it what Consul itself takes: the same registrations by
plain requests, twelve at a time. Then it compares all every second and must write nothing: Consul's log grows as it does
without us.`

const program = join(import.meta.dirname, '../cli/registrator.sh')

const count = async ({ client }: Consul): Promise<number> =>
  Object.keys((await client.call('GET', '/v1/agent/services')) as object).length

/** What the bare API takes, in s. */
const floor = (containers: number): Promise<number> =>
  within(async (t) => {
    const consul = await startConsul(t)
    const began = now()
    let next = 0
    await Promise.all(
      Array.from({ length: 12 }, async () => {
        while (next < containers) {
          const number = next++
          const body = { ID: `h1:c${number}:80`, Name: 'web', Port: 1024 + number, Address: '198.51.100.7' }
          await consul.client.call('PUT', '/v1/agent/service/register', { body })
        }
      }),
    )
    return (now() - began) / 1000
  })

interface Run {
  readonly work: number
  /** How far Consul's log grew in the time, with us and without. */
  readonly busy: number
  readonly idle: number
}

const run = (containers: number, seconds: number): Promise<Run> =>
  within(async (t) => {
    const engine = await EngineProcess.start(t)
    const consul = await startConsul(t)
    await engine.fill(containers)
    await engine.warm()
    const args = [program, '-ip', '198.51.100.7', '-resync', '1', `consul://${consul.address}`]
    const running = new Running(t, args, {
      DOCKER_HOST: engine.endpoint(),
      OPENEBS_HOST: 'h1',
      OPENEBS_LISTEN: '127.0.0.1:0',
      OPENEBS_ON_EXIT: 'keep',
    })
    // Consul itself is one of them
    const all = async () => ((await count(consul)) >= containers ? now() : undefined)
    const at = await until(all, { ms: 60_000, every: 25 })
    const { firstRequest } = await engine.counts()
    if (at === undefined || firstRequest === undefined) throw new Error(`not registered: ${running.log}`)
    await sleep(3000)
    const grows = async () => {
      const before = await consul.index()
      await sleep(seconds * 1000)
      return (await consul.index()) - before
    }
    const busy = await grows()
    await running.end('SIGTERM')
    const idle = await grows()
    return { work: (at - firstRequest) / 1000, busy, idle }
  })

await runBench(
  about,
  {
    containers: [1000, 'containers'],
    runs: [3, 'runs'],
    seconds: [10, 'that it is watched, with a comparison a second'],
    must: [5, 'seconds that it may take'],
  },
  async (_t, { containers, runs, seconds, must }) => {
    const bare = await floor(containers)
    say(`Consul alone: ${containers} in ${round(bare, 2)} s`)
    const all = await inTurn(Array.from({ length: runs }), async () => {
      const one = await run(containers, seconds)
      say(`${containers} in ${round(one.work, 2)} s; its log grows by ${one.busy}, without us by ${one.idle}`)
      return one
    })
    const work = median(all.map((one) => one.work))
    const written = Math.max(...all.map(({ busy, idle }) => busy - idle))
    return [
      {
        row: `${containers} services in Consul's agent`,
        measured: `${round(work, 2)} s (${round(work / bare, 2)} x what Consul takes)`,
        must: `${must} s`,
        holds: work <= must,
      },
      {
        row: `comparing ${containers} services in Consul every second, ${seconds} s`,
        measured: `${Math.max(0, written)} writes`,
        must: '0 writes',
        // its own entries come when they come, one more or less
        holds: written <= 1,
      },
    ]
  },
)
