import { readFileSync } from 'node:fs'
import { isIP, isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'

/** The address where other hosts reach this one, and how it was found. */
export interface HostAddress {
  readonly address: string
  readonly source: 'OPENEBS_ADDRESS' | 'swarm' | 'default route' | 'first interface' | 'loopback'
}

/**
 * Chooses the host's address: the setting, else what Swarm advertises, else the address of the interface that holds
 * the default route, else the first that is not loopback. The last two see the host's interfaces only on the host's
 * network; a sidecar on a bridge needs OPENEBS_ADDRESS. Pure but for its default arguments.
 */
export const chooseAddress = (
  setting: string | undefined,
  swarmAddress: string,
  interfaces = networkInterfaces(),
  routes = readRoutes(),
): HostAddress => {
  if (setting) return { address: setting, source: 'OPENEBS_ADDRESS' }
  if (isIP(swarmAddress)) return { address: swarmAddress, source: 'swarm' }
  const outside = Object.entries(interfaces).flatMap(([name, addresses = []]) =>
    addresses
      .filter((at) => !at.internal && !at.address.startsWith('fe80:'))
      .sort((a, b) => a.family.localeCompare(b.family))
      .map((at) => ({ name, address: at.address })),
  )
  const route = defaultInterface(routes)
  const routed = outside.find((at) => at.name === route)
  if (routed) return { address: routed.address, source: 'default route' }
  if (outside[0]) return { address: outside[0].address, source: 'first interface' }
  return { address: '127.0.0.1', source: 'loopback' }
}

const readRoutes = (): string => {
  try {
    return readFileSync('/proc/net/route', 'utf8')
  } catch {
    return '' // another kernel than Linux: the first interface serves
  }
}

/** The interface of the default route with the lowest metric, by the text of /proc/net/route. */
const defaultInterface = (routes: string): string | undefined =>
  routes
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
    .sort((a, b) => Number(a[6]) - Number(b[6]))[0]?.[0]

const wildcards = ['0.0.0.0', '::', '']
export const isWildcard = (address: string): boolean => wildcards.includes(address)

/** Reached from this host alone: 127.0.0.0/8 and ::1. */
export const isLoopback = (address: string): boolean => address.startsWith('127.') || address === '::1'

/** <address>:<port>, with brackets around an IPv6 address. */
export const joinHostPort = (address: string, port: number): string =>
  isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`
