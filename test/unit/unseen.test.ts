import t from 'tap'
import { unseenKeys } from '../../sidecar/unseen.ts'

const task = '0123456789abcdefghijklmno'
const kept = {
  container: 'inventory/h1/container/c1',
  node: 'inventory/h1/node/n1',
  image: 'inventory/h1/image/i1',
  local: 'services/web/h1:web:80',
  dotted: 'services/dns/h1:my.dns:53:udp',
  ingress: `services/web/h1:web.1.${task}:80`,
  global: `services/web/h1:web.n1.${task}:53:udp`,
  vsm: 'vsms/data/h1',
  host: 'hosts/h1',
}

t.test('what has not been looked at stays as an earlier run has left it, and no more', async (t) => {
  const spared = (...missing: string[]) => {
    const spares = unseenKeys(new Set(missing))
    return Object.entries(kept).flatMap(([name, key]) => (spares(key) ? [name] : []))
  }
  t.strictSame(spared(), [])
  t.strictSame(spared('engine', 'image'), ['image'])
  t.strictSame(spared('container'), ['container', 'local', 'dotted', 'ingress', 'global', 'vsm'])
  t.strictSame(
    spared('swarm'),
    ['node', 'ingress', 'global'],
    'a swarm that does not answer, for long perhaps, says nothing of containers that are in none',
  )
})
