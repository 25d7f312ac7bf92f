import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { PublisherHooks } from '../registry/publisher.ts'
import type { GuardState } from '../registry/records.ts'
import type { LeaseTimes } from '../registry/session.ts'
import type { StoreCall } from '../registry/timed-store.ts'
import type { JournalHooks } from './journal.ts'

/** What /metrics shows that is counted as it happens; gauges are read when asked. */
export interface Metrics {
  readonly registry: Registry
  readonly events: Counter<'type'>
  readonly resyncs: Counter
  readonly probes: Counter<'health'>
  readonly publisher: PublisherHooks
  /** The same for views and other registries, of one kind: their keys begin with names of users'. */
  readonly outlets: PublisherHooks
  readonly journal: JournalHooks
  readonly storeCall: (call: StoreCall, ms: number) => void
}

export interface Gauges {
  connected(): boolean
  /** Number of objects by type. */
  objects(): Record<string, number>
  /** Objects that wait for a look. */
  pending(): number
  /** Number of records by collection. */
  records(): Record<string, number>
  /** Number of VSMs by their health. */
  vsms(): Record<string, number>
  refused(): number
  /** Entries of the journal that wait for the store, and that it has. */
  journal(): { readonly waiting: number; readonly kept: number }
  /** Of this host's plugin. */
  guard(): GuardState | undefined
  /** By view: seconds that it is behind, and how many entries its layout cannot carry. */
  outletLags(): Record<string, number>
  outletRefusals(): Record<string, number>
  /** ms that the registry is behind. */
  lag(): number
  lease(): LeaseTimes | undefined
}

export const createMetrics = (gauges: Gauges): Metrics => {
  const registry = new Registry()
  const registers = [registry]
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `openebs_${name}`,
      help,
      registers,
      collect() {
        this.set(read())
      },
    })
  const gaugeBy = (label: string, name: string, help: string, read: () => Record<string, number>) =>
    new Gauge({
      name: `openebs_${name}`,
      help,
      registers,
      labelNames: [label],
      collect() {
        this.reset() // what there is none of any more must not stay as it was
        for (const [value, count] of Object.entries(read())) this.set({ [label]: value }, count)
      },
    })
  gauge('docker_connected', 'Whether the event stream of the Docker Engine is open', () =>
    Number(gauges.connected()),
  )
  gaugeBy('type', 'docker_objects', 'Objects of the Docker Engine as last looked at', gauges.objects)
  gauge('docker_pending', 'Objects that wait to be looked at', gauges.pending)
  gaugeBy('collection', 'records', 'Records of this host that are wanted in the registry', gauges.records)
  gaugeBy('health', 'vsms', 'VSMs of this host by their health', gauges.vsms)
  const one = (value: string | undefined) => (value === undefined ? {} : { [value]: 1 })
  gaugeBy('mode', 'guard', "What the guard of this host's plugin does with denials", () =>
    one(gauges.guard()?.mode),
  )
  gaugeBy('state', 'guard_policy', 'What became of the policy in the registry', () =>
    one(gauges.guard()?.policy),
  )
  gauge(
    'records_refused',
    'Records that cannot be written because they do not fit their schema',
    gauges.refused,
  )
  gaugeBy('view', 'view_lag_seconds', 'For how long a view has been behind', gauges.outletLags)
  gaugeBy('view', 'view_refused', 'Entries that the layout of a view cannot carry', gauges.outletRefusals)
  gauge('registry_lag_seconds', 'For how long the registry has been behind', () => gauges.lag() / 1000)
  const age = (since: number | undefined) => (since === undefined ? 0 : (performance.now() - since) / 1000)
  gauge('lease_age_seconds', 'Since the lease was granted; 0 without one', () => age(gauges.lease()?.granted))
  gauge('lease_renewed_seconds', 'Since the lease was granted or last renewed; 0 without one', () =>
    age(gauges.lease()?.renewed),
  )
  gauge('resident_memory_bytes', 'Memory of this process', () => process.memoryUsage.rss())

  gauge('journal_queue', 'Entries of the journal that are not written yet', () => gauges.journal().waiting)
  gauge('journal_entries', 'Entries of the journal that the registry has', () => gauges.journal().kept)

  const dropped = new Counter({
    name: 'openebs_events_dropped_total',
    help: 'Events that the journal had no room for, or that the store refused',
    registers,
  })
  const gaps = new Counter({
    name: 'openebs_events_gaps_total',
    help: 'Times that events may be missing in the journal, as it says itself',
    registers,
  })
  const countByKind = (name: string, help: string) => {
    const counter = new Counter({
      name: `openebs_registry_${name}_total`,
      help,
      labelNames: ['kind'],
      registers,
    })
    return (keys: readonly string[]) => {
      for (const kind of keys.map(collectionOf)) counter.inc({ kind })
    }
  }
  const changes = countByKind('changes', 'Records written or deleted')
  const retries = countByKind(
    'retries',
    'Kinds of records that a pass failed at for want of the store or the lease',
  )
  const conflicts = countByKind('conflicts', 'Records that another hand had changed, and that were put right')
  const calls = new Histogram({
    name: 'openebs_store_call_seconds',
    help: 'Duration of calls of the store',
    labelNames: ['call'],
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 5],
    registers,
  })
  const settle = new Histogram({
    name: 'openebs_registry_settle_seconds',
    help: 'From a change of the host to the registry being equal to it',
    buckets: [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 2, 5, 15, 60],
    registers,
  })
  const pass = new Histogram({
    name: 'openebs_registry_pass_seconds',
    help: 'Duration of a pass: comparing all that is wanted with the registry, and writing the difference',
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5],
    registers,
  })
  const view = (of: readonly unknown[]) => of.map(() => 'view/')
  const timed: PublisherHooks = {
    passed: (ms) => pass.observe(ms / 1000),
    settled: (ms) => settle.observe(ms / 1000),
  }
  return {
    registry,
    events: new Counter({
      name: 'openebs_docker_events_total',
      help: 'Events of the Docker Engine',
      labelNames: ['type'],
      registers,
    }),
    resyncs: new Counter({
      name: 'openebs_docker_resyncs_total',
      help: 'Times that events may have been missed and all was listed anew',
      registers,
    }),
    probes: new Counter({
      name: 'openebs_vsm_probes_total',
      help: 'Portals asked, by their answer',
      labelNames: ['health'],
      registers,
    }),
    journal: { dropped: () => dropped.inc(), gap: () => gaps.inc() },
    publisher: {
      written: (done) => changes(done.map(({ key }) => key)),
      retried: (keys) => retries([...new Map(keys.map((key) => [collectionOf(key), key])).values()]),
      conflicted: conflicts,
      ...timed,
    },
    outlets: {
      written: (done) => changes(view(done)),
      retried: () => retries(['view/']),
      conflicted: (keys) => conflicts(view(keys)),
      ...timed,
    },
    storeCall: (call, ms) => calls.observe({ call }, ms / 1000),
  }
}

/** The collection that a key or a prefix is of. */
const collectionOf = (key: string): string => key.slice(0, key.indexOf('/'))
