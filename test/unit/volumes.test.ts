import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LocalCopy, type LocalVolume } from '../../plugin/local-copy.ts'
import { Observer } from '../../plugin/observer.ts'
import { VolumeDriver } from '../../plugin/volume-driver.ts'
import { VolumeRecords } from '../../plugin/volume-records.ts'
import { type VolumeParts, VolumeSteps } from '../../plugin/volume-steps.ts'
import { Volumes } from '../../plugin/volumes.ts'
import { Failure } from '../../process/failure.ts'
import { KeyedLock } from '../../process/keyed-lock.ts'
import { createLog } from '../../process/log.ts'
import type { Target, Volume } from '../../registry/records.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { targetRecord, volumeRecord } from '../support/records.ts'

const log = createLog('test', 'silent')

/** The driver on a folder and a store of its own, with an Engine that makes VSMs as `start` says. */
const driverWith = async (
  t: Test,
  start: (volume: Volume) => Promise<Target>,
  knows: readonly LocalVolume[] = [],
) => {
  const folder = await mkdtemp(join(tmpdir(), 'volumes-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const local = new LocalCopy(folder, log)
  await local.load()
  for (const known of knows) await local.put(known)
  const nothing = async () => {}
  const parts = {
    host: 'h1',
    local,
    records: new VolumeRecords(new MemoryStore(), 'h1'),
    registry: { permitClaim: nothing, isOther: false },
    targets: { start, makeLun: nothing, awaitPortal: nothing, remove: nothing, erase: nothing },
    initiators: { remove: nothing, mountpoint: (name: string) => `/mounts/${name}` },
    secrets: { forget: nothing },
    log,
    images: nothing,
    changed: () => {},
    reached: nothing,
  } as unknown as VolumeParts
  const volumes = new Volumes(parts, new VolumeSteps(parts), new KeyedLock(), {
    restoring: () => false,
    onMount: () => {},
  })
  const sources = {
    attached: () => [],
    served: async () => undefined,
    used: async () => 0,
    holders: async () => [],
  }
  return new VolumeDriver(volumes, new Observer(sources, log), nothing)
}

/** What the Engine is told: it takes a volume that it hears of for created, and then asks for no other create. */
const told = async (driver: VolumeDriver) => ({
  got: (await driver.get({ Name: 'slow' }))?.Volume.Name,
  listed: driver.list().Volumes.map(({ Name }) => Name),
})

t.test(
  'while a volume is made the Engine is told of none, so that a repeated create waits for it',
  async (t) => {
    const starts: PromiseWithResolvers<Target>[] = []
    const asked: Volume[] = []
    const driver = await driverWith(t, (volume) => {
      asked.push(volume)
      const start = Promise.withResolvers<Target>()
      starts.push(start)
      return start.promise
    })
    const started = async (times: number) => {
      while (starts.length < times) await new Promise(setImmediate)
    }
    const first = driver.create({ Name: 'slow', Opts: {} })
    await started(1)
    t.strictSame(await told(driver), { got: undefined, listed: [] })
    const second = driver.create({ Name: 'slow', Opts: {} })
    starts[0]?.reject(new Failure('unavailable', 'the Docker Engine did not answer'))
    await t.rejects(first, { message: /did not answer/ })
    await started(2)
    t.not(asked[1]?.uuid, asked[0]?.uuid, 'the first was undone, the second is another')
    t.strictSame(await told(driver), { got: undefined, listed: [] })
    starts[1]?.resolve(targetRecord('slow', { uuid: asked[1]?.uuid ?? '' }))
    await second
    t.strictSame(await told(driver), { got: 'slow', listed: ['slow'] })
  },
)

t.test('of the volumes of other hosts the Engine is told of those that are not being removed', async (t) => {
  const placement = { host: 'h2' }
  const driver = await driverWith(t, async () => {
    throw new Error('nothing is made here')
  }, [
    { volume: volumeRecord('there', { placement }), references: {} },
    { volume: volumeRecord('going', { placement, wanted: 'absent' }), references: {} },
  ])
  t.strictSame(
    driver.list().Volumes.map(({ Name }) => Name),
    ['there'],
  )
  t.equal(await driver.get({ Name: 'going' }), undefined)
})
