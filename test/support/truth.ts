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
  /** What 0.0.0.0 stands for. */
  readonly address: string
  readonly prefix?: string
}

/** Of docker inspect, what is compared. */
interface Inspected {
  Id: string
  Name: string
  State: { Status: string; Health?: { Status: string } | null }
  Config: {
    Image: string
    Env: string[] | null
    Labels: Record<string, string> | null
    ExposedPorts?: Record<string, unknown> | null
  }
  HostConfig: { NetworkMode: string }
  NetworkSettings: {
    Networks: Record<string, { IPAddress: string }>
    Ports: Record<string, { HostIp: string; HostPort: string }[] | null>
  }
}
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')

/** Every way in which the registry differs from the host, a line each; empty when they agree. */
export const differences = async (sides: Sides): Promise<string[]> => {
  const { docker, host, prefix = '/openebs/v1' } = sides
  const [actual, containers] = await Promise.all([readRegistry(sides, prefix), inspectAll(docker)])
  const wanted = new Map<string, Record<string, unknown>>([[`hosts/${host}`, { address: sides.address }]])
  for (const one of containers) {
    wanted.set(`inventory/${host}/container/${one.Id}`, {
      name: one.Name.slice(1),
      state: one.State.Status,
      networks: Object.entries(one.NetworkSettings.Networks)
        .map(([name, at]) => `${name} ${at.IPAddress}`)
        .sort()
        .join(),
    })
    for (const [key, record] of servicesOf(one, sides)) wanted.set(key, record)
    if (isVsm(one)) wanted.set(`vsms/${vsmName(one)}/${host}`, {})
  }
  const lists = [
    ['volume', ['volume', 'ls', '-q']],
    ['network', ['network', 'ls', '-q', '--no-trunc']],
    ['image', ['images', '-q', '--no-trunc']],
    ['plugin', ['plugin', 'ls', '-q', '--no-trunc']],
  ] as const
  for (const [kind, command] of lists)
    for (const id of lines(await docker(...command))) wanted.set(`inventory/${host}/${kind}/${id}`, {})
  return compare(wanted, actual)
}

const compare = (
  wanted: ReadonlyMap<string, Record<string, unknown>>,
  actual: ReadonlyMap<string, Record<string, unknown>>,
): string[] => {
  const found: string[] = []
  for (const [key, fields] of wanted) {
    const record = actual.get(key)
    if (!record) found.push(`missing: ${key}`)
    else
      for (const [name, value] of Object.entries(fields)) {
        const has = name === 'networks' ? networksText(record.networks) : record[name]
        if (has !== value) found.push(`${key}: ${name} is ${String(has)}, should be ${String(value)}`)
      }
  }
  for (const key of actual.keys()) if (!wanted.has(key)) found.push(`stale: ${key}`)
  return found
}

const networksText = (networks: unknown): string =>
  (networks as { name: string; ipv4?: string }[])
    .map(({ name, ipv4 }) => `${name} ${ipv4 ?? ''}`)
    .sort()
    .join()

/** This host's keys, without the prefix. */
const readRegistry = async ({ etcdctl, host }: Sides, prefix: string) => {
  const printed = lines(await etcdctl('get', '--prefix', `${prefix}/`))
  const records = new Map<string, Record<string, unknown>>()
  for (let at = 0; at + 1 < printed.length; at += 2) {
    const key = printed[at]?.slice(prefix.length + 1) ?? ''
    const mine =
      key === `hosts/${host}` ||
      key.startsWith(`inventory/${host}/`) ||
      (key.startsWith('vsms/') && key.endsWith(`/${host}`))
    const myService = key.startsWith('services/') && key.split('/')[2]?.startsWith(`${host}:`)
    if (mine || myService) records.set(key, JSON.parse(printed[at + 1] ?? ''))
  }
  return records
}

const inspectAll = async (docker: Ask): Promise<Inspected[]> => {
  const ids = lines(await docker('ps', '-aq', '--no-trunc'))
  return ids.length === 0 ? [] : JSON.parse(await docker('inspect', ...ids))
}

const isVsm = (one: Inspected): boolean => {
  const role = one.Config.Labels?.['openebs.role']
  return role ? role === 'target' : '3260/tcp' in (one.Config.ExposedPorts ?? {})
}
const vsmName = (one: Inspected): string => one.Config.Labels?.['openebs.volume'] ?? one.Name.slice(1)

const servicesOf = (one: Inspected, { host, address }: Sides): [string, Record<string, unknown>][] => {
  if (one.State.Status !== 'running') return []
  const published = Object.entries(one.NetworkSettings.Ports).flatMap(([port, bound]) =>
    bound ? [{ port, bound }] : [],
  )
  if (one.HostConfig.NetworkMode === 'host')
    for (const port of Object.keys(one.Config.ExposedPorts ?? {}))
      published.push({ port, bound: [{ HostIp: '0.0.0.0', HostPort: port.split('/')[0] ?? '' }] })
  const named = one.Config.Env?.find((line) => line.startsWith('SERVICE_NAME='))?.slice(13)
  const image = one.Config.Image.split('/').at(-1)?.split(':')[0]
  return published.flatMap(({ port, bound }) => {
    const [number = '', protocol] = port.split('/')
    const outside = bound.find(({ HostIp }) => !HostIp.startsWith('127.') && HostIp !== '::')
    if (!outside) return []
    const service = `${named ?? image}${published.length > 1 ? `-${number}` : ''}`
    const instance = `${host}:${one.Name.slice(1)}:${number}${protocol === 'udp' ? ':udp' : ''}`
    const health = one.State.Health?.Status ?? 'none'
    const at = outside.HostIp === '0.0.0.0' ? address : outside.HostIp
    return [[`services/${service}/${instance}`, { address: at, port: Number(outside.HostPort), health }]]
  })
}
