import { type Fault, testFaults } from './run.ts'
import type { Stage } from './stage.ts'

/** The Docker daemon ends, crashes or hangs. */
const liveRestore = { 'live-restore': true }

let pids: string[] = []

/** Containers that come up with the daemon, among others that do not. */
const prepare = async ({ load, random }: Stage): Promise<void> => {
  for (let n = random.int(2, 4); n > 0; n--)
    await load.run('--restart', random.pick(['no', 'always', 'unless-stopped']))
  pids = random.shuffle(await load.pids())
}

const gone = async (stage: Stage): Promise<string | undefined> => {
  if (await stage.engine.runs()) return undefined
  return stage.misses(/Docker Engine at/)
}

/** Without a daemon nobody announces what dies. */
const die = async ({ engine, random }: Stage): Promise<undefined> => {
  const some = pids.slice(0, random.int(1, Math.max(1, pids.length - 1)))
  // a daemon that ends takes them along, unless it is to live without them
  for (const pid of some) await engine.tryExec('kill', '-KILL', pid)
}

const restarts = (name: string, signal: 'TERM' | 'KILL', daemon: object): Fault => ({
  name,
  daemon,
  prepare,
  strike: (stage) => stage.engine.halt(signal),
  proof: gone,
  under: die,
  lasts: (random) => random.int(0, 3000),
  mend: (stage) => stage.startEngine(),
})

const faults: readonly Fault[] = [
  restarts('the daemon gets SIGTERM', 'TERM', {}),
  restarts('the daemon gets SIGKILL', 'KILL', {}),
  {
    name: 'the daemon is stopped for 20 s',
    prepare,
    strike: (stage) => stage.engine.pause(),
    proof: async (stage) =>
      (await stage.engine.paused())
        ? `all of dockerd is in state T; ${await stage.misses(/does not answer/, 20_000)}`
        : undefined,
    async under(stage) {
      await die(stage)
      // they wait for the daemon to go on
      const waiting = Promise.all([
        stage.load.run(),
        stage.load.run(),
        stage.load.docker('volume', 'create', 'late'),
      ])
      return () => waiting
    },
    lasts: () => 20_000,
    mend: (stage) => stage.engine.resume(),
  },
  restarts('the daemon gets SIGTERM, with live-restore', 'TERM', liveRestore),
  restarts('the daemon gets SIGKILL, with live-restore', 'KILL', liveRestore),
]

await testFaults(faults)
