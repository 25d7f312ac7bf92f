import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Failure } from '../process/failure.ts'

/** By whom a LUN becomes a block device: qemu-storage-daemon, or iscsi_tcp of the host's kernel. */
export const ways = ['userspace', 'kernel'] as const
export type Way = (typeof ways)[number]
/** What OPENEBS_ATTACH may say. */
export const attachChoices = ['auto', ...ways] as const
export type AttachChoice = (typeof attachChoices)[number]

/** What of this host counts for the choice. */
export interface KernelFacts {
  /** iscsi_tcp is loaded. */
  hasTransport: boolean
  /** The kernel takes orders about sessions here: in its first network namespace alone, so not in an Engine inside a container. */
  hasNetlink: boolean
  /** The socket of an iscsid is held, by ours or another's. */
  hasSocket: boolean
  /** The container openebs-iscsid is there. */
  hasOwnIscsid: boolean
  /** The kernel is logged in to the volume's target, for an initiator that is there or was killed. */
  isLoggedIn: boolean
}

/**
 * The way in which a volume is attached. What the kernel is logged in to stays the kernel's: another writer on the same LUN would
 * destroy its file system. Throws `denied` where the kernel was asked for and cannot be used. Pure.
 */
export const chooseWay = (choice: AttachChoice, facts: KernelFacts): Way => {
  if (facts.isLoggedIn) return 'kernel'
  if (choice === 'userspace') return 'userspace'
  const obstacle = obstacleTo(facts)
  if (obstacle === undefined) return 'kernel'
  if (choice === 'auto') return 'userspace'
  throw new Failure('denied', `OPENEBS_ATTACH=kernel, but ${obstacle}, or set OPENEBS_ATTACH=auto`)
}

/** Why the kernel cannot attach, and what to do; undefined where it can. */
const obstacleTo = ({
  hasTransport,
  hasNetlink,
  hasSocket,
  hasOwnIscsid,
}: KernelFacts): string | undefined => {
  if (!hasTransport)
    return (
      'this kernel has no iscsi_tcp (there is no /sys/class/iscsi_transport/tcp): load it with modprobe iscsi_tcp, and at boot ' +
      'by a file in /etc/modules-load.d'
    )
  if (!hasNetlink)
    return 'this Engine has a network namespace of its own, and the kernel offers its iSCSI in the first one alone: set OPENEBS_ATTACH=userspace'
  if (hasSocket && !hasOwnIscsid)
    return (
      'the host runs an iscsid of its own, or keeps its socket, and a kernel can have one alone: end it ' +
      '(systemctl disable --now iscsid.socket iscsid open-iscsi)'
    )
  return undefined
}

/** Where the kernel shows itself; other folders than these are for tests. */
const places = { sys: '/sys', proc: '/proc' }

/** What counts for the choice, of the kernel. */
export const readKernel = async (
  iqn: string,
  { sys, proc } = places,
): Promise<Omit<KernelFacts, 'hasOwnIscsid'>> => ({
  hasTransport: (await list(join(sys, 'class/iscsi_transport'))).includes('tcp'),
  hasNetlink: await hasNetlink(proc),
  hasSocket: / @ISCSIADM_ABSTRACT_NAMESPACE$/m.test(await read(join(proc, 'net/unix'))),
  isLoggedIn: (await loggedIn({ sys, proc })).includes(iqn),
})

/** The kernel's own end (0) of NETLINK_ISCSI (8). */
const hasNetlink = async (proc: string): Promise<boolean> =>
  /^\S+ +8 +0 /m.test(await read(join(proc, 'net/netlink')))

/** The targets that the kernel is logged in to, one for each session. Without orders from here none of them is ours. */
export const loggedIn = async ({ sys, proc } = places): Promise<string[]> => {
  if (!(await hasNetlink(proc))) return []
  const folder = join(sys, 'class/iscsi_session')
  const names = await Promise.all((await list(folder)).map((name) => read(join(folder, name, 'targetname'))))
  return names.map((name) => name.trim()).filter((name) => name !== '')
}

/** ENODEV, EINVAL: a session that ended between the look at the folder and at the file. */
const isGone = (error: unknown): boolean =>
  ['ENOENT', 'ENODEV', 'EINVAL', 'ENOTCONN'].includes((error as NodeJS.ErrnoException).code ?? '')

const list = (folder: string): Promise<string[]> =>
  readdir(folder).catch((error: unknown) => {
    if (isGone(error)) return []
    throw error
  })

const read = (file: string): Promise<string> =>
  readFile(file, 'utf8').catch((error: unknown) => {
    if (isGone(error)) return ''
    throw error
  })
