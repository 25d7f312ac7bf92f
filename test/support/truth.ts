/**
 * Compares a registry with the host it stands for, by what docker and etcdctl print. It knows nothing of the code
 * under test: neither its records nor its rules are imported here, they are stated once more, in the plainest form.
 */

/** Runs a program of one of the two sides and gives what it printed. */
export type Ask = (...args: string[]) => Promise<string>

export interface Sides {
  readonly docker: Ask
  readonly etcdctl: Ask
  readonly host: string
  /** As in OPENEBS_ADDRESS: what 0.0.0.0 stands for, and, after a comma, what :: stands for. */
  readonly address: string
  readonly prefix?: string
  /** The sidecar's other settings. */
  readonly settings?: Readonly<Record<string, string>>
}

type Fields = Record<string, unknown>

/** Of docker inspect, what is compared. */
interface Inspected {
  Id: string
  Name: string
  Created: string
  State: {
    Status: string
    ExitCode: number
    StartedAt: string
    FinishedAt: string
    Health?: { Status: string } | null
  }
  Config: {
    Image: string
    Env: string[] | null
    Labels: Record<string, string> | null
    ExposedPorts?: Record<string, unknown> | null
  }
  HostConfig: { NetworkMode: string }
  NetworkSettings: {
    Networks: Record<string, { IPAddress: string; GlobalIPv6Address: string }>
    Ports: Record<string, { HostIp: string; HostPort: string }[] | null>
  }
  Mounts: { Type: string; Name?: string }[]
}

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')

/** Every way in which the registry differs from the host, a line each; empty when they agree. */
export const differences = async (sides: Sides): Promise<string[]> => {
  const [actual, wanted] = await Promise.all([readRegistry(sides), wantedOf(sides)])
  const found = compare(wanted, actual.records)
  // whatever is bound to no lease, or to another one, would outlive the host
  if (actual.leases.size > 1 || actual.leases.has('none'))
    found.push(`bound to ${[...actual.leases].join(', ')} instead of one lease`)
  return found
}

const compare = (wanted: ReadonlyMap<string, Fields>, actual: ReadonlyMap<string, Fields>): string[] => {
  const found: string[] = []
  for (const [key, fields] of wanted) {
    const record = actual.get(key)
    if (!record) {
      found.push(`missing: ${key}`)
      continue
    }
    for (const [name, value] of Object.entries(fields)) {
      const [has, should] = [text(record[name]), text(value)]
      if (has !== should) found.push(`${key}: ${name} is ${has}, should be ${should}`)
    }
  }
  for (const key of actual.keys()) if (!wanted.has(key)) found.push(`stale: ${key}`)
  return found
}

