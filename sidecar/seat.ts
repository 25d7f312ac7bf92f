import { readFileSync, readlinkSync } from 'node:fs'
import type { Address } from '../process/listener.ts'

/**
 * The place that only one process at a time can hold: the address it listens on, in one network namespace, in one
 * boot of the kernel. Whoever listens there now knows that an earlier run which names the same seat is dead, and need
 * not wait for its lease to end. Undefined where the address proves nothing (a socket file, any free port) or the
 * kernel does not tell.
 */
export const seatOf = (listening: Address): string | undefined => {
  if ('socket' in listening || listening.port === 0) return undefined
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return `${boot} ${readlinkSync('/proc/self/ns/net')} ${listening.host}:${listening.port}`
  } catch {
    return undefined // without /proc: waiting for the lease is always right
  }
}
