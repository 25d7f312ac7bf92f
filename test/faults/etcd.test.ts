import { type Fault, testFaults } from './run.ts'
import type { Stage } from './stage.ts'

/** etcd as a whole is away, hangs, or has lost what it had; a single one, so nothing else answers. */
let before = 0
let after = 0

const revision = async ({ etcdctl }: Stage): Promise<number> =>
  Number(/"revision":(\d+)/.exec(await etcdctl('get', '--write-out=json', 'x'))?.[1])

const faults: readonly Fault[] = [
  {
    name: 'etcd is down when the sidecar starts',
    async strike(stage) {
      await stage.sidecar.end('SIGTERM')
      await stage.etcd.member.kill()
      await stage.startSidecar()
    },
    proof: (stage) => stage.misses(/registry: etcd at .* has not granted a lease/),
    mend: (stage) => stage.etcd.member.start(),
  },
  {
    name: 'etcd is down for 30 s',
    strike: (stage) => stage.etcd.member.kill(),
    async proof(stage) {
      return both(await stage.writeFails(), await stage.misses(/registry/))
    },
    lasts: () => 30_000,
    mend: (stage) => stage.etcd.member.start(),
  },
  {
    name: 'etcd is stopped for 20 s',
    strike: async (stage) => stage.etcd.member.pause(),
    async proof(stage) {
      return both(await stage.writeFails(), await stage.misses(/registry/))
    },
    lasts: () => 20_000,
    mend: async (stage) => stage.etcd.member.resume(),
  },
  {
    name: 'the data of etcd are wiped',
    async strike(stage) {
      await stage.load.some(2)
      before = await revision(stage)
      // the same cluster with nothing in it, or another one
      await stage.etcd.member.wipe(stage.random.chance(0.5) ? `token-${stage.random.next()}` : undefined)
      await stage.etcd.member.start()
      after = await revision(stage)
      await stage.monitor?.wiped()
    },
    proof: () => (after < before ? `etcd went from revision ${before} back to ${after}` : undefined),
    mend: async () => {},
  },
]

const both = (a: string | undefined, b: string | undefined): string | undefined =>
  a && b ? `${a}; ${b}` : undefined

await testFaults(faults)
