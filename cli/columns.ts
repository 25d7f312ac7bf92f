import type { AuditedCall } from '../registry/audit.ts'
import type { Collection, RecordOf } from '../registry/keys.ts'
import { type Inventory, type InventoryKind, sizeOf } from '../registry/records.ts'
import { size } from '../registry/size.ts'
import { age, count, instant, short, time } from './format.ts'

/** A column of a table: its title, and what stands in it. */
export type Column<R> = readonly [title: string, cell: (record: R) => string]

const dash = (text: string | undefined): string => text || '-'

const endpoint = (address: string, port: number, protocol: string): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}/${protocol}`

/** What a call in the audit trail was about: "container vsm-data". */
export const audited = ({ object, subject }: AuditedCall): string => {
  const name = object?.name || subject?.container || short(object?.id || subject?.containerId || '')
  return [object?.kind ?? (subject ? 'container' : ''), name].filter(Boolean).join(' ') || '-'
}

/** Every binding of a service's port. */
export const endpoints = ({ address, port, protocol, endpoints: all }: RecordOf<'services'>): string =>
  (all ?? [{ address, port }]).map((one) => endpoint(one.address, one.port, protocol)).join(', ')

/** "healthy"; "paused" where that says more. */
export const condition = ({ health, state }: RecordOf<'services'>): string =>
  state === 'paused' ? 'paused' : health

/** "unhealthy: no answer within 5 s". */
export const verdict = ({ health, reason }: RecordOf<'vsms'>): string =>
  reason ? `${health}: ${reason}` : health

/** "2 (3 GiB)", or "?" where the portal would not tell. */
export const luns = ({ targets }: RecordOf<'vsms'>): string => {
  const all = targets.flatMap((target) => target.luns)
  return targets.length === 0 ? '?' : `${all.length} (${size(all.reduce((sum, lun) => sum + lun.size, 0))})`
}

/** What a record of the inventory is like right now. */
export const state = (record: Inventory): string => {
  switch (record.kind) {
    case 'container': {
      const code = record.state === 'exited' ? ` (${record.exitCode ?? '?'})` : ''
      return `${record.state}${code}${record.health === 'none' ? '' : `, ${record.health}`}`
    }
    case 'image':
      return size(record.size)
    case 'network':
      return record.driver
    case 'plugin':
      return record.enabled ? 'enabled' : 'disabled'
    case 'volume':
      return record.driver
    case 'node':
      return `${record.state}, ${record.availability}`
    case 'service':
      return record.replicas === undefined ? record.mode : `${record.replicas} wanted`
    case 'task':
      return record.state === record.wanted ? record.state : `${record.state}, to be ${record.wanted}`
    case 'secret':
    case 'config':
      return '-'
  }
}

/** What a plugin's guard goes by: "enforce, ancestors; policy in force". */
export const guardLine = ({ guard }: RecordOf<'alive'>): string => {
  if (!guard) return '-'
  const policy = guard.policy === 'none' ? 'no policy' : `policy ${guard.policy}`
  return `${guard.mode}, ${guard.reach}; ${policy}${guard.reason === undefined ? '' : `: ${guard.reason}`}`
}

export const columns: { [C in Collection]: readonly Column<RecordOf<C>>[] } = {
  hosts: [
    ['HOST', (host) => host.host],
    ['ADDRESS', (host) => (host.addresses ?? [host.address]).join(', ')],
    ['DOCKER', (host) => host.engine.version],
    ['SYSTEM', (host) => `${host.engine.os} ${host.engine.kernel} ${host.engine.arch}`],
    ['CPUS', (host) => String(host.capacity.cpus)],
    ['MEMORY', (host) => size(host.capacity.memory)],
    ['SWARM', ({ swarm }) => (swarm ? (swarm.leader ? 'leader' : swarm.role) : '-')],
    ['SIDECAR', (host) => host.versions.sidecar],
    ['UP', (host) => (host.left ? 'left' : age(host.since))],
  ],
  alive: [
    ['HOST', (alive) => alive.host],
    ['PLUGIN', (alive) => alive.version],
    ['UP', (alive) => age(alive.since)],
    ['GUARD', guardLine],
  ],
  inventory: [
    ['KIND', (record) => record.kind],
    ['NAME', (record) => record.name],
    ['HOST', (record) => record.host],
    ['STATE', state],
    ['ID', (record) => short(record.id)],
  ],
  services: [
    ['SERVICE', (service) => service.service],
    ['ENDPOINTS', endpoints],
    ['CONTAINER', (service) => `${service.container}:${service.exposedPort}`],
    ['HOST', (service) => service.host],
    ['HEALTH', condition],
    ['TAGS', (service) => dash(service.tags.join(', '))],
  ],
  vsms: [
    ['VSM', (vsm) => vsm.vsm],
    ['HOST', (vsm) => vsm.host],
    ['PORTAL', (vsm) => dash(vsm.portals.join(', '))],
    ['IQN', (vsm) => vsm.targets.map(({ iqn }) => iqn).join(', ') || '?'],
    ['LUNS', luns],
    ['SESSIONS', (vsm) => String(vsm.sessions?.length ?? '?')],
    ['HEALTH', verdict],
  ],
  volumes: [
    ['VOLUME', (volume) => volume.name],
    ['SIZE', (volume) => size(sizeOf(volume))],
    ['FS', (volume) => volume.spec.fs],
    ['HOST', (volume) => volume.placement.host],
    ['WANTED', (volume) => volume.wanted],
    ['CREATED', (volume) => time(volume.created)],
  ],
  targets: [
    ['VOLUME', (target) => target.volume],
    ['HOST', (target) => target.host],
    ['PORTAL', (target) => target.portal],
    ['PHASE', (target) => target.phase],
    ['EPOCH', (target) => String(target.epoch)],
    ['CONTAINER', (target) => target.container],
  ],
  attachments: [
    ['VOLUME', (attachment) => attachment.volume],
    ['HOST', (attachment) => attachment.host],
    ['STATE', (attachment) => attachment.state],
    ['EPOCH', (attachment) => String(attachment.epoch)],
    ['SINCE', (attachment) => time(attachment.since)],
  ],
  events: [
    ['TIME', (entry) => instant(entry.time)],
    ['HOST', (entry) => entry.host],
    ['TYPE', (entry) => (entry.kind === 'gap' ? 'GAP' : entry.type)],
    ['ACTION', (entry) => (entry.kind === 'gap' ? '-' : entry.action)],
    ['NAME', (entry) => (entry.kind === 'gap' ? entry.reason : entry.name || short(entry.id))],
  ],
  audit: [
    ['TIME', (entry) => instant(entry.time)],
    ['HOST', (entry) => entry.host],
    ['USER', (entry) => (entry.kind === 'gap' ? '-' : dash(entry.user))],
    ['VERDICT', (entry) => (entry.kind === 'gap' ? 'GAP' : entry.verdict)],
    ['ACTION', (entry) => (entry.kind === 'gap' ? '-' : entry.action)],
    ['OBJECT', (entry) => (entry.kind === 'gap' ? entry.reason : audited(entry))],
    ['STATUS', (entry) => (entry.kind === 'gap' ? '-' : dash(entry.status ? String(entry.status) : ''))],
  ],
  requests: [
    ['HOST', (request) => request.host],
    ['KIND', (request) => request.kind],
    ['STATE', (request) => request.state],
    ['PROGRESS', (request) => dash(request.failure?.text ?? request.progress)],
    ['ASKED', (request) => instant(request.asked)],
  ],
}

type OfKind<K extends InventoryKind> = Extract<Inventory, { kind: K }>

const named = [
  ['NAME', (record: Inventory) => record.name],
  ['HOST', (record: Inventory) => record.host],
] as const
const id = ['ID', (record: Inventory) => short(record.id)] as const

/** What `ls inventory --kind` shows of a kind. */
export const kindColumns: { [K in InventoryKind]: readonly Column<OfKind<K>>[] } = {
  container: [
    ...named,
    ['IMAGE', ({ image }) => image],
    ['STATE', state],
    [
      'PORTS',
      ({ ports }) =>
        dash(
          ports
            .map((port) => `${port.hostAddress}:${port.hostPort}->${port.port}/${port.protocol}`)
            .join(', '),
        ),
    ],
    [
      'NETWORKS',
      ({ networks }) => dash(networks.map(({ name, ipv4 }) => `${name} ${ipv4 ?? ''}`.trim()).join(', ')),
    ],
    id,
  ],
  image: [
    ['TAGS', ({ tags }) => dash(tags.join(', '))],
    ['HOST', ({ host }) => host],
    ['SIZE', state],
    ['CREATED', ({ created }) => time(created)],
    id,
  ],
  network: [
    ...named,
    ['DRIVER', ({ driver }) => driver],
    ['SCOPE', ({ scope }) => scope],
    ['SUBNETS', ({ subnets }) => dash(subnets.join(', '))],
    id,
  ],
  plugin: [...named, ['STATE', state], ['REFERENCE', ({ reference }) => reference], id],
  volume: [...named, ['DRIVER', ({ driver }) => driver], ['SCOPE', ({ scope }) => scope]],
  node: [
    ...named,
    ['ROLE', ({ role, leader }) => (leader ? 'leader' : role)],
    ['STATE', state],
    ['ADDRESS', ({ address }) => address],
    id,
  ],
  service: [
    ...named,
    ['IMAGE', ({ image }) => image],
    ['STATE', state],
    [
      'PORTS',
      ({ ports }) =>
        dash(ports.map((port) => `${port.published ?? '?'}->${port.port}/${port.protocol}`).join(', ')),
    ],
    id,
  ],
  task: [...named, ['SERVICE', ({ service }) => service], ['NODE', ({ node }) => node], ['STATE', state], id],
  secret: [...named, id],
  config: [...named, id],
}

/** A record in a few words, for a line about its change. */
export const summary: { [C in Collection]: (record: RecordOf<C>) => string } = {
  hosts: (host) => `${host.address}, Docker ${host.engine.version}${host.left ? ', left' : ''}`,
  alive: (alive) => `plugin ${alive.version}`,
  inventory: (record) => `${record.name}: ${state(record)}`,
  services: (service) =>
    `${endpoints(service)}${condition(service) === 'none' ? '' : ` ${condition(service)}`}`,
  vsms: verdict,
  volumes: (volume) =>
    `${size(sizeOf(volume))} ${volume.spec.fs} on ${volume.placement.host}, ${volume.wanted}`,
  targets: (target) => `${target.portal} ${target.phase}`,
  attachments: (attachment) => `${attachment.host} ${attachment.state}`,
  events: (entry) =>
    entry.kind === 'gap' ? `gap: ${entry.reason}` : `${entry.type} ${entry.action} ${entry.name}`,
  audit: (entry) =>
    entry.kind === 'gap'
      ? `gap: ${count(entry.count, 'call')}, ${entry.reason}`
      : `${entry.action} ${audited(entry)}: ${entry.verdict}`,
  requests: (request) => `${request.kind} ${request.state}`,
}
