/** ms since 1970, to the microsecond: what processes of this machine can compare. */
export const now = (): number => performance.timeOrigin + performance.now()
