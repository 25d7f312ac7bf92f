import { open, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { EtcdCluster } from '../support/etcd.ts'
import { type Fault, testFaults } from './run.ts'
import type { Stage } from './stage.ts'

/** etcd has no room: its disk is full, or its quota is used up. */
const big = 'x'.repeat(100_000)

const fillQuota = async (stage: Stage): Promise<void> => {
  for (let n = 0; n < 1000; n++) if (await stage.writeFails('put', `/elsewhere/${n}`, big)) return
}

/** Fills the disk of etcd's data to the last byte. */
const fillDisk = async ({ etcd }: Stage): Promise<void> => {
  const file = await open(join(etcd.folder, 'filler'), 'w')
  try {
    for (const size of [1 << 20, 4096]) {
      const chunk = Buffer.alloc(size)
      for (;;) if ((await file.write(chunk)).bytesWritten < size) break
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  } finally {
    await file.close()
  }
}

const free = async (etcd: EtcdCluster): Promise<number> => {
  const { bavail, bsize } = await statfs(etcd.folder)
  return bavail * bsize
}

const makeRoom = async ({ etcd }: Stage): Promise<void> => {
  await etcd.ctl('del', '--prefix', '/elsewhere')
  await etcd.compact()
  await etcd.ctl('defrag', '--command-timeout=20s')
  await etcd.ctl('alarm', 'disarm')
}

const faults: readonly Fault[] = [
  {
    name: "etcd's space quota is used up",
    strike: fillQuota,
    async proof(stage) {
      const failed = await stage.writeFails()
      const alarm = (await stage.etcdctl('alarm', 'list')).trim()
      if (!failed || !/NOSPACE/.test(alarm)) return undefined
      await stage.load.run() // what cannot be written
      return `${failed}; ${alarm}; ${await stage.misses(/registry/)}`
    },
    mend: makeRoom,
  },
  {
    name: "etcd's disk is full",
    strike: fillDisk,
    async proof(stage) {
      const failed = await stage.writeFails('put', '/elsewhere/full', big)
      return failed && `${await free(stage.etcd)} bytes are free; ${failed}`
    },
    async mend(stage) {
      await rm(join(stage.etcd.folder, 'filler'))
      // where it could not write it has ended
      if (!stage.etcd.member.runs) await stage.etcd.member.start()
    },
  },
]

await testFaults(faults, { etcd: { disk: 200, args: ['--quota-backend-bytes', String(16 << 20)] } })
