import type { Test } from 'tap'
import { until } from '../../process/backoff.ts'
import type { EtcdMember } from '../support/etcd.ts'
import { type Fault, testFaults } from './run.ts'
import type { Stage } from './stage.ts'

/** A cluster of three loses one of its members, or the sidecar its way to them. */
let lost: EtcdMember | undefined

const follower = async ({ etcd, random }: Stage): Promise<EtcdMember> => {
  const leader = await etcd.leader()
  return random.pick(etcd.members.filter((member) => member !== leader))
}

const loses = (name: string, choose: (stage: Stage) => Promise<EtcdMember>): Fault => ({
  name,
  async strike(stage) {
    lost = await choose(stage)
    if (stage.random.chance(0.5)) lost.pause()
    else await lost.kill()
  },
  async proof(stage) {
    // the others have agreed on a leader
    const leader = await stage.etcd.leader().catch(() => undefined)
    return lost && !lost.runs && leader ? `${lost.address} is ${lost.pid ? 'stopped' : 'gone'}` : undefined
  },
  survived: true,
  async mend() {
    if (lost?.pid === undefined) await lost?.start()
    else lost.resume()
  },
})

let kept = 0
let before = 0

/** How many transactions etcd has been asked for. */
const transactions = async ({ etcd }: Stage): Promise<number> => {
  const texts = await Promise.all(etcd.members.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()))
  const started = /^grpc_server_started_total\{grpc_method="Txn".*\} (\d+)$/m
  return texts.reduce((sum, text) => sum + Number(started.exec(text)?.[1] ?? 0), 0)
}

const heldBytes = (stage: Stage): number => stage.proxies.reduce((sum, proxy) => sum + proxy.kept, 0)

const faults: readonly Fault[] = [
  loses('a cluster of three loses a follower', follower),
  loses('a cluster of three loses its leader', ({ etcd }) => etcd.leader()),
  {
    name: 'a cluster of three is cut off by proxies that stall',
    strike: async (stage) => {
      for (const proxy of stage.proxies) proxy.stall()
    },
    proof: (stage) => stage.misses(/registry/),
    lasts: (random) => random.int(6000, 18_000),
    mend: async (stage) => {
      for (const proxy of stage.proxies) proxy.open()
    },
  },
  {
    name: 'a stale write arrives late',
    async strike(stage) {
      await stage.load.run()
      for (const proxy of stage.proxies) proxy.delay()
      const subjects = (await stage.load.subjects()).filter(({ state }) => state === 'running')
      await stage.load.kill(stage.random.pick(subjects).id)
      // its write is on its way by then, and no word of its being given up
      await until(() => heldBytes(stage) > 0 || undefined, { ms: 5000, every: 5 })
      await until(() => undefined, { ms: stage.random.int(200, 600) })
      for (const proxy of stage.proxies) proxy.seal()
      kept = heldBytes(stage)
    },
    proof: async () => (kept > 0 ? `${kept} bytes of the sidecar are on their way` : undefined),
    // what was killed runs again, and the registry says so, by other connections
    async under(stage) {
      const ended = (await stage.load.subjects()).filter(({ state }) => state === 'exited')
      for (const { id } of ended) await stage.load.docker('start', id)
      await stage.load.some()
      return undefined
    },
    survived: true,
    async mend(stage) {
      before = await transactions(stage)
      for (const proxy of stage.proxies) proxy.deliver()
    },
    async after(stage, t: Test) {
      const more = await until(async () => (await transactions(stage)) - before || undefined, { ms: 5000 })
      t.ok(more, `${more} transactions arrived late`)
      await stage.agrees(t, 0, 'the late write has not been done')
      for (const proxy of stage.proxies) proxy.forgetDelayed()
    },
  },
]

await testFaults(faults, { etcd: { members: 3 }, proxied: true })
