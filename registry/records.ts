import { z } from 'zod'
import { guardModes, reaches } from './policy.ts'

/**
 * What stands in the registry, one schema a kind; docs/keys.md describes each field. Objects are loose: a field that
 * a newer version wrote survives a rewrite by this one. Sizes are bytes, times ISO 8601 in UTC.
 */
const time = z.iso.datetime({ offset: true })
const bytes = z.number().int().nonnegative()
const port = z.number().int().min(1).max(65535)
const health = z.enum(['none', 'starting', 'healthy', 'unhealthy'])

/** hosts/<host>, leased, written by the sidecar. */
export const Host = z.looseObject({
  host: z.string(),
  /** Where other hosts reach this one: the first of `addresses`. */
  address: z.string(),
  /** One of each family at most, IPv4 first. Absent in records of older versions. */
  addresses: z.array(z.string()).optional(),
  engine: z.looseObject({
    version: z.string(),
    os: z.string(),
    arch: z.string(),
    kernel: z.string(),
    storage: z.string(),
  }),
  versions: z.looseObject({ sidecar: z.string() }),
  capacity: z.looseObject({ cpus: z.number(), memory: bytes }),
  /** Authorization plugins that the Engine was started with, as daemon.json has them. Absent where there are none. */
  authorization: z.array(z.string()).optional(),
  /** Names one run of the sidecar: a second one for the same host sees that it is not its own. */
  instance: z.string(),
  /** What only one process at a time can hold, of one boot: proves that an earlier run there is dead (sidecar/seat.ts). */
  seat: z.string().optional(),
  since: time,
  /** The run has ended and left its records to a successor, who may take over at once. */
  left: z.literal(true).optional(),
  swarm: z
    .looseObject({ node: z.string(), role: z.enum(['manager', 'worker']), leader: z.boolean() })
    .optional(),
})
export type Host = z.infer<typeof Host>

/** How a plugin's guard stands: what it goes by, and what became of the registry's policy. */
export const GuardState = z.looseObject({
  mode: z.enum(guardModes),
  reach: z.enum(reaches),
  /** `refused`: it goes by the last one that was good, or where there was none by its settings. */
  policy: z.enum(['none', 'in force', 'refused']),
  /** Why it was refused. */
  reason: z.string().optional(),
})
export type GuardState = z.infer<typeof GuardState>

/** alive/<host>, leased, written by the plugin: the plugin of this host lives. */
export const Alive = z.looseObject({
  host: z.string(),
  version: z.string(),
  since: time,
  boot: z.string(),
  /** Absent in records of older versions. */
  guard: GuardState.optional(),
})
export type Alive = z.infer<typeof Alive>

export const inventoryKinds = [
  'container',
  'image',
  'network',
  'plugin',
  'volume',
  // on a swarm's manager
  'node',
  'service',
  'task',
  'secret',
  'config',
] as const
export type InventoryKind = (typeof inventoryKinds)[number]

const inventoryBase = { host: z.string(), id: z.string(), name: z.string() }

