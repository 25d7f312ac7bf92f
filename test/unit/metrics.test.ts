import t from 'tap'
import { createMetrics } from '../../sidecar/metrics.ts'

t.test('a gauge does not go on with what there is none of any more', async (t) => {
  let records: Record<string, number> = { services: 2, hosts: 1 }
  const { registry } = createMetrics({
    connected: () => true,
    objects: () => ({}),
    pending: () => 0,
    records: () => records,
    vsms: () => ({ healthy: 1 }),
    refused: () => 0,
    journal: () => ({ waiting: 0, kept: 0 }),
    guard: () => undefined,
    outletLags: () => ({}),
    outletRefusals: () => ({}),
    lag: () => 0,
    lease: () => undefined,
  })
  const before = await registry.metrics()
  t.match(before, 'openebs_records{collection="services"} 2')
  t.match(before, 'openebs_vsms{health="healthy"} 1')
  records = { hosts: 1 }
  const text = await registry.metrics()
  t.notMatch(text, 'collection="services"')
  t.match(text, 'openebs_records{collection="hosts"} 1')
})
