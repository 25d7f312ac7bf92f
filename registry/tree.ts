import { sorted } from './collections.ts'
import type { RecordOf } from './keys.ts'
import { type InventoryKind, sizeOf } from './records.ts'
import { size } from './size.ts'
import type { Entry } from './store.ts'

/** A host and what it runs, as the registry has it; also the JSON form of `registrator ls`. */
export interface HostTree {
  readonly host: string
  /** Undefined for a host that other records name, but that is not registered: its sidecar is away. */
  readonly record?: RecordOf<'hosts'>
  /** Whether its plugin is alive. */
  readonly plugin: boolean
  readonly vsms: readonly RecordOf<'vsms'>[]
  readonly volumes: readonly VolumeLine[]
  readonly services: readonly RecordOf<'services'>[]
  readonly inventory: Readonly<Partial<Record<InventoryKind, number>>>
}

/** A volume, shown with the host that it is placed on. */
export interface VolumeLine {
  readonly volume: RecordOf<'volumes'>
  readonly phase: RecordOf<'targets'>['phase'] | 'pending'
  readonly attachment?: RecordOf<'attachments'>
}

/** Entries -> one tree a host, by name. Entries of other kinds, or that this version cannot read, are left out. */
export const tree = (entries: readonly Entry[]): HostTree[] => {
  const all = sorted(entries).records
  const attachments = new Map(all.attachments.map((attachment) => [attachment.volume, attachment]))
  const targets = new Map(all.targets.map((target) => [`${target.host}/${target.volume}`, target]))
  const names = new Set([
    ...[...all.hosts, ...all.alive, ...all.vsms, ...all.services, ...all.inventory].map(({ host }) => host),
    ...all.volumes.map(({ placement }) => placement.host),
  ])
  return [...names].sort().map((host) => {
    const record = all.hosts.find((one) => one.host === host)
    return {
      host,
      ...(record && { record }),
      plugin: all.alive.some((one) => one.host === host),
      vsms: all.vsms.filter((one) => one.host === host),
      volumes: all.volumes
        .filter(({ placement }) => placement.host === host)
        .map((volume) => {
          const attachment = attachments.get(volume.name)
          const phase = targets.get(`${host}/${volume.name}`)?.phase ?? 'pending'
          return { volume, phase, ...(attachment && { attachment }) }
        }),
      services: all.services.filter((one) => one.host === host),
      inventory: counted(all.inventory.filter((one) => one.host === host)),
    }
  })
}

/** The same as lines of text. */
export const treeLines = (hosts: readonly HostTree[]): string[] =>
  hosts.flatMap((host) => [
    [host.host, ...hostCells(host.record), ...(host.plugin ? ['plugin'] : [])].join('  '),
    ...branch('volumes', host.volumes.map(volumeLine)),
    ...branch('VSMs', host.vsms.map(vsmLine)),
    ...branch('services', host.services.map(serviceLine)),
    ...branch('inventory', inventoryLine(host.inventory)),
  ])

const hostCells = (record: RecordOf<'hosts'> | undefined): string[] => {
  if (!record) return ['not registered']
  const { swarm } = record
  return [
    record.address,
    `Docker ${record.engine.version}`,
    ...(swarm ? [`swarm ${swarm.leader ? 'leader' : swarm.role}`] : []),
    ...(record.left ? ['left'] : []),
  ]
}

const branch = (title: string, rows: readonly (readonly string[])[]): string[] => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
  return lines.length === 0 ? [] : [`  ${title}`, ...lines.map((line) => `    ${line}`.trimEnd())]
}

const volumeLine = ({ volume, phase, attachment }: VolumeLine): string[] => {
  const state = volume.wanted === 'absent' ? 'removing' : phase
  const where = attachment ? `attached to ${attachment.host} (${attachment.state})` : 'not attached'
  return [volume.name, `${size(sizeOf(volume))} ${volume.spec.fs}`, state, where]
}

const vsmLine = ({ vsm, portals, targets, health, reason }: RecordOf<'vsms'>): string[] => [
  vsm,
  portals.join(', '),
  targets.map(({ iqn, luns }) => `${iqn} (${luns.length} LUN${luns.length === 1 ? '' : 's'})`).join(', ') ||
    'targets unknown',
  reason ? `${health}: ${reason}` : health,
]

const serviceLine = (s: RecordOf<'services'>): string[] => [
  s.service,
  s.container,
  `${s.address.includes(':') ? `[${s.address}]` : s.address}:${s.port}/${s.protocol}`,
  s.state === 'paused' ? 'paused' : s.health === 'none' ? '' : s.health,
]

const inventoryLine = (counts: HostTree['inventory']): string[][] => {
  const parts = Object.entries(counts).map(([kind, count]) => `${count} ${kind}${count === 1 ? '' : 's'}`)
  return parts.length === 0 ? [] : [[parts.join(', ')]]
}

const counted = (records: readonly RecordOf<'inventory'>[]): Partial<Record<InventoryKind, number>> => {
  const counts: Partial<Record<InventoryKind, number>> = {}
  for (const { kind } of records) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}
