import t from 'tap'
import { createMetrics } from '../../sidecar/metrics.ts'

t.test('a gauge does not go on with what there is none of any more', async (t) => {
  let records: Record<string, number> = { services: 2, hosts: 1 }
  const { registry } = createMetrics({
    connected: () => true,
    objects: () => ({}),
    pending: () => 0,
    records: () => records,
    refused: () => 0,
    journal: () => ({ waiting: 0, kept: 0 }),
    lag: () => 0,
    lease: () => undefined,
  })
  t.match(await registry.metrics(), 'openebs_records{collection="services"} 2')
  records = { hosts: 1 }
  const text = await registry.metrics()
  t.notMatch(text, 'collection="services"')
  t.match(text, 'openebs_records{collection="hosts"} 1')
})
