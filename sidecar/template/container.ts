import { Failure } from '../../process/failure.ts'
import { Dictionary, isPlain, Struct, toValue, type Value } from './values.ts'

/**
 * What a field holds. `pointer` is nil where it is not given, all others have Go's zero value: "", 0, false, an empty list or
 * map, an object of such.
 */
type Shape =
  | 'string'
  | 'int'
  | 'bool'
  | { readonly list: Shape }
  | { readonly map: Shape }
  | { readonly pointer: Fields }
  | Fields
interface Fields {
  readonly fields: ReadonlyMap<string, Shape>
}

/** Fields by what they hold, their names apart by spaces, and those of other shapes. */
interface Names extends Partial<Record<'strings' | 'ints' | 'bools' | 'lists' | 'maps', string>> {
  readonly others?: Readonly<Record<string, Shape>>
}
const fields = ({ strings, ints, bools, lists, maps, others }: Names): Fields => {
  const named = (names: string | undefined, shape: Shape) =>
    (names?.split(' ') ?? []).map((name) => [name, shape] as const)
  return {
    fields: new Map([
      ...named(strings, 'string'),
      ...named(ints, 'int'),
      ...named(bools, 'bool'),
      ...named(lists, { list: 'string' }),
      ...named(maps, { map: 'string' }),
      ...Object.entries(others ?? {}),
    ]),
  }
}

/** Where Go's name of a field is not Docker's. */
const renamed: Readonly<Record<string, string>> = {
  ID: 'Id',
  HostIP: 'HostIp',
  CPUShares: 'CpuShares',
  CPUSet: 'Cpuset',
  CPUSetCPUs: 'CpusetCpus',
  CPUSetMEMs: 'CpusetMems',
  CPUQuota: 'CpuQuota',
  CPUPeriod: 'CpuPeriod',
  CPURealtimePeriod: 'CpuRealtimePeriod',
  CPURealtimeRuntime: 'CpuRealtimeRuntime',
  CPUCount: 'CpuCount',
  CPUPercent: 'CpuPercent',
  DNS: 'Dns',
  DNSOptions: 'DnsOptions',
  DNSSearch: 'DnsSearch',
  OOMKillDisable: 'OomKillDisable',
}

const empty = fields({})
const bindings: Shape = { map: { list: fields({ strings: 'HostIP HostPort' }) } }
const inNetwork = {
  strings: 'MacAddress GlobalIPv6Address IPv6Gateway IPAddress Gateway EndpointID NetworkID',
  ints: 'GlobalIPv6PrefixLen IPPrefixLen',
}

const config = fields({
  strings:
    'Hostname Domainname User CPUSet PublishService StopSignal Image VolumeDriver WorkingDir MacAddress VolumesFrom',
  ints: 'Memory MemorySwap MemoryReservation KernelMemory CPUShares StopTimeout',
  bools: 'AttachStdin AttachStdout AttachStderr ArgsEscaped Tty OpenStdin StdinOnce NetworkDisabled',
  lists: 'PortSpecs Env Cmd DNS Entrypoint SecurityOpts OnBuild',
  maps: 'Labels',
  others: {
    ExposedPorts: { map: empty },
    Volumes: { map: empty },
    Healthcheck: { pointer: fields({ ints: 'Interval Timeout StartPeriod Retries', lists: 'Test' }) },
  },
})

const state = fields({
  strings: 'Status Error StartedAt FinishedAt',
  ints: 'Pid ExitCode',
  bools: 'Running Paused Restarting OOMKilled RemovalInProgress Dead',
  others: {
    Health: fields({
      strings: 'Status',
      ints: 'FailingStreak',
      others: { Log: { list: fields({ strings: 'Start End Output', ints: 'ExitCode' }) } },
    }),
  },
})