/** inventory/<host>/<kind>/<id>, leased, written by the sidecar: what Docker has. */
export const Inventory = z.discriminatedUnion('kind', [
  z.looseObject({
    kind: z.literal('container'),
    ...inventoryBase,
    image: z.string(),
    state: z.enum(['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead']),
    exitCode: z.number().int().optional(),
    health,
    labels: z.record(z.string(), z.string()),
    networks: z.array(
      z.looseObject({ name: z.string(), ipv4: z.string().optional(), ipv6: z.string().optional() }),
    ),
    ports: z.array(z.looseObject({ port, protocol: z.string(), hostAddress: z.string(), hostPort: port })),
    exposed: z.array(z.looseObject({ port, protocol: z.string() })).optional(),
    volumes: z.array(z.string()),
    created: time,
    /** Of the last run; absent when it never ran, or has not ended. */
    started: time.optional(),
    finished: time.optional(),
  }),
  z.looseObject({
    kind: z.literal('image'),
    ...inventoryBase,
    tags: z.array(z.string()),
    size: bytes,
    created: time,
  }),
  z.looseObject({
    kind: z.literal('network'),
    ...inventoryBase,
    driver: z.string(),
    scope: z.string(),
    subnets: z.array(z.string()),
  }),
  z.looseObject({ kind: z.literal('plugin'), ...inventoryBase, enabled: z.boolean(), reference: z.string() }),
  z.looseObject({
    kind: z.literal('volume'),
    ...inventoryBase,
    driver: z.string(),
    scope: z.string(),
    labels: z.record(z.string(), z.string()),
  }),
  z.looseObject({
    kind: z.literal('node'),
    ...inventoryBase,
    role: z.enum(['manager', 'worker']),
    leader: z.boolean(),
    availability: z.string(),
    /** unknown, ready, down or disconnected. */
    state: z.string(),
    /** What the swarm reaches it by; "" where that is not known yet. */
    address: z.string(),
    /** Of a manager, by the others: reachable, unreachable or unknown. */
    reachability: z.string().optional(),
  }),
  z.looseObject({
    kind: z.literal('service'),
    ...inventoryBase,
    image: z.string(),
    /** replicated, global, replicated-job or global-job. */
    mode: z.string(),
    /** Tasks that are wanted; absent where it is one a node. */
    replicas: z.number().int().nonnegative().optional(),
    labels: z.record(z.string(), z.string()),
    ports: z.array(
      z.looseObject({ port, protocol: z.string(), published: port.optional(), mode: z.string() }),
    ),
  }),
  z.looseObject({
    kind: z.literal('task'),
    ...inventoryBase,
    /** The ids of its service, and of its node ("" until it has one). */
    service: z.string(),
    node: z.string(),
    /** Absent for a task of a global service. */
    slot: z.number().int().nonnegative().optional(),
    /** new, pending, assigned, accepted, preparing, ready, starting, running, complete, shutdown, failed, rejected … */
    state: z.string(),
    wanted: z.string(),
    error: z.string().optional(),
    containerId: z.string().optional(),
  }),
  // by name alone: what they hold is nobody's business here
  z.looseObject({ kind: z.literal('secret'), ...inventoryBase }),
  z.looseObject({ kind: z.literal('config'), ...inventoryBase }),
])
export type Inventory = z.infer<typeof Inventory>

export const protocols = ['tcp', 'udp', 'sctp'] as const

/** services/<service>/<host>:<container>:<port>[:udp], leased, written by the sidecar: one instance of a service. */
export const Service = z.looseObject({
  service: z.string(),
  host: z.string(),
  container: z.string(),
  containerId: z.string(),
  /** Where a client connects: the first of `endpoints`. */
  address: z.string(),
  port,
  /** Every binding of the port, best first. Absent in records of older versions. */
  endpoints: z.array(z.looseObject({ address: z.string(), port })).optional(),
  /** The Docker network that the address is of, where it is no address of the host. */
  network: z.string().optional(),
  /** The port inside the container. */
  exposedPort: port,
  protocol: z.enum(protocols),
  tags: z.array(z.string()),
  attributes: z.record(z.string(), z.string()),
  health,
  /** A paused container answers nobody. Absent in records of older versions. */
  state: z.enum(['running', 'paused']).optional(),
})
export type Service = z.infer<typeof Service>

/** vsms/<vsm>/<host>, leased, written by the sidecar: a VSM as observed, ours or another's. */
export const Vsm = z.looseObject({
  vsm: z.string(),
  host: z.string(),
  container: z.string(),
  containerId: z.string(),
  /** The volume it serves, if it is one of ours. */
  volume: z.string().optional(),
  portals: z.array(z.string()),
  /** Empty where the portal would not tell (ACL, CHAP). */
  targets: z.array(
    z.looseObject({ iqn: z.string(), luns: z.array(z.looseObject({ lun: z.number().int(), size: bytes })) }),
  ),
  /** Who is logged in. Absent where it is not known: only targets of ours tell. */
  sessions: z.array(z.looseObject({ initiator: z.string(), address: z.string().optional() })).optional(),
  health: z.enum(['healthy', 'unhealthy', 'starting', 'unknown']),
  /** Why, unless healthy. */
  reason: z.string().optional(),
})
export type Vsm = z.infer<typeof Vsm>

