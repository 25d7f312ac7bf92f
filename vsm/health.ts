/** An initiator that is logged in at a target. */
export interface Session {
  readonly initiator: string
  readonly address?: string
}

/** What Docker ends the output of a health check with where it was longer than it keeps (4096 bytes). */
const cut = '...'

/** Bytes of the LUN, as the health check of a target prints them; undefined where it does not say. Pure. */
export const parseServedSize = (output: string): number | undefined => {
  const digits = /^size: (?<digits>\d{1,15})$/m.exec(output)?.groups?.digits
  return digits === undefined ? undefined : Number(digits)
}

/**
 * Reads what the health check of a target prints (target/openebs-target-health): who is logged in, in a fixed order;
 * undefined where it does not say. Pure.
 */
export const parseSessions = (output: string): Session[] | undefined => {
  const line = /^sessions:(?<said>.*)$/m.exec(output)?.groups?.said
  if (line === undefined) return undefined
  const words = line.split(' ').filter((word) => word !== '')
  if (line.endsWith(cut)) words.pop()
  return words.sort().flatMap((word): Session[] => {
    const at = word.lastIndexOf('@')
    const [initiator, address] = at < 0 ? [word, ''] : [word.slice(0, at), word.slice(at + 1)]
    return initiator ? [{ initiator, ...(address && { address }) }] : []
  })
}
