import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { PluginHost } from '../support/plugin-host.ts'
import { Random } from '../support/random.ts'

/**
 * A host dies, with all of its processes at once, while fio writes to its volumes and syncs every block. What fio was told is on
 * the disk must be there afterwards, as fio itself finds it, and the file systems must be clean. HOST_DEATHS=n: how often (20);
 * the number of a death decides what is written and when it comes, and HOST_DEATH=n tries that one alone.
 */
const deaths = process.env.HOST_DEATH
  ? [Number(process.env.HOST_DEATH)]
  : Array.from({ length: Number(process.env.HOST_DEATHS || 20) }, (_, index) => index + 1)
t.setTimeout((deaths.length * 20 + 120) * 1000)

const host = await PluginHost.start(t)
const { docker, tryDocker } = host.engine
const image = 'fio:1'
await host.engine.importImage(image, ['/usr/bin/fio'])

const KiB = 2 ** 10
const MiB = 2 ** 20
const fileSize = 64 * MiB

/** What fio writes on a volume, one block after the other, until the host dies. */
interface Load {
  readonly file: string
  readonly bytes: number
  readonly direct: boolean
  readonly pattern: string
}

const fio = (volume: string, { file, bytes, direct, pattern }: Load, size: number, ...more: string[]) => [
  ...[
    '--network',
    'none',
    '--volume',
    `${volume}:/d`,
    image,
    '/usr/bin/fio',
    '--name=f',
    `--filename=/d/${file}`,
  ],
  ...['--ioengine=psync', '--rw=write', `--bs=${bytes}`, `--size=${size}`, `--direct=${direct ? 1 : 0}`],
  ...['--fallocate=none', '--verify=pattern', `--verify_pattern=${pattern}%o`, '--verify_state_save=0'],
  ...more,
]

/** A volume that fio writes to, and what it has been told. */
class Written {
  readonly volume: string
  readonly load: Load
  /** Blocks from the start of the file that were written and synced, as far as is known outside. */
  synced = 0

  constructor(volume: string, load: Load) {
    this.volume = volume
    this.load = load
  }

  get #container(): string {
    return `fio-${this.volume}`
  }

  async begin(): Promise<void> {
    const { bytes } = this.load
    const goOn = ['--fsync=1', '--do_verify=0', '--time_based', '--runtime=600']
    const report = ['--status-interval=200ms', '--output-format=terse', '--terse-version=3']
    await docker(
      'run',
      '--detach',
      '--name',
      this.#container,
      ...fio(this.volume, this.load, fileSize, ...goOn, ...report),
    )
    const logs = host.engine.dockerProcess('logs', '--follow', this.#container)
    if (!logs.stdout) throw new Error('no output')
    createInterface(logs.stdout).on('line', (line) => {
      const kilobytes = Number(line.split(';')[46] ?? 0)
      // The last block that was written may not be synced. When the file is full fio begins again, with the same content.
      const blocks = Math.floor((kilobytes * KiB) / bytes) - 1
      this.synced = Math.max(this.synced, Math.min(blocks, fileSize / bytes))
    })
  }

  /** What fio says of all that was synced; '' where it is there. */
  async verify(): Promise<string> {
    const only = ['--verify_only=1', '--verify_fatal=1', '--output-format=terse']
    const size = this.synced * this.load.bytes
    await docker('rm', '--force', this.#container)
    const { code, stdout, stderr } = await tryDocker(
      'run',
      '--rm',
      ...fio(this.volume, this.load, size, ...only),
    )
    return code === 0 ? '' : `status ${code}: ${stderr}${stdout}`
  }
}

const volumes = { ext4: 'of-ext4', xfs: 'of-xfs' } as const
for (const [fs, name] of Object.entries(volumes))
  await docker('volume', 'create', '-d', 'openebs', '-o', 'size=320M', '-o', `fs=${fs}`, name)

/** Detaches a volume and has its file system checked. */
const isClean = async (t: Test, fs: keyof typeof volumes) => {
  await docker('stop', `initiator-${volumes[fs]}`)
  const check = fs === 'ext4' ? ['e2fsck', '-fn'] : ['xfs_repair', '-n']
  const { code, stdout, stderr } = await tryDocker('exec', `vsm-${volumes[fs]}`, ...check, '/lun/data.img')
  t.equal(code, 0, `the ${fs} is clean${code ? `: ${stdout}${stderr}` : ''}`)
}

for (const death of deaths)
  t.test(`death ${death}`, async (t) => {
    const random = new Random(death)
    const load = (): Load => ({
      file: `f${random.int(1, 3)}`,
      bytes: random.pick([4, 16, 128, 1024]) * KiB,
      direct: random.chance(0.5),
      pattern: `0x${random.int(0x1000_0000, 0x7fff_ffff).toString(16)}`,
    })
    const written = Object.values(volumes).map((volume) => new Written(volume, load()))
    for (const one of written) await one.begin()
    await host.until('fio has synced some', async () => written.every(({ synced }) => synced > 2))
    await new Promise((resolve) => setTimeout(resolve, random.int(0, 1000)))
    await host.restart('crash')
    for (const one of written) {
      t.equal(
        await one.verify(),
        '',
        `${one.volume}: ${one.synced} blocks of ${one.load.bytes / KiB} KiB are there`,
      )
    }
    for (const fs of ['ext4', 'xfs'] as const) await isClean(t, fs)
  })

t.test('nothing is left of it', async (t) => {
  await docker('volume', 'rm', ...Object.values(volumes))
  t.strictSame(await host.traces(), [])
})
