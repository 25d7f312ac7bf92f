import { randomBytes } from 'node:crypto'

/**
 * CHAP between a volume's initiator and its target. A password belongs to one epoch of one volume and is never used again:
 * an initiator of an older epoch would else be let in. The scripts of the VSM image make user and file of the epoch the
 * same way.
 */
export const chapUser = (epoch: number): string => `epoch-${epoch}`

/** 32 letters, digits, "-" and "_": 192 random bits. */
export const newPassword = (): string => randomBytes(24).toString('base64url')

/** What openebs-provision reads from its standard input, and the target keeps on its disk. */
export const chapLine = (epoch: number, password: string): string => `${epoch} ${password}\n`

export const parseChapLine = (text: string): { epoch: number; password: string } | undefined => {
  const found = /^(?<epoch>\d+) (?<password>[\w-]{12,})\s*$/.exec(text)?.groups
  return found && { epoch: Number(found.epoch), password: found.password ?? '' }
}
