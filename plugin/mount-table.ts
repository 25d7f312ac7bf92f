import { spawn } from 'node:child_process'
import { constants, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Way, ways } from './attach.ts'

/** One line of /proc/self/mountinfo (proc_pid_mountinfo(5)), paths decoded. */
export interface MountLine {
  root: string
  mountPoint: string
  type: string
  source: string
  /** Number of the peer group that it shares mounts with; undefined where it shares none. */
  peers?: string | undefined
}

const decode = (path: string): string =>
  path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))

export const parseMountInfo = (text: string): MountLine[] =>
  text.split('\n').flatMap((line) => {
    const [left = '', right = ''] = line.split(' - ')
    const [, , , root, mountPoint, , ...fields] = left.split(' ')
    const [type, source] = right.split(' ')
    if (!root || !mountPoint || !type) return []
    const peers = fields.find((field) => field.startsWith('shared:'))?.slice('shared:'.length)
    return [{ root: decode(root), mountPoint: decode(mountPoint), type, source: decode(source ?? ''), peers }]
  })

export const readMounts = async (): Promise<MountLine[]> =>
  parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'))

/**
 * The plugin's id, from where the Engine keeps its propagated mount: <data root>/plugins/<id>/propagated-mount. The
 * root field alone is no host path where /var/lib/docker is a file system of its own, so the data root comes from
 * the Engine and only the id from here.
 */
export const pluginId = (mounts: MountLine[], propagatedMount: string): string | undefined => {
  const line = mounts.findLast(({ mountPoint }) => mountPoint === propagatedMount)
  return /\/plugins\/(?<id>[0-9a-f]{64})\/propagated-mount$/.exec(line?.root ?? '')?.groups?.id
}

/** How a volume stands that this host attaches. */
export interface Served {
  /** Since when its initiator serves the mount, in ms since 1970. */
  readonly since: number
  /** Whether the mount is in our table. An Engine that disables a plugin takes the mounts out of it. */
  readonly visible: boolean
  /** Where its initiator mounts in another folder than ours: the peer group of that, and when that initiator began, in ms since 1970. */
  readonly elsewhere: { readonly group: string; readonly began: number } | undefined
  /** How its initiator attached it. One of before there was a choice says nothing: in user space. */
  readonly way: Way
}

/**
 * Whether an initiator serves this mount; undefined where none does now. It then holds the lock on its status file,
 * which it makes after the mount and which the kernel unlocks when the process dies, however it dies. The mount alone
 * proves nothing: it stays in the table when its initiator is gone, and then answers every read with EIO. None of it
 * asks the Engine, which serves no API while it restores containers.
 */
export const served = async (folder: string, volume: string): Promise<Served | undefined> => {
  const status = await lockedStatus(statusFile(folder, volume))
  if (status === undefined) return undefined
  const point = join(folder, volume)
  const mounts = await readMounts()
  const ours = mounts.findLast(({ mountPoint }) => isWithin(folder, mountPoint))?.peers
  const elsewhere = placeOf(status.text, ours)
  return {
    since: status.since,
    // one that is elsewhere and seen all the same is what an initiator of before left in ours
    visible: elsewhere === undefined && mounts.some(({ mountPoint }) => mountPoint === point),
    elsewhere,
    way: wayOf(status.text),
  }
}

/** Initiators of before one told it say nothing. */
const placeOf = (status: string, ours: string | undefined): Served['elsewhere'] => {
  const group = /^folder of peer group (\d+)$/m.exec(status)?.[1]
  if (group === undefined || group === ours) return undefined
  return { group, began: Number(/^began at (\d+)$/m.exec(status)?.[1] ?? 0) }
}

const isWithin = (path: string, mountPoint: string): boolean =>
  path === mountPoint || mountPoint === '/' || path.startsWith(`${mountPoint}/`)

const wayOf = (text: string): Way => ways.find((way) => text.includes(`attached by ${way}\n`)) ?? 'userspace'

/** A leading dot keeps it apart from every volume's own folder. */
export const statusFile = (folder: string, volume: string): string => join(folder, `.${volume}.status`)

/**
 * Has the initiator of a volume mount it once more, if it has not since `unseenAt` (ms since 1970). It is asked by a FIFO in
 * their common folder, which needs no Engine. Does nothing where no initiator listens.
 */
export const askToMountAgain = async (folder: string, volume: string, unseenAt: number): Promise<void> => {
  const flags = constants.O_WRONLY | constants.O_NONBLOCK
  const fifo = await open(join(folder, `.${volume}.ask`), flags).catch((error: NodeJS.ErrnoException) => {
    // ENXIO: nobody reads it
    if (!['ENOENT', 'ENXIO'].includes(error.code ?? '')) throw error
    return undefined
  })
  if (!fifo) return
  try {
    await fifo.write(`${unseenAt}\n`)
  } finally {
    await fifo.close()
  }
}

/** flock(1) ends with this status when the lock is held by another process. */
const held = 75

/** When a file that is locked was written, and what is in it. It is opened here and not by flock(1), which would make it. */
const lockedStatus = async (path: string): Promise<{ since: number; text: string } | undefined> => {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return undefined
  })
  if (!file) return undefined
  try {
    const { mtimeMs } = await file.stat()
    const isLocked = await new Promise<boolean>((resolve, reject) => {
      const args = ['--nonblock', '--shared', '--conflict-exit-code', String(held), '3']
      const child = spawn('flock', args, { stdio: ['ignore', 'ignore', 'ignore', file.fd] })
      child.once('error', reject).once('exit', (code) => resolve(code === held))
    })
    return isLocked ? { since: mtimeMs, text: await file.readFile('utf8') } : undefined
  } finally {
    await file.close()
  }
}
