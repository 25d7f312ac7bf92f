import { z } from 'zod'

/**
 * What stands in the registry, one schema a kind; docs/keys.md describes each field. Objects are loose: a field that
 * a newer version wrote survives a rewrite by this one. Sizes are bytes, times ISO 8601 in UTC.
 */
const time = z.iso.datetime({ offset: true })
const bytes = z.number().int().nonnegative()
const port = z.number().int().min(1).max(65535)

/** hosts/<host>, leased, written by the sidecar. */
export const Host = z.looseObject({
  host: z.string(),
  address: z.string(),
  engine: z.looseObject({
    version: z.string(),
    os: z.string(),
    arch: z.string(),
    kernel: z.string(),
    storage: z.string(),
  }),
  versions: z.looseObject({ sidecar: z.string() }),
  capacity: z.looseObject({ cpus: z.number(), memory: bytes }),
  /** Names one run of the sidecar: a second one for the same host sees that it is not its own. */
  instance: z.string(),
  /** What only one process at a time can hold, of one boot: proves that an earlier run there is dead (sidecar/seat.ts). */
  seat: z.string().optional(),
  since: time,
})
export type Host = z.infer<typeof Host>

/** alive/<host>, leased, written by the plugin: the plugin of this host lives. */
export const Alive = z.looseObject({ host: z.string(), version: z.string(), since: time, boot: z.string() })
export type Alive = z.infer<typeof Alive>

export const inventoryKinds = ['container', 'image', 'network', 'plugin', 'volume'] as const
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
    health: z.enum(['none', 'starting', 'healthy', 'unhealthy']),
    labels: z.record(z.string(), z.string()),
    networks: z.array(
      z.looseObject({ name: z.string(), ipv4: z.string().optional(), ipv6: z.string().optional() }),
    ),
    ports: z.array(z.looseObject({ port, protocol: z.string(), hostAddress: z.string(), hostPort: port })),
    volumes: z.array(z.string()),
    created: time,
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
])
export type Inventory = z.infer<typeof Inventory>

export const protocols = ['tcp', 'udp', 'sctp'] as const

/** services/<service>/<host>:<container>:<port>[:udp], leased, written by the sidecar: one instance of a service. */
export const Service = z.looseObject({
  service: z.string(),
  host: z.string(),
  container: z.string(),
  containerId: z.string(),
  /** Where a client connects. */
  address: z.string(),
  port,
  /** The port inside the container. */
  exposedPort: port,
  protocol: z.enum(protocols),
  tags: z.array(z.string()),
  attributes: z.record(z.string(), z.string()),
  health: z.enum(['none', 'starting', 'healthy', 'unhealthy']),
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
  health: z.enum(['healthy', 'unhealthy', 'starting', 'unknown']),
  /** Why, unless healthy. */
  reason: z.string().optional(),
})
export type Vsm = z.infer<typeof Vsm>

export const fileSystems = ['ext4', 'xfs'] as const

/** volumes/<volume>, durable: the intent. Any plugin writes it by compare-and-put. */
export const Volume = z.looseObject({
  name: z.string(),
  /** Made once at Create; the LUN's folder carries it too, so that a name used again never meets old data. */
  uuid: z.uuid(),
  spec: z.looseObject({ size: bytes, fs: z.enum(fileSystems) }),
  placement: z.looseObject({ host: z.string() }),
  wanted: z.enum(['present', 'absent']),
  created: time,
})
export type Volume = z.infer<typeof Volume>

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

/** audit/<host>/<time>-<seq>, TTL, written by the plugin: the life cycle of storage containers as authz saw it. */
export const Audit = z.looseObject({
  time,
  host: z.string(),
  user: z.string(),
  method: z.string(),
  uri: z.string(),
  status: z.number().int(),
  verdict: z.enum(['allow', 'deny']),
  /** create, start, kill, remove … */
  action: z.string(),
  subject: z.looseObject({
    container: z.string(),
    containerId: z.string(),
    role: z.string().optional(),
    volume: z.string().optional(),
  }),
})
export type Audit = z.infer<typeof Audit>
