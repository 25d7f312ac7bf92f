import { isIP, isIPv6 } from 'node:net'
import type { Service } from '../records.ts'

/** A group of targets as Prometheus' HTTP and file SD have it: docs/http_sd.md and `file_sd_config` there. */
export interface TargetGroup {
  /** "address:port"; an IPv6 address in brackets. One here: an instance of a service. */
  readonly targets: readonly [string]
  readonly labels: Readonly<Record<string, string>>
}

/** Which instances; what is absent does not count. */
export interface TargetFilter {
  readonly service?: string | undefined
  readonly host?: string | undefined
  readonly tag?: string | undefined
}

const prefix = '__meta_openebs_'

/**
 * A group for each instance, in the order of its services, hosts, containers and ports: the same records give the same
 * text. Instances whose address nobody could scrape are left out: Prometheus takes a list as a whole. Pure.
 */
export const targetGroups = (services: readonly Service[], filter: TargetFilter = {}): TargetGroup[] =>
  services
    .filter((one) => isWanted(one, filter) && isAddress(one.address))
    .map((one) => [orderOf(one), groupOf(one)] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([, group]) => group)

/** The text of an answer, and of a file. */
export const targetsText = (groups: readonly TargetGroup[]): string => JSON.stringify(groups)

const isWanted = (one: Service, { service, host, tag }: TargetFilter): boolean =>
  (service === undefined || one.service === service) &&
  (host === undefined || one.host === host) &&
  (tag === undefined || one.tags.includes(tag))

/** Records come from the store, and may be of any hand: a target is an IP or a host's name. */
const isAddress = (text: string): boolean =>
  isIP(text) !== 0 || /^[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$/.test(text)

const orderOf = ({ service, host, container, exposedPort, protocol, address, port }: Service): string =>
  [service, host, container, String(exposedPort).padStart(5, '0'), protocol, address, port].join('\0')

const groupOf = (one: Service): TargetGroup => ({
  targets: [`${isIPv6(one.address) ? `[${one.address}]` : one.address}:${one.port}`],
  labels: {
    ...fixedLabels(one),
    ...attributeLabels(one.attributes),
  },
})

const fixedLabels = (one: Service): Record<string, string> => {
  const labels = {
    service: one.service,
    host: one.host,
    container: one.container,
    container_id: one.containerId,
    exposed_port: String(one.exposedPort),
    protocol: one.protocol,
    health: one.health,
    state: one.state ?? 'running',
    network: one.network ?? '',
    // commas around them all, as Prometheus has tags elsewhere: a regular expression finds one wherever it stands
    tags: one.tags.length > 0 ? `,${one.tags.join(',')},` : '',
  }
  return Object.fromEntries(
    Object.entries(labels).map(([name, value]) => [prefix + name, value.toWellFormed()]),
  )
}

/** `attribute_<name>`, with a "_" for what no label's name may hold; of names that become the same the first counts. */
const attributeLabels = (attributes: Readonly<Record<string, string>>): Record<string, string> => {
  const labels = new Map<string, string>()
  for (const name of Object.keys(attributes).sort()) {
    const label = `${prefix}attribute_${name.replaceAll(/[^A-Za-z0-9_]/g, '_')}`
    if (!labels.has(label)) labels.set(label, (attributes[name] ?? '').toWellFormed())
  }
  return Object.fromEntries(labels)
}
