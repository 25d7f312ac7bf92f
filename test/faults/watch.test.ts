import t from 'tap'
import { until } from '../../process/backoff.ts'
import type { Change, Store } from '../../registry/store.ts'
import { openEtcd } from '../../registry/stores/etcd.ts'
import { EventReader } from '../support/event-reader.ts'
import { servicePut } from '../support/records.ts'
import { type Fault, testFaults } from './run.ts'
import type { Stage } from './stage.ts'

/** Those who follow the registry, by our store or by a sidecar's /v1/watch, are cut off while much changes. */
const written = 300
const prefix = 'services/lost/'

/** The same record of another host again and again, each time with another port. */
const change = (port: number): Change => servicePut('lost', 'elsewhere', { port })

/** The ports that were seen, by each of the two ways. */
let byStore: number[] = []
let byStream: EventReader
let stop = new AbortController()
let writer: Store
let cuts = 0

const streamed = (): number[] =>
  byStream.messages.flatMap(({ event, data }) =>
    event === 'put' ? [(data.record as { port: number }).port] : [],
  )

const follow = async (stage: Stage): Promise<void> => {
  const store = await openEtcd({ uri: stage.settings.OPENEBS_STORE ?? '', limit: 1000 })
  const { revision } = await store.read(prefix)
  const seen: number[] = []
  byStore = seen
  const ending = new AbortController()
  stop = ending
  const { signal } = ending
  const following = (async () => {
    for await (const batch of store.watch(prefix, revision, signal))
      for (const event of batch) if (event.kind === 'put') seen.push(JSON.parse(event.entry.value).port)
    await store.close()
  })()
  t.teardown(() => {
    ending.abort()
    return following
  })
  byStream = await EventReader.open(t, `${stage.sidecar.url}/v1/watch?prefix=${prefix}`)
  await byStream.wait((reader) => reader.count('ready') > 0)
}

const seenAll = (count: number) => byStore.length >= count && streamed().length >= count

const faults: readonly Fault[] = [
  {
    name: '300 watch events are lost',
    async prepare(stage) {
      writer = await openEtcd({ uri: stage.etcd.uri })
      await writer.apply([{ kind: 'delete', key: change(1).key, guard: 'any' }])
      await follow(stage)
      await writer.apply([change(1)])
      await until(() => seenAll(1) || undefined, { ms: 5000 })
    },
    async strike(stage) {
      for (const proxy of stage.proxies) proxy.refuse()
      for (let port = 2; port <= written + 1; port++) await writer.apply([change(port)])
    },
    proof: () =>
      byStore.length === 1 && streamed().length === 1
        ? `${written} writes, of which neither reader has seen one`
        : undefined,
    // they come back while the history is on its way, and are cut off again, twice
    async mend({ proxies: [proxy], random }) {
      cuts = 0
      for (const bytes of [random.int(1000, 5000), random.int(10_000, 60_000)]) {
        const before = proxy?.cuts ?? 0
        proxy?.cutAfter(bytes)
        proxy?.open()
        await until(() => (proxy?.cuts ?? 0) > before || undefined, { ms: 10_000, every: 5 })
        cuts += (proxy?.cuts ?? 0) - before
      }
      proxy?.open()
    },
    async after(_, t) {
      await until(() => seenAll(written + 1) || undefined, { ms: 10_000 })
      const all = Array.from({ length: written + 1 }, (_, index) => index + 1)
      t.equal(cuts, 2, 'the connections were dropped twice more')
      t.strictSame(byStore, all, 'the watch of the store showed each, in order')
      t.strictSame(streamed(), all, 'and so did /v1/watch')
      stop.abort()
      byStream.close()
      await writer.close()
    },
  },
]

await testFaults(faults, { proxied: true, changedByTest: (key) => key.startsWith(prefix) })
