import type { ChildProcess } from 'node:child_process'
import { pause, until } from '../../process/backoff.ts'
import { image } from './load.ts'
import { type Fault, testFaults } from './run.ts'
import { type Stage, seconds } from './stage.ts'

/** Nothing is broken, but much happens at once. */
const tiny = ['--network', 'none']
/** What starts fastest: nothing of it is its own. */
const light = [
  ...['network', 'pid', 'ipc', 'uts'].flatMap((namespace) => [`--${namespace}`, 'host']),
  ...['--security-opt', 'seccomp=unconfined', '--log-driver', 'none'],
]

/** Runs `job` so often, `width` at a time. */
const inParallel = async (
  count: number,
  width: number,
  job: (n: number) => Promise<unknown>,
): Promise<void> => {
  let next = 0
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < count) await job(next++)
    }),
  )
}

const names = (stage: Stage, count: number): string[] =>
  Array.from({ length: count }, () => stage.load.freshName())

/** Makes containers that do `command`, and starts none. */
const create = async (
  stage: Stage,
  count: number,
  options: string[],
  ...command: string[]
): Promise<string[]> => {
  const made = names(stage, count)
  await inParallel(count, 4, (n) =>
    stage.load.docker('create', '--name', made[n] ?? '', ...options, image, ...command),
  )
  return made
}

/** What an engine announces of its containers from now on, by `docker events`. */
class Announced {
  readonly #process: ChildProcess
  readonly #events: { action: string; at: number }[] = []

  constructor(stage: Stage) {
    const format = '{{.Action}} {{.TimeNano}}'
    const since = String(Date.now() / 1000)
    const filters = ['start', 'die'].flatMap((action) => ['--filter', `event=${action}`])
    this.#process = stage.engine.dockerProcess('events', '--since', since, ...filters, '--format', format)
    let rest = ''
    this.#process.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      const printed = (rest + chunk).split('\n')
      rest = printed.pop() ?? ''
      for (const [action = '', nano = ''] of printed.map((line) => line.split(' ')))
        this.#events.push({ action, at: Number(nano.slice(0, 13)) })
    })
  }

  count(action: string, from = 0, to = Number.POSITIVE_INFINITY): number {
    return this.#events.filter((event) => event.action === action && event.at >= from && event.at <= to)
      .length
  }

  end(): void {
    this.#process.kill()
  }
}

/** Of the fault of now. */
let announced: Announced | undefined
let began = 0
let took = 0
let ready = 0

/** Does it with the engine's announcements at hand. */
const listening = async (stage: Stage, job: () => Promise<void>): Promise<void> => {
  announced?.end()
  announced = new Announced(stage)
  began = Date.now()
  await job()
  took = Date.now() - began
}

const died = (least: number) => {
  const count = announced?.count('die') ?? 0
  return count >= least ? `${count} died, all within ${seconds(took)}` : undefined
}

const faults: readonly Fault[] = [
  {
    name: '40 containers are killed at once',
    async prepare(stage) {
      const ports = stage.random.int(4, 12)
      const made = names(stage, 40)
      await inParallel(40, 4, (n) =>
        stage.load.docker('run', '-d', '--name', made[n] ?? '', ...(n < ports ? ['-p', '80'] : tiny), image),
      )
    },
    async strike(stage) {
      const running = (await stage.load.subjects()).filter(({ state }) => state === 'running')
      await listening(stage, () => stage.load.kill(...stage.random.shuffle(running).map(({ id }) => id)))
    },
    proof: () => died(40),
  },
  {
    name: '200 starts and deaths within seconds',
    prepare: async (stage) => {
      await create(stage, 20, light, '/bin/sh', '-c', ':')
    },
    async strike(stage) {
      const made = (await stage.load.subjects()).filter(({ state }) => state === 'created')
      const ids = stage.random.shuffle(made.map(({ id }) => id))
      // a start of what still runs is none, so there is a round more
      await listening(stage, () =>
        inParallel(4, 4, async (n) => {
          for (let round = 0; round < 11; round++)
            await stage.load.docker('start', ...ids.slice(n * 5, n * 5 + 5))
        }),
      )
    },
    proof: () => died(200),
  },
  {
    name: 'containers live for 50 ms',
    async strike(stage) {
      const made = names(stage, stage.random.int(20, 30))
      const width = stage.random.int(2, 5)
      await listening(stage, async () => {
        await inParallel(made.length, width, async (n) => {
          const kept = stage.random.chance(0.3) ? [] : ['--rm']
          const command = ['/bin/sh', '-c', '/bin/sleep 0.05']
          await stage.load.docker('run', '-d', ...kept, '--name', made[n] ?? '', ...tiny, image, ...command)
        })
        await until(() => died(made.length), { ms: 20_000, every: 5 })
      })
    },
    proof: () => died(20),
  },
  {
    name: 'containers start during the first sync',
    prepare: async (stage) => {
      await create(stage, 25, tiny)
    },
    async strike(stage) {
      const made = (await stage.load.subjects()).filter(({ state }) => state === 'created')
      await stage.sidecar.end(stage.random.pick(['SIGTERM', 'SIGKILL']))
      const [first, ...others] = stage.random.shuffle(made)
      await stage.load.docker('start', first?.id ?? '')
      ready = 0
      await listening(stage, async () => {
        await stage.launchSidecar()
        const becoming = until(
          async () => ((await stage.sidecar.missing()).length === 0 ? Date.now() : undefined),
          {
            ms: 20_000,
            every: 10,
          },
        )
        void becoming.then((at = 0) => (ready = at))
        await pause(stage.random.int(0, 300))
        // until the sync is well over: those that have all been started are started again
        const enough = () => ready > 0 && (announced?.count('start', ready) ?? 0) > 3
        await inParallel(200, 6, async (n) => {
          if (enough()) return
          const { id = '' } = others[n % others.length] ?? {}
          await stage.load.docker(...(n < others.length ? ['start'] : ['restart', '-t', '0']), id)
          if (n < others.length && n % 3 === 0) await stage.load.kill(id)
        })
        if ((await becoming) === undefined)
          throw new Error(`not ready: ${(await stage.sidecar.missing()).join('; ')}`)
      })
    },
    proof() {
      const before = announced?.count('start', began, ready) ?? 0
      const after = announced?.count('start', ready) ?? 0
      return before > 0 && after > 0
        ? `${before} started before it was ready, ${after} after that`
        : undefined
    },
  },
]

await testFaults(faults)
announced?.end()
