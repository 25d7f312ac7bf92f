import type { Container } from '../../docker/inspect.ts'
import { targetLabels } from '../../vsm/labels.ts'

/** Containers as inspected, for tests of what is made of them. */
export const container = (change: Partial<Container> = {}): Container => ({
  id: 'c1'.padEnd(64, '0'),
  name: 'c1',
  image: 'web:1',
  created: '2026-01-01T00:00:00Z',
  state: 'running',
  startedAt: '2026-01-01T00:00:01Z',
  finishedAt: '',
  exitCode: 0,
  health: 'none',
  healthOutput: '',
  environment: [],
  labels: {},
  networkMode: 'default',
  networks: [{ name: 'bridge', ipv4: '172.17.0.2' }],
  exposed: [],
  bindings: [],
  volumes: [],
  ...change,
})

/** "18080:80", "127.0.0.1:9:9/udp", "[::]:18080:80" -> a binding. */
export const bind = (...texts: string[]) =>
  texts.map((text) => {
    const match = /^(?:(?<address>\[.*\]|[\d.]+):)?(?<host>\d+):(?<port>\d+)(?:\/(?<protocol>\w+))?$/.exec(
      text,
    )?.groups
    return {
      port: Number(match?.port),
      protocol: match?.protocol ?? 'tcp',
      hostAddress: match?.address?.replace(/[[\]]/g, '') ?? '0.0.0.0',
      hostPort: Number(match?.host),
    }
  })

/** A target of ours. */
export const ours = (change: Partial<Container> = {}): Container =>
  container({
    name: 'vsm-demo',
    labels: targetLabels({ volume: 'demo', portals: ['10.9.9.9:23260'], size: 64 << 20, epoch: 1 }),
    health: 'healthy',
    bindings: bind('127.0.0.1:23260:3260'),
    ...change,
  })
/** Somebody else's. */
export const foreign = (change: Partial<Container> = {}): Container =>
  container({ name: 'san', exposed: [{ port: 3260, protocol: 'tcp' }], ...change })
