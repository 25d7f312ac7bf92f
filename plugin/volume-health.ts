/** A container that uses a volume, and since when it runs, in ms since 1970. */
export interface Holder {
  name: string
  started: number
}

/**
 * How a volume fares that is attached to this host. `degraded`: these containers hold a mount whose initiator died. It
 * gives them I/O errors, and cannot be repaired: they must be started anew.
 */
export type Health =
  | { health: 'healthy' }
  | { health: 'not mounted' }
  | { health: 'degraded'; degraded: readonly string[] }

/**
 * A container's Mount is answered only when the mount is served, so one that started before the mount of now began to
 * be served holds an older one; without a mount, whatever it holds is not served. `since` is undefined where none is.
 * Both times are this host's: where its clock was set in between, or a mount died between a Mount and the start that it
 * was for, this errs.
 */
export const judge = (since: number | undefined, holders: readonly Holder[]): Health => {
  const hit = holders.filter(({ started }) => since === undefined || started < since)
  if (hit.length > 0) return { health: 'degraded', degraded: hit.map(({ name }) => name).sort() }
  return { health: since === undefined ? 'not mounted' : 'healthy' }
}
