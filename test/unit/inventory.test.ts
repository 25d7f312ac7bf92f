import t from 'tap'
import { encode } from '../../registry/keys.ts'
import { containerRecord } from '../../sidecar/inventory.ts'
import { labelFilter } from '../../sidecar/labels.ts'
import { bind, container } from '../support/containers.ts'

const all = labelFilter(['*'])
const [started, finished] = ['2026-01-01T00:00:01Z', '2026-01-01T00:00:09Z']

t.test('a container as a record', async (t) => {
  const record = containerRecord(
    'h1',
    container({
      labels: { 'com.example.a': '1', secret: 's' },
      environment: ['SERVICE_NAME=x'],
      networks: [{ name: 'net', ipv4: '172.20.0.2', ipv6: 'fd00::2' }, { name: 'bridge' }],
      exposed: [{ port: 36412, protocol: 'sctp' }],
      bindings: bind('[::]:18080:80'),
      volumes: ['b', 'a'],
      health: 'healthy',
      finishedAt: '2025-01-01T00:00:00Z',
    }),
    labelFilter(['com.example.*']),
  )
  t.strictSame(record, {
    kind: 'container',
    host: 'h1',
    id: container().id,
    name: 'c1',
    image: 'web:1',
    state: 'running',
    health: 'healthy',
    labels: { 'com.example.a': '1' },
    networks: [{ name: 'bridge' }, { name: 'net', ipv4: '172.20.0.2', ipv6: 'fd00::2' }],
    ports: [{ port: 80, protocol: 'tcp', hostAddress: '::', hostPort: 18080 }],
    exposed: [{ port: 36412, protocol: 'sctp' }],
    volumes: ['a', 'b'],
    created: '2026-01-01T00:00:00Z',
    started,
  })
  t.doesNotThrow(() => encode('inventory', record))
})

t.test('what a record says of a run, by state', async (t) => {
  const says = (change: Parameters<typeof container>[0]) => {
    const record = containerRecord('h1', container({ health: 'healthy', exitCode: 3, ...change }), all)
    encode('inventory', record)
    const { exitCode, health, started, finished } = record as Record<string, unknown>
    return { exitCode, health, started, finished }
  }
  const none = { exitCode: undefined, health: 'none', started, finished }
  const ended = { finishedAt: finished }
  t.strictSame(says({ state: 'created', startedAt: '' }), {
    ...none,
    started: undefined,
    finished: undefined,
  })
  for (const state of ['running', 'paused'] as const)
    t.strictSame(
      says({ state, ...ended }),
      { ...none, health: 'healthy', finished: undefined },
      `${state}: it ended once, before this run`,
    )
  for (const state of ['restarting', 'removing'] as const)
    t.strictSame(says({ state, ...ended }), none, state)
  for (const state of ['exited', 'dead'] as const)
    t.strictSame(says({ state, ...ended }), { ...none, exitCode: 3 }, state)
})
