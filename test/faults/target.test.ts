import { type Fault, testFaults } from './run.ts'
import type { Stage } from './stage.ts'
import type { FaultTarget } from './targets.ts'

/** The server of FAULT_TARGET is away, hangs, or dies in the midst of it. */
const server = ({ target }: Stage): FaultTarget => {
  if (!target) throw new Error('there is no target')
  return target
}

const faults: readonly Fault[] = [
  {
    name: 'the server is down when the sidecar starts',
    async strike(stage) {
      await stage.sidecar.end('SIGTERM')
      await server(stage).kill()
      await stage.startSidecar()
    },
    proof: (stage) => stage.misses(/registry: .* is behind by/),
    mend: (stage) => server(stage).restart(),
  },
  {
    name: 'the server is down for 10 s',
    strike: (stage) => server(stage).kill(),
    // nothing has changed yet, so nothing is behind
    proof: (stage) =>
      server(stage)
        .look()
        .then(
          () => undefined,
          (error: Error) => `the server does not answer: ${error.message.slice(0, 100)}`,
        ),
    lasts: () => 10_000,
    mend: (stage) => server(stage).restart(),
  },
  {
    name: 'the server stands still for 10 s, and 20 containers die meanwhile',
    prepare: async (stage) => {
      for (let n = 0; n < 20; n++) await stage.load.run('-p', '80')
    },
    async strike(stage) {
      await server(stage).pause()
      const running = (await stage.load.subjects()).filter(({ state }) => state === 'running')
      await stage.load.kill(...running.map(({ id }) => id))
    },
    proof: (stage) => stage.misses(/registry: .* is behind by/),
    lasts: () => 10_000,
    mend: (stage) => server(stage).resume(),
  },
]

if (!process.env.FAULT_TARGET) throw new Error('FAULT_TARGET names no target (deploy/test-faults.sh)')
await testFaults(faults)
