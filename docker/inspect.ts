import { z } from 'zod'
import { humanDuration } from './durations.ts'
import { list, map, text } from './json.ts'
import { Pool } from './pool.ts'

/**
 * What the Docker Engine answers, checked at the boundary and put into our words. Only fields that we use are kept;
 * engines from API 1.41 to 1.52 agree on them.
 */

const states = ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'] as const
export type ContainerState = (typeof states)[number]
export type Health = 'none' | 'starting' | 'healthy' | 'unhealthy'

export interface Port {
  readonly port: number
  /** tcp, udp or sctp. */
  readonly protocol: string
}
export interface Binding extends Port {
  /** As Docker gives it: 0.0.0.0 and :: mean every address of the host. */
  readonly hostAddress: string
  readonly hostPort: number
}
export interface ContainerNetwork {
  readonly name: string
  readonly ipv4?: string
  readonly ipv6?: string
}

/** A container as inspected. */
export interface Container {
  readonly id: string
  readonly name: string
  /** The reference it was made from: "registry.example.com:5000/team/app:1.2". */
  readonly image: string
  readonly created: string
  readonly state: ContainerState
  /** When it last started and ended, by the daemon's clock; "": never. */
  readonly startedAt: string
  readonly finishedAt: string
  readonly exitCode: number
  readonly health: Health
  /** What the last health check printed. */
  readonly healthOutput: string
  /** NAME=value, of the image and of the container: SERVICE_... alone, as nothing else is used. */
  readonly environment: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  /** "host" shares the host's network; "container:<id>" another container's. */
  readonly networkMode: string
  readonly networks: readonly ContainerNetwork[]
  readonly exposed: readonly Port[]
  /** Live bindings: none while the container is stopped. */
  readonly bindings: readonly Binding[]
  /** Names of the Docker volumes it uses. */
  readonly volumes: readonly string[]
  /** Tags of all its services beside those that it names itself, where somebody gives any (queries.ts). */
  readonly tags?: readonly string[]
}

/** Go's zero time means never. */
const instant = text.transform((value) => (value.startsWith('0001-') ? '' : value))

/**
 * What is the same in many containers is kept once: of 10,000 only a few have images, labels or networks of their own.
 */
const texts = new Pool<string>((value) => value)
const objects = new Pool<object>(JSON.stringify)
const once = <T extends object>(value: T): T => objects.share(value) as T

const isTextMap = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  (typeof value === 'object' && Object.values(value).every((one) => typeof one === 'string'))

/** Labels stay the object that JSON.parse made, as V8 gives one that is filled key by key a table of hashes. */
const labels = z
  .custom<Record<string, string> | null | undefined>(isTextMap, 'expected texts by name')
  .transform((byName): Record<string, string> => {
    for (const name in byName) byName[name] = texts.share(byName[name] ?? '')
    return byName ?? {}
  })

const networks = map(z.object({ IPAddress: text, GlobalIPv6Address: text })).transform((byName) =>
  Object.entries(byName).map(
    ([name, at]): ContainerNetwork => ({
      name: texts.share(name),
      ...(at.IPAddress && { ipv4: at.IPAddress }),
      ...(at.GlobalIPv6Address && { ipv6: at.GlobalIPv6Address }),
    }),
  ),
)

/** "80/tcp" -> 80 and tcp; undefined where it names no port. */
const parsePort = (key: string): Port | undefined => {
  const [digits = '', protocol = 'tcp'] = key.split('/')
  const port = Number(digits)
  return Number.isInteger(port) && port > 0 ? { port, protocol: texts.share(protocol) } : undefined
}
const parsePorts = (byKey: Record<string, unknown>): Port[] =>
  Object.keys(byKey).flatMap((key) => parsePort(key) ?? [])

