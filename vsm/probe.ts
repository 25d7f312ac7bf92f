import { execFile } from 'node:child_process'

/**
 * What a portal says about itself, asked by libiscsi's own programs (iscsi-ls, iscsi-readcapacity16). `unhealthy`: it
 * does not answer. `unknown`: it answers but does not tell everything (an ACL, CHAP), or cannot be asked from here.
 */
export interface Probe {
  readonly health: 'healthy' | 'unhealthy' | 'unknown'
  /** Why, unless healthy. */
  readonly reason?: string
  readonly targets: readonly ProbedTarget[]
}
export interface ProbedTarget {
  readonly iqn: string
  /** Disks alone. Sizes in bytes. */
  readonly luns: readonly { readonly lun: number; readonly size: number }[]
}

/** How a program ended. `status` is undefined where it never ran (`missing`) or was ended by the time limit. */
export interface Ran {
  readonly status: number | undefined
  readonly missing: boolean
  readonly stdout: string
  readonly stderr: string
}
export type Run = (program: string, args: readonly string[], signal: AbortSignal) => Promise<Ran>

/**
 * Asks the portal <address>:<port>: first for its targets, then for their LUNs, then for the exact size of each disk.
 * Each question may take `ms`. Never rejects; on abort the answer is `unknown`.
 */
export const probePortal = async (
  portal: string,
  signal: AbortSignal,
  { ms = 5000, run = runProgram }: { ms?: number; run?: Run } = {},
): Promise<Probe> => {
  const ask = (program: string, ...args: string[]) =>
    run(program, args, AbortSignal.any([signal, AbortSignal.timeout(ms)]))
  const url = `iscsi://${portal}`
  const found = judgeDiscovery(await ask('iscsi-ls', url), portal, ms)
  if (found.health !== 'healthy') return found
  const listing = await ask('iscsi-ls', '--show-luns', url)
  const targets: ProbedTarget[] = []
  for (const target of parseListing(listing.stdout)) {
    const luns: { lun: number; size: number }[] = []
    for (const disk of target.disks) {
      const exact = await ask('iscsi-readcapacity16', '--size', `${url}/${target.iqn}/${disk.lun}`)
      const size = exact.status === 0 && /^\d+\s*$/.test(exact.stdout) ? Number(exact.stdout) : disk.size
      luns.push({ lun: disk.lun, size })
    }
    targets.push({ iqn: target.iqn, luns })
  }
  if (listing.status === 0) return { health: 'healthy', targets }
  const known = new Set(targets.map(({ iqn }) => iqn))
  return {
    health: 'unknown',
    reason: `${portal} names its targets but not all of their LUNs: ${complaint(listing, ms)}`,
    targets: [...targets, ...found.targets.filter(({ iqn }) => !known.has(iqn))],
  }
}

/** What the answer to SendTargets means. Pure. */
export const judgeDiscovery = (ran: Ran, portal: string, ms: number): Probe => {
  const targets = parseListing(ran.stdout).map(({ iqn }) => ({ iqn, luns: [] }))
  if (ran.missing) return { health: 'unknown', reason: 'iscsi-ls is not installed here', targets }
  if (ran.status === 0)
    return targets.length > 0
      ? { health: 'healthy', targets }
      : { health: 'unknown', reason: `${portal} answers but names no target (an ACL hides them)`, targets }
  const reason = `${portal}: ${complaint(ran, ms)}`
  return { health: isRefusal(ran.stderr) ? 'unknown' : 'unhealthy', reason, targets }
}

const isRefusal = (text: string): boolean => /authentication|authorization/i.test(text)

const complaint = (ran: Ran, ms: number): string =>
  ran.status === undefined ? `no answer within ${ms / 1000} s` : (ran.stderr.trim().split('\n').at(-1) ?? '')

/**
 * The output of iscsi-ls, with or without --show-luns:
 *   Target:iqn.2016-09.com.openebs:demo Portal:127.0.0.1:3260,1
 *   Lun:1    Type:DIRECT_ACCESS (Size:32M)
 * Sizes are rounded down there; they are given in bytes here. Pure.
 */
export const parseListing = (output: string): { iqn: string; disks: { lun: number; size: number }[] }[] => {
  const targets = new Map<string, { lun: number; size: number }[]>()
  let disks: { lun: number; size: number }[] = []
  for (const line of output.split('\n')) {
    const target = /^Target:(?<iqn>\S+) Portal:/.exec(line)?.groups?.iqn
    const disk = /^Lun:(?<lun>\d+)\s+Type:DIRECT_ACCESS \(Size:(?<size>\d+)(?<unit>[kMGT]?)\s*\)/.exec(
      line,
    )?.groups
    if (target) {
      disks = []
      if (!targets.has(target)) targets.set(target, disks) // a target with several portals is listed once for each
    } else if (disk)
      disks.push({
        lun: Number(disk.lun),
        size: Number(disk.size) * 1024 ** ' kMGT'.indexOf(disk.unit || ' '),
      })
  }
  return [...targets].map(([iqn, of]) => ({ iqn, disks: of }))
}

const runProgram: Run = (program, args, signal) =>
  new Promise((resolve) => {
    const options = { signal, killSignal: 'SIGKILL', maxBuffer: 1 << 20 } as const
    execFile(program, args, options, (error, stdout, stderr) => {
      const code = error ? error.code : 0
      resolve({
        status: typeof code === 'number' ? code : undefined,
        missing: error?.code === 'ENOENT',
        stdout,
        stderr,
      })
    })
  })
