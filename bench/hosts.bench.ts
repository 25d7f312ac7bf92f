import { fork } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type EtcdCluster, startEtcd, type Teardown } from '../test/support/etcd.ts'
import { inTurn, runBench, say, within } from './support/bench.ts'
import type { Core } from './support/cores-main.ts'
import { EngineProcess } from './support/engine-process.ts'
import { EtcdView } from './support/etcd-view.ts'
import { costOf } from './support/process-cost.ts'
import { quantile, round } from './support/statistics.ts'
import { whenCount } from './support/subject.ts'

const about = `hosts: the sidecars of many hosts in few processes, each with a synthetic engine and a connection of its own, register in one
cluster of three etcd nodes, while on each host a container starts and ends now and then. What does a host cost etcd? What
an empty cluster takes for itself is not a host's. All of it shares this machine's cores.`

const perProcess = 250
/** ms that all may take to be there. */
const patience = 300_000
const services = '/openebs/v1/services/'

interface Plan {
  readonly containers: number
  readonly seconds: number
  readonly every: number
}

/** etcd's own account of its work. */
interface Account {
  readonly at: number
  readonly cpu: number
  readonly renewals: number
  readonly revision: number
}

const account = async (view: EtcdView): Promise<Account> => ({
  at: performance.now(),
  cpu: (await view.counter('process_cpu_seconds_total')) * 1000,
  renewals: await view.keepAlives(),
  revision: await view.revision(),
})

/** Per second. */
const rates = (from: Account, to: Account) => {
  const seconds = (to.at - from.at) / 1000
  return {
    /** ms of processor of all three. */
    cpu: (to.cpu - from.cpu) / seconds,
    renewals: (to.renewals - from.renewals) / seconds,
    writes: (to.revision - from.revision) / seconds,
  }
}

/** Clients of one address share a connection: each host gets an address of the loopback network for its own. */
const storeFor = (host: number, etcd: EtcdCluster): string =>
  `etcd://${etcd.members.map(({ address }) => address.replace('0.0.0.0', `127.1.${host >> 8}.${host & 255}`)).join()}`

const startCores = (t: Teardown, cores: readonly Core[]): number[] => {
  const pids: number[] = []
  for (let at = 0; at < cores.length; at += perProcess) {
    const child = fork(join(import.meta.dirname, 'support/cores-main.ts'))
    t.teardown(() => child.connected && child.disconnect())
    child.on('exit', (code) => code && say(`a process of sidecars ended with status ${code}`))
    child.send(cores.slice(at, at + perProcess))
    if (child.pid !== undefined) pids.push(child.pid)
  }
  return pids
}

const measure = (hosts: number, { containers, seconds, every }: Plan) =>
  within(async (t) => {
    const etcd = await startEtcd(t, { members: 3, listen: '0.0.0.0' })
    const view = new EtcdView(t, etcd)
    const engines = await EngineProcess.start(t, hosts)
    const indexes = Array.from({ length: hosts }, (_, index) => index)
    await Promise.all(indexes.map((index) => engines.fill(containers, index)))
    const empty = await account(view)
    await sleep(5000)
    const base = rates(empty, await account(view))

    const cores = indexes.map((index) => ({
      host: `h${index}`,
      docker: engines.endpoint(index),
      store: storeFor(index, etcd),
    }))
    const pids = startCores(t, cores)
    const registry = { count: () => view.count(services) }
    if (!(await whenCount(registry, hosts * containers, patience, 500)))
      throw new Error(`${await registry.count()} of ${hosts * containers} services are there`)
    await sleep(5000)

    const arrived = new Map<string, number>()
    await view.watch(t, services, ({ key, value, at }) => {
      const [host, container] = key.split('/').at(-1)?.split(':') ?? []
      arrived.set(`${value === undefined ? 'die' : 'start'} ${host}:${container}`, at)
    })
    const [from, cpu] = [await account(view), pids.map((pid) => costOf(pid).cpu)]
    const happened = await Promise.all(
      indexes.map(async (index) =>
        (await engines.churn(seconds, every, index)).map(({ container, action, at }) => ({
          what: `${action} h${index}:${container}`,
          at,
        })),
      ),
    )
    const to = await account(view)
    const spent = pids.reduce((sum, pid, index) => sum + costOf(pid).cpu - (cpu[index] ?? 0), 0)
    await sleep(3000)
    const all = happened.flat()
    const waits = all.flatMap(({ what, at }) => {
      const seen = arrived.get(what)
      return seen === undefined ? [] : [seen - at]
    })
    const rate = rates(from, to)
    return {
      hosts,
      ...rate,
      cpu: rate.cpu - base.cpu,
      /** ms of processor of the sidecars, a second. */
      cores: spent / ((to.at - from.at) / 1000),
      p50: quantile(waits, 0.5),
      p99: quantile(waits, 0.99),
      events: all.length,
      lost: all.length - waits.length,
    }
  })

await runBench(
  about,
  {
    few: [100, 'hosts'],
    many: [1000, 'hosts'],
    containers: [10, 'containers a host'],
    seconds: [60, 'seconds that are counted'],
    every: [30, 'seconds between the starts of two containers of a host'],
    percent: [25, 'per cent that a host of many may cost more than one of few'],
  },
  async (_t, plan) => {
    const [few, many] = await inTurn([plan.few, plan.many], async (hosts) => {
      const one = await measure(hosts, plan)
      say(JSON.stringify(one))
      return one
    })
    if (!few || !many) throw new Error('nothing was measured')
    const most = 1 + plan.percent / 100
    const flat = (['cpu', 'writes', 'renewals'] as const).every(
      (what) => many[what] / many.hosts <= (few[what] / few.hosts) * most,
    )
    return [few, many].map((one) => ({
      row: `${one.hosts} hosts, three etcd nodes`,
      measured: `${round(one.writes)} writes/s, ${round(one.renewals)} keep-alives/s, etcd ${round(one.cpu / 10)} % of a core (${round(one.cpu / one.hosts, 2)} ms/s a host), sidecars ${round(one.cores / one.hosts, 2)} ms/s a host; event to watch p50 ${round(one.p50)} p99 ${round(one.p99)} ms, ${one.lost} of ${one.events} lost`,
      must: `cost per host flat (+${plan.percent} %)`,
      holds: one.lost === 0 && flat,
    }))
  },
)