/** GET /containers/<id>/json */
export const Container = z
  .object({
    Id: z.string(),
    Name: z.string(),
    Created: z.string(),
    State: z.object({
      Status: z.string(),
      Running: z.boolean(),
      ExitCode: z.number(),
      StartedAt: instant,
      FinishedAt: instant,
      Health: z.object({ Status: text, Log: list(z.object({ Output: text })) }).nullish(),
    }),
    Config: z.object({
      Image: z.string(),
      Env: list(z.string()),
      Labels: labels,
      ExposedPorts: map(z.unknown()),
    }),
    HostConfig: z.object({ NetworkMode: text }),
    NetworkSettings: z.object({
      Networks: networks,
      Ports: map(z.array(z.object({ HostIp: text, HostPort: text })).nullable()),
    }),
    Mounts: list(z.object({ Type: text, Name: text })),
  })
  .transform(
    (raw): Container => ({
      id: raw.Id,
      name: raw.Name.replace(/^\//, ''),
      image: texts.share(raw.Config.Image),
      created: raw.Created,
      state: states.find((state) => state === raw.State.Status) ?? (raw.State.Running ? 'running' : 'exited'),
      startedAt: raw.State.StartedAt,
      finishedAt: raw.State.FinishedAt,
      exitCode: raw.State.ExitCode,
      health: healthOf(raw.State.Health?.Status),
      healthOutput: raw.State.Health?.Log.at(-1)?.Output.trim() ?? '',
      environment: once(raw.Config.Env.filter((line) => line.startsWith('SERVICE_'))),
      labels: once(raw.Config.Labels),
      networkMode: texts.share(raw.HostConfig.NetworkMode),
      networks: raw.NetworkSettings.Networks,
      exposed: once(parsePorts(raw.Config.ExposedPorts)),
      bindings: Object.entries(raw.NetworkSettings.Ports).flatMap(([key, bound]) => {
        const port = parsePort(key)
        return (port && bound ? bound : []).flatMap(({ HostIp, HostPort }): Binding[] =>
          port && Number(HostPort) > 0
            ? [{ ...port, hostAddress: texts.share(HostIp || '0.0.0.0'), hostPort: Number(HostPort) }]
            : [],
        )
      }),
      volumes: raw.Mounts.flatMap(({ Type, Name }) => (Type === 'volume' && Name ? [texts.share(Name)] : [])),
    }),
  )

const healthOf = (status: string | undefined): Health =>
  status === 'starting' || status === 'healthy' || status === 'unhealthy' ? status : 'none'

/** GET /containers/json: enough to tell whether a container must be inspected again. */
export const ListedContainer = z.object({
  Id: z.string(),
  Names: list(z.string()),
  State: z.string(),
  /** "Up 5 minutes (healthy)", "Exited (137) 2 seconds ago": for people, but the only place of these two. */
  Status: text,
  Ports: list(z.object({ IP: text, PrivatePort: z.number(), PublicPort: z.number().optional(), Type: text })),
  NetworkSettings: z.object({ Networks: networks }).nullish(),
})
export type ListedContainer = z.output<typeof ListedContainer>

/**
 * Whether an inspected container still says what the list says: all that can change in a container's life. `now` in ms
 * since 1970.
 */
export const agrees = (container: Container, listed: ListedContainer, now = Date.now()): boolean =>
  listed.Names.includes(`/${container.name}`) &&
  listed.State === container.state &&
  (listed.State !== 'exited' || listed.Status.startsWith(`Exited (${container.exitCode})`)) &&
  sameRun(container, listed.Status, now) &&
  listedHealth(listed.Status) === (container.state === 'running' ? container.health : 'none') &&
  sameSet(
    listed.Ports.flatMap((at) =>
      at.PublicPort ? [`${at.IP}:${at.PublicPort}:${at.PrivatePort}/${at.Type}`] : [],
    ),
    container.bindings.map((at) => `${at.hostAddress}:${at.hostPort}:${at.port}/${at.protocol}`),
  ) &&
  sameSet((listed.NetworkSettings?.Networks ?? []).map(networkText), container.networks.map(networkText))

/**
 * A container that ended and started again unseen can look as before in all but its times. The list has them rounded
 * (at first to seconds), and by the daemon's clock: 2 s more or less are allowed for.
 */
export const sameRun = (container: Container, status: string, now: number): boolean =>
  isStill(runOf(container, status), now)

/** What a list said of how long a container has been up, or down. */
export interface Run {
  /** "5 minutes"; undefined where it said nothing of it. */
  readonly said: string | undefined
  /** ms since 1970. */
  readonly since: number
}

export const runOf = ({ startedAt, finishedAt }: Container, status: string): Run => {
  const up = /^Up (?<time>[^(]*\w)/.exec(status)?.groups?.time
  const ended = /^(?:Exited|Restarting) \(-?\d+\) (?<time>.*) ago$/.exec(status)?.groups?.time
  const since = up === undefined ? finishedAt : startedAt
  return { said: since === '' ? undefined : (up ?? ended), since: Date.parse(since) }
}

/** Whether it may still be said. "Up 5 minutes" is wrong five minutes later. */
export const isStill = ({ said, since }: Run, now: number): boolean => {
  const seconds = (now - since) / 1000
  return said === undefined || tolerated.some((more) => humanDuration(seconds + more) === said)
}
/** Seconds, the likeliest first. */
const tolerated = [0, -1, 1, -2, 2]

const networkText = ({ name, ipv4, ipv6 }: ContainerNetwork): string => `${name} ${ipv4 ?? ''} ${ipv6 ?? ''}`
const sameSet = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((one) => b.includes(one))
const listedHealth = (status: string): Health => {
  const match = /\((?:health: )?(?<health>starting|healthy|unhealthy)\)/.exec(status)
  return healthOf(match?.groups?.health)
}

/** GET /info */
export const EngineInfo = z
  .object({
    ID: text,
    Name: z.string(),
    ServerVersion: text,
    OperatingSystem: text,
    Architecture: text,
    KernelVersion: text,
    Driver: text,
    NCPU: z.number(),
    MemTotal: z.number(),
    SystemTime: text,
    Swarm: z.object({ NodeAddr: text }).nullish(),
    Plugins: z.object({ Authorization: list(z.string()) }).nullish(),
  })
  .transform((raw) => ({
    name: raw.Name,
    version: raw.ServerVersion,
    os: raw.OperatingSystem,
    arch: raw.Architecture,
    kernel: raw.KernelVersion,
    storage: raw.Driver,
    cpus: raw.NCPU,
    /** Bytes. */
    memory: raw.MemTotal,
    /** The daemon's clock, RFC 3339 with nanoseconds. */
    time: raw.SystemTime,
    /** Authorization plugins that the daemon was started with; newer Engines may follow a reload. */
    authorization: raw.Plugins?.Authorization ?? [],
    /** The address that Swarm advertises, or "". */
    swarmAddress: raw.Swarm?.NodeAddr ?? '',
  }))
export type EngineInfo = z.output<typeof EngineInfo>

/** One of GET /images/json */
export const Image = z
  .object({ Id: z.string(), RepoTags: list(z.string()), Size: z.number(), Created: z.number() })
  .transform((raw) => ({
    id: raw.Id,
    tags: raw.RepoTags.filter((tag) => tag !== '<none>:<none>'),
    size: raw.Size,
    created: new Date(raw.Created * 1000).toISOString(),
  }))
export type Image = z.output<typeof Image>

/** One of GET /networks */
export const Network = z
  .object({
    Id: z.string(),
    Name: z.string(),
    Driver: text,
    Scope: text,
    IPAM: z.object({ Config: list(z.object({ Subnet: text })) }).nullish(),
  })
  .transform((raw) => ({
    id: raw.Id,
    name: raw.Name,
    driver: raw.Driver,
    scope: raw.Scope,
    subnets: raw.IPAM?.Config.flatMap(({ Subnet }) => (Subnet ? [Subnet] : [])) ?? [],
  }))
export type Network = z.output<typeof Network>

/** One of GET /plugins: managed plugins. */
export const Plugin = z
  .object({ Id: z.string(), Name: z.string(), Enabled: z.boolean(), PluginReference: text })
  .transform((raw) => ({ id: raw.Id, name: raw.Name, enabled: raw.Enabled, reference: raw.PluginReference }))
export type Plugin = z.output<typeof Plugin>

/** GET /volumes/<name>, and one of GET /volumes */
export const Volume = z
  .object({ Name: z.string(), Driver: text, Scope: text, Labels: map(z.string()) })
  .transform((raw) => ({ name: raw.Name, driver: raw.Driver, scope: raw.Scope, labels: raw.Labels }))
export type Volume = z.output<typeof Volume>

/** GET /volumes; engines answer null for none. */
export const Volumes = z.object({ Volumes: list(Volume) }).transform((raw) => raw.Volumes)
