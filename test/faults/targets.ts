import { startConsul } from '../support/consul.ts'
import { pairsBelow } from '../support/consul-sites.ts'
import type { EtcdCluster, Teardown } from '../support/etcd.ts'
import { type Sides, serviceTruth } from '../support/truth.ts'
import { startZookeeper } from '../support/zookeeper.ts'

/** Where the sidecar registers instead of in the registry, for the same faults: FAULT_TARGET names one. */
export interface FaultTarget {
  /** The sidecar's command line. */
  readonly args: readonly string[]
  /** Its keys are "<service>/<ip>:<port>", in place of "<service>/<instance>". */
  readonly byEndpoint?: boolean
  /** What stands there by an independent client: "<service>/<instance>" -> "ip:port". */
  look(): Promise<ReadonlyMap<string, string>>
  /** Its server stands still, and goes on; dies, and comes back with its data. */
  pause(): Promise<void>
  resume(): Promise<void>
  kill(): Promise<void>
  restart(): Promise<void>
}

type Maker = (t: Teardown, etcd: EtcdCluster) => Promise<FaultTarget>

const ip = ['-ip', '198.51.100.7']

/** What etcdctl prints of all below a prefix. */
const pairs = async (etcd: EtcdCluster, prefix: string): Promise<[key: string, value: string][]> => {
  const { kvs = [] } = JSON.parse(await etcd.ctl('get', '--prefix', prefix, '-w', 'json')) as {
    kvs?: { key: string; value: string }[]
  }
  const text = (base64: string) => Buffer.from(base64, 'base64').toString()
  return kvs.map(({ key, value }) => [text(key).slice(prefix.length), text(value)])
}

const member = (etcd: EtcdCluster): Pick<FaultTarget, 'pause' | 'resume' | 'kill' | 'restart'> => ({
  pause: async () => etcd.member.pause(),
  resume: async () => etcd.member.resume(),
  kill: () => etcd.member.kill(),
  restart: () => etcd.member.start(),
})

/** Of a server that a test starts beside etcd. */
const started = (server: {
  pause(): void
  resume(): void
  kill(): Promise<void>
  start(): Promise<void>
}): Pick<FaultTarget, 'pause' | 'resume' | 'kill' | 'restart'> => ({
  pause: async () => server.pause(),
  resume: async () => server.resume(),
  kill: () => server.kill(),
  restart: () => server.start(),
})

/** A new one is a line here. */
const makers: Readonly<Record<string, Maker>> = {
  etcd: async (_t, etcd) => ({
    args: [...ip, `${etcd.uri}/services`],
    look: async () => new Map(await pairs(etcd, '/services/')),
    ...member(etcd),
  }),
  skydns2: async (_t, etcd) => ({
    args: [...ip, `skydns2://${etcd.member.address}/example.org`],
    look: async () =>
      new Map(
        (await pairs(etcd, '/skydns/org/example/')).map(([key, value]) => {
          const { host, port } = JSON.parse(value) as { host: string; port: number }
          return [key, `${host}:${port}`]
        }),
      ),
    ...member(etcd),
  }),
  consul: async (t) => {
    const server = await startConsul(t)
    return {
      args: [...ip, `consul://${server.address}`],
      look: async () => {
        const told = (await server.client.call('GET', '/v1/agent/services')) as Record<
          string,
          { ID: string; Service: string; Address: string; Port: number }
        >
        return new Map(
          Object.values(told).map((one) => [`${one.Service}/${one.ID}`, `${one.Address}:${one.Port}`]),
        )
      },
      ...started(server),
    }
  },
  consulkv: async (t) => {
    const server = await startConsul(t)
    return {
      args: [...ip, `consulkv://${server.address}/services`],
      look: async () => new Map(Object.entries(await pairsBelow(server.client, 'services'))),
      ...started(server),
    }
  },
  zookeeper: async (t) => {
    const server = await startZookeeper(t)
    return {
      args: [...ip, `zookeeper://${server.address}/services`],
      byEndpoint: true,
      look: async () => {
        await using reader = await server.reader()
        return new Map(
          Object.keys(await reader.tree('/services')).map((key) => [key, key.split('/')[1] ?? '']),
        )
      },
      ...started(server),
    }
  },
}

export const startTarget = async (t: Teardown, etcd: EtcdCluster): Promise<FaultTarget | undefined> => {
  const name = process.env.FAULT_TARGET
  if (!name) return undefined
  const make = makers[name]
  if (!make) throw new Error(`FAULT_TARGET: expected one of ${Object.keys(makers).join(', ')}, not ${name}`)
  return make(t, etcd)
}

