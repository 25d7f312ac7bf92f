import type { StorageHost, TestVolume } from '../../test/support/storage-host.ts'
import { inTurn } from './bench.ts'

const MiB = 2 ** 20
const file = '/lun/limit.img'

/**
 * What the target of a volume gives to programs of this machine that speak iSCSI by libiscsi alone: no FUSE, loop device or
 * file system between. They are shown a second LUN of the same tgtd, as writing into the first would destroy the volume.
 */
export class PortalLimit {
  readonly #host: StorageHost
  readonly #url: string
  readonly #seconds: number

  private constructor(host: StorageHost, url: string, seconds: number) {
    this.#host = host
    this.#url = url
    this.#seconds = seconds
  }

  /** A LUN of so many MiB, all of them written; each measurement takes about so many seconds. */
  static async open(
    host: StorageHost,
    volume: TestVolume,
    { megabytes, seconds }: { megabytes: number; seconds: number },
  ): Promise<PortalLimit> {
    const backing = ['--op', 'new', '--mode', 'logicalunit', '--tid', '1', '--lun', '2', '--bstype', 'rdwr']
    await inTurn(
      [
        ['dd', 'if=/dev/urandom', `of=${file}`, 'bs=1M', `count=${megabytes}`, 'conv=fsync', 'status=none'],
        ['tgtadm', '--lld', 'iscsi', ...backing, '--backing-store', file],
      ],
      async (command) => {
        const { code, stderr } = await volume.inTarget(...command)
        if (code !== 0) throw new Error(`${command.join(' ')}: ${stderr}`)
      },
    )
    return new PortalLimit(host, `iscsi://${volume.record.portal}/${volume.record.iqn}/2`, seconds)
  }

  /** Bytes a second read by iscsi-perf: blocks of so many bytes, so many at a time, at random places or one after another. */
  async read(bytes: number, depth: number, order: 'random' | 'sequential'): Promise<number> {
    const shape = ['-b', String(bytes / 512), '-m', String(depth), ...(order === 'random' ? ['-r'] : [])]
    const printed = await this.#host.engine.net(
      'iscsi-perf',
      ...shape,
      '-t',
      String(this.#seconds),
      this.#url,
    )
    const iops = Number([...printed.matchAll(/iops average (\d+)/g)].at(-1)?.[1])
    if (!(iops > 0)) throw new Error(`iscsi-perf: ${printed}`)
    return iops * bytes
  }

  /** Bytes a second by `qemu-img bench`, one block of 1 MiB after another, so many at a time. */
  async qemu(what: 'read' | 'write', depth: number, count: number): Promise<number> {
    const shape = ['-f', 'raw', '-t', 'none', '-s', '1M', '-d', String(depth), '-c', String(count)]
    const asked = ['bench', ...shape, ...(what === 'write' ? ['-w'] : []), this.#url]
    const printed = await this.#host.engine.net('qemu-img', ...asked)
    const seconds = Number(/Run completed in ([\d.]+) seconds/.exec(printed)?.[1])
    if (!(seconds > 0)) throw new Error(`qemu-img: ${printed}`)
    return (count * MiB) / seconds
  }
}