/** The same text for what is equal: lists as sets, objects without regard to order, times to the millisecond. */
const text = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(text).sort().join(' ')}]`
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).filter(([, one]) => one !== undefined)
    return `{${fields
      .map(([name, one]) => `${name}:${text(one)}`)
      .sort()
      .join(' ')}}`
  }
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)$/.test(value))
    return new Date(value).toISOString()
  return String(value)
}

// --- etcd's side ---------------------------------------------------------------------------------------------------

interface Printed {
  kvs?: { key: string; value: string }[]
}

/** This host's records by key, without the prefix, and the leases they are bound to. */
const readRegistry = async ({ etcdctl, host, prefix = '/openebs/v1' }: Sides) => {
  const json = await etcdctl('get', '--prefix', '--write-out=json', `${prefix}/`)
  // a lease's number is too long for JSON.parse, so each record's is taken from the text
  const leases = json
    .split('"key":')
    .slice(1)
    .map((one) => /"lease":(\d+)/.exec(one)?.[1] ?? 'none')
  const found = { records: new Map<string, Fields>(), leases: new Set<string>() }
  for (const [index, kv] of ((JSON.parse(json) as Printed).kvs ?? []).entries()) {
    const key = Buffer.from(kv.key, 'base64')
      .toString()
      .slice(prefix.length + 1)
    if (!isOf(host, key)) continue
    found.records.set(key, JSON.parse(Buffer.from(kv.value, 'base64').toString()))
    found.leases.add(leases[index] ?? 'none')
  }
  return found
}

/** A swarm's objects are the swarm's, not this host's: they are not compared here. */
const swarmKinds = ['node', 'service', 'task', 'secret', 'config']

const isOf = (host: string, key: string): boolean => {
  const parts = key.split('/')
  switch (parts[0]) {
    case 'hosts':
      return parts[1] === host
    case 'inventory':
      return parts[1] === host && !swarmKinds.includes(parts[2] ?? '')
    case 'vsms':
      return parts[2] === host
    case 'services':
      return parts[2]?.startsWith(`${host}:`) === true
    default:
      return false
  }
}

// --- Docker's side -------------------------------------------------------------------------------------------------

const wantedOf = async (sides: Sides): Promise<Map<string, Fields>> => {
  const { docker, host } = sides
  const [info, containers, ...others] = await Promise.all([
    docker('info', '--format', '{{json .}}'),
    inspect<Inspected>(docker, ['ps', '-aq', '--no-trunc'], ['inspect', '--type', 'container']),
    volumes(docker),
    networks(docker),
    images(docker),
    plugins(docker),
  ])
  const wanted = new Map<string, Fields>([[`hosts/${host}`, hostFields(JSON.parse(info), sides)]])
  for (const [key, fields] of others.flat()) wanted.set(`inventory/${host}/${key}`, fields)
  for (const one of containers) {
    wanted.set(`inventory/${host}/container/${one.Id}`, containerFields(one, sides))
    for (const [key, fields] of servicesOf(one, sides)) wanted.set(key, fields)
    if (isVsm(one)) wanted.set(`vsms/${vsmName(one)}/${host}`, vsmFields(one))
  }
  return wanted
}

/** The instances that a host's containers have: "<service>/<instance>" -> "ip:port" of the best endpoint. */
export const serviceTruth = async (sides: Sides): Promise<Map<string, string>> => {
  const containers = await inspect<Inspected>(
    sides.docker,
    ['ps', '-aq', '--no-trunc'],
    ['inspect', '--type', 'container'],
  )
  return new Map(
    containers
      .flatMap((one) => servicesOf(one, sides))
      .map(([key, { address, port }]) => [key.slice('services/'.length), `${address}:${port}`]),
  )
}

/** What docker knows of a VSM. Of a running one without a health check its portal decides: that is not asked here. */
const vsmFields = (one: Inspected): Fields => {
  const { Status, Health } = one.State
  const health = Status === 'running' ? Health?.Status : 'unhealthy'
  return {
    container: one.Name.slice(1),
    containerId: one.Id,
    ...(one.Config.Labels?.['openebs.volume'] && health && { health }),
    ...(Status !== 'running' && { health }),
  }
}

/** Inspects what a command lists. What goes in between makes docker fail: then all is asked anew. */
const inspect = async <T>(docker: Ask, list: string[], command: string[]): Promise<T[]> => {
  for (let tries = 0; ; tries++) {
    const ids = [...new Set(lines(await docker(...list)))]
    if (ids.length === 0) return []
    try {
      return JSON.parse(await docker(...command, ...ids))
    } catch (error) {
      if (tries === 3) throw error
    }
  }
}

const hostFields = (info: Record<string, unknown>, { host, address }: Sides): Fields => ({
  host,
  address: address.split(',')[0],
  addresses: address.split(','),
  engine: {
    version: info.ServerVersion,
    os: info.OperatingSystem,
    arch: info.Architecture,
    kernel: info.KernelVersion,
    storage: info.Driver,
  },
  capacity: { cpus: info.NCPU, memory: info.MemTotal },
})

type Named = [key: string, fields: Fields][]

const volumes = async (docker: Ask): Promise<Named> => {
  const found = await inspect<{ Name: string; Driver: string; Scope: string; Labels: object | null }>(
    docker,
    ['volume', 'ls', '-q'],
    ['volume', 'inspect'],
  )
  return found.map(({ Name, Driver, Scope, Labels }) => [
    `volume/${Name}`,
    { name: Name, driver: Driver, scope: Scope, labels: Labels ?? {} },
  ])
}

const networks = async (docker: Ask): Promise<Named> => {
  const found = await inspect<{
    Id: string
    Name: string
    Driver: string
    Scope: string
    IPAM: { Config: { Subnet?: string }[] | null }
  }>(docker, ['network', 'ls', '-q', '--no-trunc'], ['network', 'inspect'])
  return found.map(({ Id, Name, Driver, Scope, IPAM }) => {
    const subnets = (IPAM.Config ?? []).flatMap(({ Subnet }) => Subnet ?? [])
    return [`network/${Id}`, { name: Name, driver: Driver, scope: Scope, subnets }]
  })
}

const images = async (docker: Ask): Promise<Named> => {
  const found = await inspect<{ Id: string; RepoTags: string[] | null; Size: number; Created: string }>(
    docker,
    ['images', '-q', '--no-trunc'],
    ['image', 'inspect'],
  )
  return found.map(({ Id, RepoTags, Size, Created }) => {
    const tags = RepoTags ?? []
    const created = new Date(Math.floor(Date.parse(Created) / 1000) * 1000).toISOString()
    // of several tags the list has its own order: any of them may be the name
    return [`image/${Id}`, { tags, size: Size, created, ...(tags.length < 2 && { name: tags[0] ?? Id }) }]
  })
}

const plugins = async (docker: Ask): Promise<Named> => {
  const found = await inspect<{ Id: string; Name: string; Enabled: boolean; PluginReference?: string }>(
    docker,
    ['plugin', 'ls', '-q', '--no-trunc'],
    ['plugin', 'inspect'],
  )
  return found.map(({ Id, Name, Enabled, PluginReference }) => [
    `plugin/${Id}`,
    { name: Name, enabled: Enabled, reference: PluginReference ?? '' },
  ])
}

const never = '0001-01-01T00:00:00Z'
const isLive = ({ State }: Inspected): boolean => State.Status === 'running' || State.Status === 'paused'

const containerFields = (one: Inspected, { settings }: Sides): Fields => {
  const { State, Config, NetworkSettings } = one
  const ended = State.Status === 'exited' || State.Status === 'dead'
  return {
    name: one.Name.slice(1),
    image: Config.Image,
    state: State.Status,
    exitCode: ended ? State.ExitCode : undefined,
    health: isLive(one) ? healthOf(one) : 'none',
    labels: kept(Config.Labels ?? {}, settings?.OPENEBS_LABELS ?? '*'),
    networks: Object.entries(NetworkSettings.Networks).map(([name, at]) => ({
      name,
      ...(at.IPAddress && { ipv4: at.IPAddress }),
      ...(at.GlobalIPv6Address && { ipv6: at.GlobalIPv6Address }),
    })),
    ports: Object.entries(NetworkSettings.Ports).flatMap(([key, bound]) =>
      (bound ?? []).map(({ HostIp, HostPort }) => ({
        ...parsePort(key),
        hostAddress: HostIp || '0.0.0.0',
        hostPort: Number(HostPort),
      })),
    ),
    exposed: Object.keys(Config.ExposedPorts ?? {}).map(parsePort),
    volumes: one.Mounts.flatMap(({ Type, Name }) => (Type === 'volume' && Name ? [Name] : [])),
    created: one.Created,
    started: State.StartedAt === never ? undefined : State.StartedAt,
    finished: isLive(one) || State.FinishedAt === never ? undefined : State.FinishedAt,
  }
}

const healthOf = ({ State }: Inspected): string => State.Health?.Status || 'none'

const kept = (labels: Record<string, string>, setting: string): Record<string, string> => {
  const names = setting.split(',').map((name) => name.trim())
  const matches = (label: string) =>
    names.some((name) => (name.endsWith('*') ? label.startsWith(name.slice(0, -1)) : label === name))
  return Object.fromEntries(Object.entries(labels).filter(([label]) => setting !== 'none' && matches(label)))
}

const roleOf = (one: Inspected): string | undefined => one.Config.Labels?.['openebs.role']

const isVsm = (one: Inspected): boolean => {
  const role = roleOf(one)
  return role ? role === 'target' : '3260/tcp' in { ...one.Config.ExposedPorts, ...one.NetworkSettings.Ports }
}
const vsmName = (one: Inspected): string => one.Config.Labels?.['openebs.volume'] ?? one.Name.slice(1)

// --- services ------------------------------------------------------------------------------------------------------

interface Port {
  readonly port: number
  readonly protocol: string
}
interface Endpoint {
  readonly address: string
  readonly port: number
}
interface Candidate extends Port {
  readonly bound: readonly { HostIp: string; HostPort: string }[]
}

const parsePort = (key: string): Port => {
  const [port, protocol = 'tcp'] = key.split('/')
  return { port: Number(port), protocol }
}

const servicesOf = (one: Inspected, sides: Sides): Named => {
  const { settings = {}, host } = sides
  const metadata = metadataOf(one)
  const labels = one.Config.Labels ?? {}
  const paused = one.State.Status === 'paused' && settings.OPENEBS_PAUSED === 'mark'
  if (one.State.Status !== 'running' && !paused) return []
  if (healthOf(one) === 'unhealthy' && settings.OPENEBS_UNHEALTHY === 'withdraw') return []
  if (['true', '1', 'yes'].includes(labels['openebs.ignore'] ?? '')) return []
  const own = ['target', 'initiator', 'etcd', 'registrator'].includes(roleOf(one) ?? '')
  if (own && !metadata.get('NAME')) return []
  const candidates = candidatesOf(one, settings)
  return candidates.flatMap((candidate): Named => {
    const { port, protocol } = candidate
    const of = (key: string) => metadata.get(`${port}_${key}`) ?? metadata.get(key)
    if (of('IGNORE')) return []
    const endpoints = endpointsOf(one, candidate, sides)
    const [first] = endpoints
    if (!first) return []
    const base = of('NAME') || labels['com.docker.swarm.service.name'] || baseName(one.Config.Image)
    const suffix = candidates.length > 1 && !metadata.get(`${port}_NAME`) ? `-${port}` : ''
    const instance = `${host}:${one.Name.slice(1)}:${port}${protocol === 'tcp' ? '' : `:${protocol}`}`
    const fields = {
      ...{ container: one.Name.slice(1), containerId: one.Id, host, service: base + suffix },
      ...{ exposedPort: port, protocol, health: healthOf(one) },
      ...{ address: first.address, port: first.port, endpoints, state: one.State.Status },
    }
    return [[`services/${base}${suffix}/${instance}`, fields]]
  })
}

/** What SERVICE_… in environment and labels says, by name without SERVICE_, in capitals; labels win. */
const metadataOf = (one: Inspected): Map<string, string> => {
  const environment = (one.Config.Env ?? []).map((line): [string, string] => {
    const [name = '', ...value] = line.split('=')
    return [name, value.join('=')]
  })
  const all = [...environment, ...Object.entries(one.Config.Labels ?? {})]
  return new Map(
    all.flatMap(([name, value]) =>
      name.startsWith('SERVICE_') ? [[name.slice(8).toUpperCase(), value]] : [],
    ),
  )
}

const baseName = (image: string): string => image.split('/').at(-1)?.split('@')[0]?.split(':')[0] ?? ''

const candidatesOf = (one: Inspected, settings: Readonly<Record<string, string>>): Candidate[] => {
  const published = Object.entries(one.NetworkSettings.Ports).flatMap(([key, bound]) =>
    bound ? [{ ...parsePort(key), bound }] : [],
  )
  const exposed = Object.keys(one.Config.ExposedPorts ?? {}).map((key) => ({ ...parsePort(key), bound: [] }))
  const labelled = (one.Config.Labels?.['openebs.ports'] ?? '')
    .split(',')
    .filter((port) => port.trim() !== '')
  const added = labelled.map((port) => ({ ...parsePort(port.trim()), bound: [] }))
  const all = onHost(one) || settings.OPENEBS_SERVICES === 'internal' ? [...published, ...exposed] : published
  const byPort = new Map<string, Candidate>()
  for (const candidate of [...all, ...added]) {
    const key = `${candidate.port}/${candidate.protocol}`
    if (!byPort.has(key)) byPort.set(key, candidate)
  }
  return [...byPort.values()]
}

const onHost = (one: Inspected): boolean => one.HostConfig.NetworkMode === 'host'
const isIp6 = (address: string): boolean => address.includes(':')

/** Where the candidate is reached, the best first. */
const endpointsOf = (one: Inspected, { port, bound }: Candidate, sides: Sides): Endpoint[] => {
  const { settings = {}, address } = sides
  const labels = one.Config.Labels ?? {}
  const [ip4, ip6] = [address.split(',').find((at) => !isIp6(at)), address.split(',').find(isIp6)]
  const networks = one.NetworkSettings.Networks
  const inNetwork = (name: string): Endpoint[] => {
    const at = networks[name]
    return at
      ? [at.IPAddress, at.GlobalIPv6Address].filter(Boolean).map((own) => ({ address: own, port }))
      : []
  }
  const atHost = onHost(one) ? [ip4, ip6].flatMap((at) => (at ? [{ address: at, port }] : [])) : undefined
  const bindings = bound
    .map(({ HostIp, HostPort }) => ({ at: HostIp || '0.0.0.0', port: Number(HostPort) }))
    .filter(({ at }) => !at.startsWith('127.') && at !== '::1')
    .flatMap(({ at, port: outside }): Endpoint[] => {
      const reached = at === '0.0.0.0' ? ip4 : at === '::' ? ip6 : at
      return reached ? [{ address: reached, port: outside }] : []
    })
    .sort((a, b) => Number(isIp6(a.address)) - Number(isIp6(b.address)) || a.port - b.port)
  const preferred = (settings.OPENEBS_NETWORKS ?? '').split(',').find((name) => networks[name.trim()])
  const ownAddress = atHost ?? inNetwork(preferred?.trim() ?? Object.keys(networks).sort()[0] ?? '')
  const reached =
    settings.OPENEBS_SERVICES === 'internal' || (bound.length === 0 && !atHost)
      ? ownAddress
      : (atHost ?? bindings)
  const said = labels['openebs.address'] ?? labels[settings.OPENEBS_ADDRESS_LABEL ?? '']?.split('/')[0]
  if (said) return reached[0] ? [{ address: said, port: reached[0].port }] : []
  const named = labels['openebs.network']
  return named && !atHost ? inNetwork(named) : reached
}