/** Every way in which a target differs from the host, a line each. */
export const targetDifferences = async (sides: Sides, target: FaultTarget): Promise<string[]> => {
  const [actual, wanted] = await Promise.all([target.look(), serviceTruth(sides)])
  const keyed = target.byEndpoint
    ? new Map([...wanted].map(([key, endpoint]) => [`${key.split('/')[0]}/${endpoint}`, endpoint]))
    : wanted
  return compare('target', actual, keyed)
}

const compare = (
  what: string,
  actual: ReadonlyMap<string, string>,
  wanted: ReadonlyMap<string, string>,
): string[] => {
  const found: string[] = []
  for (const [key, endpoint] of wanted) {
    const has = actual.get(key)
    if (has === undefined) found.push(`${what}: missing: ${key}`)
    else if (has !== endpoint) found.push(`${what}: ${key} is ${has}, should be ${endpoint}`)
  }
  for (const key of actual.keys()) if (!wanted.has(key)) found.push(`${what}: stale: ${key}`)
  return found
}

/** Views that stand beside the registry under all of its faults. */
export const views = 'registrator=/old,skydns=example.org,traefik'

/** Every way in which these differ from the host; names of DNS are plain here, as the load's are. */
export const viewDifferences = async (sides: Sides, etcd: EtcdCluster): Promise<string[]> => {
  const [old, dns, traefik, truth] = await Promise.all([
    pairs(etcd, '/old/'),
    pairs(etcd, '/skydns/org/example/'),
    pairs(etcd, 'traefik/'),
    serviceTruth(sides),
  ])
  const named = [...truth].map(([key, endpoint]): [string, string] => {
    const [service = '', instance = ''] = key.split('/')
    const [, container = '', port = ''] = instance.split(':')
    return [`${service}/_tcp/_${service}/${sides.host}/${container}-${port}`, endpoint]
  })
  const found = dns
    .filter(([key]) => !key.startsWith('host/'))
    .map(([key, value]): [string, string] => {
      const { host, port } = JSON.parse(value) as { host: string; port: number }
      return [key, `${host}:${port}`]
    })
  return [
    ...compare('view registrator', new Map(old), truth),
    ...compare('view skydns', new Map(found), new Map(named)),
    ...traefikDifferences(traefik, truth),
  ]
}

/** All of the load asks for Traefik, without a word more: a router and a service of its name, and a server for each instance. */
const traefikDifferences = (
  entries: readonly (readonly [key: string, value: string])[],
  truth: ReadonlyMap<string, string>,
): string[] => {
  const servers = entries.flatMap(([key, value]): [string, string][] => {
    const service = /^http\/services\/([^/]+)\/loadBalancer\/servers\/\d+\/url$/.exec(key)?.[1]
    return service === undefined ? [] : [[`${service} ${value}`, value]]
  })
  const wanted = [...truth].map(([key, endpoint]): [string, string] => [
    `${key.split('/')[0]} http://${endpoint}`,
    `http://${endpoint}`,
  ])
  const names = (of: readonly (readonly [string, string])[]) =>
    new Map(of.map(([key]) => [key.split(' ')[0] ?? '', 'it']))
  const routers = entries.flatMap(([key]) => /^http\/routers\/([^/]+)\/rule$/.exec(key)?.[1] ?? [])
  return [
    ...compare('view traefik', new Map(servers), new Map(wanted)),
    ...compare('view traefik, routers', new Map(routers.map((name) => [name, 'it'])), names(wanted)),
  ]
}

/** Where the sidecar serves Prometheus. */
export const targetsPath = '/v1/prometheus/targets'

/** Every way in which targets for Prometheus differ from the host: of its answer, or of its file. Both have all hosts of the registry. */
export const targetsDifferences = async (text: string, sides: Sides): Promise<string[]> => {
  const groups = JSON.parse(text) as { targets: string[]; labels: Record<string, string> }[]
  const found = groups.flatMap(({ targets, labels }): [string, string][] => {
    const label = (name: string): string => labels[`__meta_openebs_${name}`] ?? ''
    if (label('host') !== sides.host) return []
    const port = `${label('exposed_port')}${label('protocol') === 'udp' ? ':udp' : ''}`
    return [[`${label('service')}/${label('host')}:${label('container')}:${port}`, targets.join()]]
  })
  return compare('prometheus', new Map(found), await serviceTruth(sides))
}