export const fileSystems = ['ext4', 'xfs'] as const
export const provisions = ['thin', 'full'] as const
export const accessModes = ['read-write', 'read-only'] as const

/**
 * What a volume was asked to be. What is absent is as it always was: a record of an older version, and one of a volume
 * that was made without an option, are the same.
 */
export const VolumeSpec = z.looseObject({
  size: bytes,
  fs: z.enum(fileSystems),
  /** Whether its initiators must prove themselves. Absent in records of older versions, and then not. */
  chap: z.boolean().optional(),
  /** name=value of each option, sorted, with commas between them; plugin/file-system-options.ts has those that exist. */
  mkfs: z.string().optional(),
  mount: z.string().optional(),
  provision: z.enum(provisions).optional(),
  access: z.enum(accessModes).optional(),
  image: z.string().optional(),
  /** Limits of the target's container. */
  memory: bytes.optional(),
  cpus: z.number().positive().optional(),
  /** Of the root folder; the mode as four octal digits. */
  uid: z.number().int().nonnegative().optional(),
  gid: z.number().int().nonnegative().optional(),
  mode: z.string().optional(),
})
export type VolumeSpec = z.infer<typeof VolumeSpec>

/** volumes/<volume>, durable: the intent. Any plugin writes it by compare-and-put. */
export const Volume = z.looseObject({
  name: z.string(),
  /** Made once at Create; the LUN's folder carries it too, so that a name used again never meets old data. */
  uuid: z.uuid(),
  /** What was asked for at Create. It stays: whoever repeats that Create means this volume. */
  spec: VolumeSpec,
  /** Bytes, of a volume that is to be larger by now than its spec says. */
  grown: bytes.optional(),
  placement: z.looseObject({ host: z.string() }),
  wanted: z.enum(['present', 'absent']),
  created: time,
})
export type Volume = z.infer<typeof Volume>

/** Bytes that a volume is to have. */
export const sizeOf = ({ spec, grown }: Pick<Volume, 'spec' | 'grown'>): number => grown ?? spec.size

/** targets/<host>/<volume>, durable: what that host's plugin has made of the intent. */
export const Target = z.looseObject({
  volume: z.string(),
  host: z.string(),
  uuid: z.uuid(),
  iqn: z.string(),
  /** <address>:<port>; fixed for the life of the volume. */
  portal: z.string(),
  epoch: z.number().int().min(1),
  phase: z.enum(['ready', 'removing']),
  container: z.string(),
  containerId: z.string(),
})
export type Target = z.infer<typeof Target>

/** attachments/<volume>, durable, compare-and-put: the one host that may hold the volume read-write. */
export const Attachment = z.looseObject({
  volume: z.string(),
  host: z.string(),
  epoch: z.number().int().min(1),
  state: z.enum(['claimed', 'idle', 'handing-over']),
  since: time,
})
export type Attachment = z.infer<typeof Attachment>

/** events/<host>/<time>-<digest>, TTL, written by the sidecar: the journal of what the Docker Engine announced. */
export const JournalEntry = z.discriminatedUnion('kind', [
  z.looseObject({
    kind: z.literal('event'),
    host: z.string(),
    time,
    /** container, image, network, plugin, volume, daemon, builder, service, node, secret or config. */
    type: z.string(),
    /** start, die, "health_status: healthy" … */
    action: z.string(),
    id: z.string(),
    name: z.string(),
    attributes: z.record(z.string(), z.string()),
  }),
  /** Events may be missing between `from` and `to`; without `from`: since before the journal began. */
  z.looseObject({
    kind: z.literal('gap'),
    host: z.string(),
    time,
    from: time.optional(),
    to: time,
    reason: z.string(),
  }),
])
export type JournalEntry = z.infer<typeof JournalEntry>
