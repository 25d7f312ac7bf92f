import t from 'tap'
import { until } from '../../process/backoff.ts'
import type { GuardState } from '../../registry/records.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { GuardView } from '../../sidecar/guard-view.ts'
import { createMetrics } from '../../sidecar/metrics.ts'
import * as put from '../support/records.ts'

/** What the sidecar tells of the guard of its host's plugin. */
t.test('a refused policy is told of as long as it is refused', async (t) => {
  const store = new MemoryStore()
  const warned: string[] = []
  const view = new GuardView({ warn: (_: object, text?: string) => void warned.push(text ?? '') } as never)
  const { registry } = createMetrics({
    connected: () => true,
    objects: () => ({}),
    pending: () => 0,
    records: () => ({}),
    vsms: () => ({}),
    refused: () => 0,
    journal: () => ({ waiting: 0, kept: 0 }),
    guard: () => view.state,
    outletLags: () => ({}),
    outletRefusals: () => ({}),
    lag: () => 0,
    lease: () => undefined,
  })
  const lines = async () =>
    (await registry.metrics())
      .split('\n')
      .filter((line) => line.startsWith('openebs_guard'))
      .join(' ')
  const becomes = async (policy: GuardState['policy'] | undefined) =>
    t.ok(await until(() => view.state?.policy === policy || undefined, { ms: 5000, every: 5 }), `${policy}`)
  const stop = new AbortController()
  const running = view.run(store, 'h1', stop.signal)
  t.teardown(async () => {
    stop.abort()
    await running
  })
  const guard = { mode: 'enforce', reach: 'ancestors', policy: 'in force' } as const
  await store.apply([put.alivePut('h1', { guard })])
  await becomes('in force')
  t.strictSame(view.warnings, [])
  t.equal(await lines(), 'openebs_guard{mode="enforce"} 1 openebs_guard_policy{state="in force"} 1')
  const reason = 'the policy is refused: Unrecognized key: "modes"'
  await store.apply([put.alivePut('h1', { guard: { ...guard, policy: 'refused', reason } })])
  await becomes('refused')
  t.strictSame(view.warnings, [
    `the guard refuses the policy in the registry and goes on by what it had: ${reason}`,
  ])
  t.match(await lines(), 'openebs_guard_policy{state="refused"} 1')
  await store.apply([put.alivePut('h2', { guard: { ...guard, policy: 'none' } })])
  await store.apply([put.raw('alive/h1', 'oops')])
  await becomes(undefined)
  t.strictSame(warned, ['how the guard stands cannot be read'])
  await store.apply([put.alivePut('h1', { guard })])
  await becomes('in force')
  await store.apply([put.removal('alive/h1')])
  await becomes(undefined)
  t.equal(await lines(), '', 'no plugin, no guard')
})