const networkSettings = fields({
  strings: `${inNetwork.strings} Bridge SandboxKey LinkLocalIPv6Address`,
  ints: `${inNetwork.ints} LinkLocalIPv6PrefixLen`,
  lists: 'SecondaryIPAddresses SecondaryIPv6Addresses',
  others: { Networks: { map: fields({ ...inNetwork, lists: 'Aliases' }) }, Ports: bindings },
})

const hostConfig = fields({
  strings:
    'ContainerIDFile UsernsMode NetworkMode IpcMode PidMode UTSMode Cgroup CgroupParent CPUSet CPUSetCPUs CPUSetMEMs VolumeDriver',
  ints: 'Memory MemoryReservation KernelMemory MemorySwap MemorySwappiness CPUShares CPUQuota CPUPeriod CPURealtimePeriod CPURealtimeRuntime BlkioWeight OomScoreAdj PidsLimit ShmSize CPUCount CPUPercent IOMaximumBandwidth IOMaximumIOps',
  bools: 'Privileged PublishAllPorts ReadonlyRootfs OOMKillDisable AutoRemove Init',
  lists:
    'Binds CapAdd CapDrop GroupAdd Links DNS DNSOptions DNSSearch ExtraHosts VolumesFrom DeviceCgroupRules SecurityOpt',
  maps: 'Tmpfs StorageOpt Sysctls',
  others: {
    PortBindings: bindings,
    RestartPolicy: fields({ strings: 'Name', ints: 'MaximumRetryCount' }),
    LogConfig: fields({ strings: 'Type', maps: 'Config' }),
  },
})

/** The container of registrator's client of Docker, as far as inspecting tells it; times are Docker's texts. */
const container = fields({
  strings:
    'ID Created Path Image SysInitPath ResolvConfPath HostnamePath HostsPath LogPath Name Driver AppArmorProfile',
  ints: 'RestartCount',
  lists: 'Args ExecIDs',
  maps: 'Volumes',
  others: {
    Config: config,
    State: state,
    NetworkSettings: networkSettings,
    HostConfig: hostConfig,
    Mounts: { list: fields({ strings: 'Name Source Destination Driver Mode', bools: 'RW' }) },
    Node: { pointer: empty },
    GraphDriver: { pointer: fields({ strings: 'Name', maps: 'Data' }) },
  },
})

/**
 * The data of a template, of what the Engine says of a container when asked to inspect it: by Go's names, with the zero
 * values of fields that are left out, and with those beside them that registrator does not know. Throws Failure `invalid`
 * where that is no object.
 */
export const containerData = (inspected: unknown): Struct => {
  if (!isPlain(inspected)) throw new Failure('invalid', 'data of a template: a container is no object')
  return structOf(container, inspected)
}

const structOf = ({ fields }: Fields, data: Readonly<Record<string, unknown>>): Struct => {
  const own = new Map(Object.entries(data))
  const known = [...fields].map(([name, shape]) => {
    const key = own.has(name) ? name : (renamed[name] ?? name)
    const value = holding(shape, own.get(key) ?? undefined)
    own.delete(key)
    return [name, value] as const
  })
  return new Struct(new Map([...known, ...[...own].map(([name, value]) => [name, toValue(value)] as const)]))
}

/** What is of another shape stays as it is: a template that does not ask for it works on. */
const holding = (shape: Shape, data: unknown): Value => {
  if (typeof shape === 'string') return data === undefined ? zeros[shape] : toValue(data)
  if ('list' in shape) {
    const list = data ?? []
    return Array.isArray(list) ? list.map((one) => holding(shape.list, one ?? undefined)) : toValue(data)
  }
  if ('pointer' in shape && data === undefined) return null
  const object = data ?? {}
  if (!isPlain(object)) return toValue(data)
  if ('map' in shape) {
    const entries = Object.entries(object).map(
      ([key, value]) => [key, holding(shape.map, value ?? undefined)] as const,
    )
    return new Dictionary(entries, holding(shape.map, undefined))
  }
  return structOf('pointer' in shape ? shape.pointer : shape, object)
}

const zeros = { string: '', int: 0n, bool: false } as const
