import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { StorageHost, TestVolume } from '../../test/support/storage-host.ts'

const image = 'fio:1'

/** One shape of load: direct, libaio, on a file of its own that is written once before. */
export interface Load {
  readonly file: string
  readonly bytes: number
  readonly depth: number
  readonly megabytes: number
  readonly order: 'random' | 'sequential'
}

interface Job {
  readonly error: number
  readonly read: { readonly bw_bytes: number }
  readonly write: { readonly bw_bytes: number }
}

/** fio in a container on a volume. */
export class Fio {
  readonly #host: StorageHost
  readonly #data: string

  private constructor(host: StorageHost, data: string) {
    this.#host = host
    this.#data = data
  }

  static async on(host: StorageHost, volume: TestVolume): Promise<Fio> {
    await host.engine.importImage(image, ['/usr/bin/fio'])
    return new Fio(host, join(host.mounts, volume.volume.name, 'data'))
  }

  /**
   * Writes all of the file and then reads it all back and compares: bytes a second of the writing alone. A bad block is an error.
   * Each block has its own place in it and what no other pass has written, so that one which is old or elsewhere is seen. That
   * costs fio nothing; random content with a checksum takes half a core at 300 MB/s, which the volume then lacks.
   */
  async write(load: Load): Promise<number> {
    const content = ['--verify=pattern', `--verify_pattern=0x${randomBytes(8).toString('hex')}%o`]
    const verify = [...content, '--verify_fatal=1', '--do_verify=1', '--verify_state_save=0']
    return (await this.#run(load, load.order === 'random' ? 'randwrite' : 'write', verify)).write.bw_bytes
  }

  /** Bytes a second that are read, for so many seconds. */
  async read(load: Load, seconds: number): Promise<number> {
    const timed = ['--time_based', `--runtime=${seconds}`]
    return (await this.#run(load, load.order === 'random' ? 'randread' : 'read', timed)).read.bw_bytes
  }

  async #run(load: Load, rw: string, more: readonly string[]): Promise<Job> {
    const where = [`--filename=/data/${load.file}`, '--ioengine=libaio', '--direct=1', '--fallocate=none']
    const shape = [`--rw=${rw}`, `--bs=${load.bytes}`, `--iodepth=${load.depth}`, `--size=${load.megabytes}m`]
    const { code, stdout, stderr } = await this.#host.engine.tryDocker(
      ...['run', '--rm', '--network', 'none', '--volume', `${this.#data}:/data`, image],
      ...['/usr/bin/fio', '--name=bench', '--output-format=json', ...where, ...shape, ...more],
    )
    // it may say something before the JSON
    const [job] = code === 0 ? (JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: Job[] }).jobs : []
    if (job?.error !== 0)
      throw new Error(
        `fio ${rw} found a bad block, or failed (status ${code}): ${(stderr + stdout).slice(-1000)}`,
      )
    return job
  }
}
