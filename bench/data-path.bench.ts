import { readdir, readFile } from 'node:fs/promises'
import { StorageHost, type TestVolume } from '../test/support/storage-host.ts'
import { inTurn, runBench, say } from './support/bench.ts'
import { Fio, type Load } from './support/fio.ts'
import { PortalLimit } from './support/portal-limit.ts'
import { memoryOf } from './support/process-cost.ts'
import type { Row } from './support/rows.ts'
import { median, round } from './support/statistics.ts'

const about = `data-path: fio in a container on a volume of a real Engine, beside what the same target gives to programs that need no
mount, in the same run: a second LUN of the same tgtd, all written, so that their writing harms no file system. 4 KiB at random are
held against iscsi-perf, which reads at random with the same depth (no program is known that writes so); 1 MiB one after another
against the faster of iscsi-perf and qemu-img bench where it reads, and against qemu-img bench where it writes. They take turns, and
the ratio is the median of those of all rounds. Every writing of fio is read back and compared by it, and a bad block ends the
bench: there is no figure then. Nothing is flushed within what is timed, on either side. Last the memory of both processes.`

const MiB = 2 ** 20
const KiB = 2 ** 10

interface Pair {
  readonly volume: number
  readonly limit: number
}

/** The initiator's qemu-storage-daemon, as a process of this machine. */
const storageDaemon = async (volume: TestVolume): Promise<number> => {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const read = (file: string) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')
    if (
      (await read('comm')).startsWith('qemu-storage') &&
      (await read('environ')).includes(volume.volume.uuid)
    )
      return Number(pid)
  }
  throw new Error(`no qemu-storage-daemon serves volume ${volume.volume.name}`)
}

const compared = (row: string, pairs: readonly Pair[], least: number, of: string, show: Show): Row => {
  const share = median(pairs.map(({ volume, limit }) => volume / limit)) * 100
  const [volume, limit] = [median(pairs.map(({ volume }) => volume)), median(pairs.map(({ limit }) => limit))]
  return {
    row,
    measured: `${round(share, 0)} % (${show(volume)} of ${show(limit)})`,
    must: `${least} % of ${of}`,
    holds: share >= least,
  }
}
type Show = (bytes: number) => string
const iops: Show = (bytes) => `${round(bytes / (4 * KiB) / 1000)}k IOPS`
const speed: Show = (bytes) => `${round(bytes / 1e6, 0)} MB/s`

const memory = (row: string, pid: number, most: number): Row => {
  const { rss, peak } = memoryOf(pid)
  return {
    row,
    measured: `${round(rss)} MB (peak ${round(peak)} MB)`,
    must: `${most} MB`,
    holds: rss <= most,
  }
}

await runBench(
  about,
  {
    rounds: [5, 'rounds'],
    seconds: [4, 'seconds of each reading'],
    megabytes: [512, 'MiB of the files: the one of 4 KiB blocks has a quarter of them'],
  },
  async (t, { rounds, seconds, megabytes }) => {
    const host = await StorageHost.start(t)
    const volume = host.volume('bench', { size: 2 * megabytes * MiB })
    // a loop device that is not detached would outlive the host
    t.teardown(() => host.engine.tryDocker('stop', volume.initiator))
    await volume.mount()
    const fio = await Fio.on(host, volume)
    const random: Load = {
      file: 'random',
      bytes: 4 * KiB,
      depth: 16,
      megabytes: megabytes >> 2,
      order: 'random',
    }
    const sequential: Load = { file: 'sequential', bytes: MiB, depth: 8, megabytes, order: 'sequential' }
    for (const load of [random, sequential]) await fio.write(load)
    const limit = await PortalLimit.open(host, volume, { megabytes, seconds })

    const all = await inTurn(Array.from({ length: rounds }), async () => {
      const perf = await limit.read(4 * KiB, 16, 'random')
      const small = { write: await fio.write(random), read: await fio.read(random, seconds) }
      const writing = {
        limit: await limit.qemu('write', 8, megabytes * 2),
        volume: await fio.write(sequential),
      }
      const [one, other] = [
        await limit.read(MiB, 8, 'sequential'),
        await limit.qemu('read', 8, megabytes * 2),
      ]
      const reading = { limit: Math.max(one, other), volume: await fio.read(sequential, seconds) }
      say(
        `4 KiB: iscsi-perf ${iops(perf)}, read ${iops(small.read)}, written ${iops(small.write)}; 1 MiB: iscsi-perf ${speed(one)}, qemu-img ${speed(other)}, read ${speed(reading.volume)}; qemu-img writes ${speed(writing.limit)}, written ${speed(writing.volume)}`,
      )
      return {
        randomRead: { limit: perf, volume: small.read },
        randomWrite: { limit: perf, volume: small.write },
        reading,
        writing,
      }
    })
    const pairs = <K extends keyof (typeof all)[number]>(of: K) => all.map((one) => one[of])
    return [
      compared('4 KiB read at random, depth 16', pairs('randomRead'), 50, 'iscsi-perf', iops),
      compared('4 KiB written at random, depth 16, verified', pairs('randomWrite'), 50, 'iscsi-perf', iops),
      compared('1 MiB read, depth 8', pairs('reading'), 70, 'the target', speed),
      compared('1 MiB written, depth 8, verified', pairs('writing'), 70, 'the target', speed),
      memory('memory of tgtd', await volume.tgtd(), 8),
      memory('memory of qemu-storage-daemon', await storageDaemon(volume), 16),
    ]
  },
)
