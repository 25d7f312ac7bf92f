import { readFileSync } from 'node:fs'
import { isIP, isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'

/** Where other hosts reach this one, and how it was found. */
export interface HostAddresses {
  /** One of each family at most, IPv4 first; never empty. */
  readonly addresses: readonly string[]
  /** Of the first one. */
  readonly source: 'OPENEBS_ADDRESS' | 'swarm' | 'default route' | 'first interface' | 'loopback'
}

/** The kernel's tables of routes: the texts of /proc/net/route and /proc/net/ipv6_route. */
export interface Routes {
  readonly ipv4: string
  readonly ipv6: string
}

type Interfaces = ReturnType<typeof networkInterfaces>

/**
 * Chooses the host's addresses: the setting (then a family that it does not name is left out), else what Swarm
 * advertises, else those of the interface that holds the default route, else the first that is not loopback. The
 * other family's address is that of its own default route, or of the same interface. All but the first two see the
 * host's interfaces only on the host's network; a sidecar on a bridge needs OPENEBS_ADDRESS. Pure where those
 * two are given.
 */
export const chooseAddresses = (
  setting: readonly string[] | undefined,
  swarmAddress: string,
  interfaces?: Interfaces,
  routes?: Routes,
): HostAddresses =>
  setting?.length
    ? { addresses: setting.toSorted(ipv4First), source: 'OPENEBS_ADDRESS' }
    : findAddresses(swarmAddress, interfaces ?? networkInterfaces(), routes ?? readRoutes())

const findAddresses = (swarmAddress: string, interfaces: Interfaces, routes: Routes): HostAddresses => {
  const faces = outsideInterfaces(interfaces)
  const holder = faces.find((face) => Object.values(face).includes(swarmAddress))
  const routed: Face = {
    ipv4: faces.find(({ name }) => name === defaultInterface4(routes.ipv4))?.ipv4,
    ipv6: faces.find(({ name }) => name === defaultInterface6(routes.ipv6))?.ipv6,
  }
  if (isIP(swarmAddress)) {
    const own: Face = { [isIPv6(swarmAddress) ? 'ipv6' : 'ipv4']: swarmAddress }
    return { addresses: both(own, holder, routed), source: 'swarm' }
  }
  const besideRoute = faces.find(({ ipv4, ipv6 }) =>
    routed.ipv4 ? ipv4 === routed.ipv4 : ipv6 === routed.ipv6,
  )
  if (routed.ipv4 || routed.ipv6) return { addresses: both(routed, besideRoute), source: 'default route' }
  if (faces[0]) return { addresses: both(faces[0]), source: 'first interface' }
  return { addresses: ['127.0.0.1'], source: 'loopback' }
}

interface Face {
  readonly name?: string
  readonly ipv4?: string | undefined
  readonly ipv6?: string | undefined
}

/** The best address of each family, of the first that has one. */
const both = (...faces: (Face | undefined)[]): string[] =>
  (['ipv4', 'ipv6'] as const).flatMap((family) => faces.find((face) => face?.[family])?.[family] ?? [])

const outsideInterfaces = (interfaces: Interfaces): Face[] =>
  Object.entries(interfaces).flatMap(([name, addresses = []]): Face[] => {
    const outside = addresses.filter((at) => !at.internal && !at.address.startsWith('fe80:'))
    const of = (family: 'IPv4' | 'IPv6') => outside.find((at) => at.family === family)?.address
    return outside.length > 0 ? [{ name, ipv4: of('IPv4'), ipv6: of('IPv6') }] : []
  })

const readRoutes = (): Routes => ({ ipv4: readTable('route'), ipv6: readTable('ipv6_route') })
const readTable = (name: string): string => {
  try {
    return readFileSync(`/proc/net/${name}`, 'utf8')
  } catch {
    return '' // another kernel than Linux, or one without IPv6: the first interface serves
  }
}

const fields = (table: string): string[][] => table.split('\n').map((line) => line.trim().split(/\s+/))

/** The interface of the default route with the lowest metric. */
const defaultInterface4 = (table: string): string | undefined =>
  fields(table)
    .slice(1)
    .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
    .sort((a, b) => Number(a[6]) - Number(b[6]))[0]?.[0]

/** The same of the other table, where the metric is in hexadecimal. */
const defaultInterface6 = (table: string): string | undefined =>
  fields(table)
    .filter(([destination, length]) => /^0{32}$/.test(destination ?? '') && length === '00')
    .sort((a, b) => Number.parseInt(a[5] ?? '', 16) - Number.parseInt(b[5] ?? '', 16))[0]?.[9]

const ipv4First = (a: string, b: string): number => isIP(a) - isIP(b)

/** The host's address that stands for a wildcard: IPv4 for 0.0.0.0, IPv6 for "::"; undefined where it has none. */
export const wildcardAddress = (wildcard: string, addresses: readonly string[]): string | undefined =>
  addresses.find((address) => isIPv6(address) === isIPv6(wildcard))

const wildcards = ['0.0.0.0', '::', '']
export const isWildcard = (address: string): boolean => wildcards.includes(address)

/** Reached from this host alone: 127.0.0.0/8 and ::1. */
export const isLoopback = (address: string): boolean => address.startsWith('127.') || address === '::1'

/** <address>:<port>, with brackets around an IPv6 address. */
export const joinHostPort = (address: string, port: number): string =>
  isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`
