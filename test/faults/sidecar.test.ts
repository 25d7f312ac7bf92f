import { existsSync, globSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { type Fault, testFaults } from './run.ts'
import type { Stage } from './stage.ts'

/** The sidecar itself dies, stands still, or has the wrong time. */
const ttl = 5

const faketime = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1')[0]
const folder = await mkdtemp(join(tmpdir(), 'faketime-'))
t.teardown(() => rm(folder, { recursive: true }))
const clock = join(folder, 'clock')

/** Sets the sidecar's own clock off by so many seconds; only the time of day, as setting a real clock does. */
const setClock = (seconds: number): Promise<void> => writeFile(clock, `${seconds < 0 ? '' : '+'}${seconds}\n`)

const ownTime = async (stage: Stage): Promise<number> => {
  const { headers } = await fetch(`${stage.sidecar.url}/healthz`)
  return Date.parse(headers.get('date') ?? '')
}

let step = 0

const faults: readonly Fault[] = [
  {
    name: 'the sidecar is killed and started again',
    async strike(stage) {
      await stage.sidecar.end('SIGKILL')
    },
    proof: async (stage) =>
      (await stage.sidecar.ended()) === null
        ? `it ended by a signal; ${(await stage.sidecar.missing()).join()}`
        : undefined,
    lasts: (random) => random.int(0, 2000),
    mend: (stage) => stage.startSidecar(),
  },
  {
    name: "the sidecar is stopped for longer than its lease's TTL",
    strike: async (stage) => stage.sidecar.stall(),
    async proof(stage) {
      const left = await stage.etcdctl('get', '--prefix', '--keys-only', `/openebs/v1/hosts/h1`)
      return stage.sidecar.stalled && !/hosts\/h1$/m.test(left)
        ? 'its lease has ended, it is in state T'
        : undefined
    },
    lasts: (random) => ttl * 1000 + random.int(1000, 4000),
    mend: async (stage) => stage.sidecar.resume(),
  },
  {
    name: "the sidecar's clock is stepped",
    async prepare(stage) {
      if (!faketime || !existsSync(faketime)) throw new Error('needs the package faketime')
      await setClock(0)
      await stage.sidecar.end('SIGTERM')
      await stage.startSidecar({
        LD_PRELOAD: faketime,
        FAKETIME_TIMESTAMP_FILE: clock,
        FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      })
      await stage.sidecar.ready()
    },
    async strike(stage) {
      step = stage.random.pick([-1, 1]) * stage.random.pick([60, 3600, 86_400])
      await setClock(step)
    },
    async proof(stage) {
      const off = (await ownTime(stage)) - Date.now()
      return Math.abs(off / 1000 - step) < 5 ? `its clock is off by ${Math.round(off / 1000)} s` : undefined
    },
    lasts: () => ttl * 1000,
    survived: true,
    mend: () => setClock(0),
    async after(stage, t) {
      await stage.sidecar.end('SIGTERM')
      await stage.startSidecar()
      await stage.agrees(t, 5000, 'with the right clock again')
    },
  },
]

await testFaults(faults, { settings: { OPENEBS_TTL: String(ttl) } })
