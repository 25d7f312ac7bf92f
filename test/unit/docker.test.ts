import { createRequire } from 'node:module'
import fc from 'fast-check'
import t from 'tap'
import {
  actions,
  type EngineEvent,
  eventKey,
  isFollowed,
  Lines,
  parseEvent,
  parseNano,
  sinceText,
} from '../../docker/events.ts'
import { type Hint, hintsOf } from '../../docker/hints.ts'

t.test('no SSH client is loaded: an engine is reached by a socket or TCP', async (t) => {
  const { connectDocker } = await import('../../docker/client.ts')
  connectDocker({ kind: 'unix', socket: '/nowhere' })
  const loaded = Object.keys(createRequire(import.meta.url).cache)
  t.ok(loaded.some((file) => file.includes('/node_modules/docker-modem/')))
  t.strictSame(
    loaded.filter((file) => /node_modules\/(ssh2\/lib\/(?!index\.js)|asn1\/)/.test(file)),
    [],
  )
})

t.test('lines come out whole, wherever the chunks end', async () => {
  const line = fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify({ text }))
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.integer({ min: 1, max: 7 })), (lines, sizes) => {
      const bytes = Buffer.from(lines.map((one) => `${one}\n`).join(''))
      const splitter = new Lines()
      const found: string[] = []
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const size = sizes[turn % sizes.length] ?? 3
        found.push(...splitter.push(bytes.subarray(at, at + size)))
        at += size
      }
      return JSON.stringify(found) === JSON.stringify(lines)
    }),
  )
})

t.test('an event keeps every digit of its time', async (t) => {
  const line = (attributes: object, nano: string) =>
    `{"status":"start","id":"c1","Type":"container","Action":"start","Actor":{"ID":"c1","Attributes":${JSON.stringify(attributes)}},"scope":"local","time":1795731744,"timeNano":${nano}}`
  const nano = '1795731744000000123'
  t.not(String(JSON.parse(line({}, nano)).timeNano), nano, 'as a number it would be another one')
  t.equal(parseEvent(line({ name: 'x' }, nano))?.timeNano, nano)
  const misleading = { timeNano: '7', label: '"timeNano":8,' }
  t.equal(parseEvent(line(misleading, nano))?.timeNano, nano, 'labels cannot forge it')
  for (const no of ['', '{', '[]', 'null', '{"message":"oops"}']) t.equal(parseEvent(no), undefined, no)
  const pruned = parseEvent(
    '{"Type":"volume","Action":"prune","Actor":{"ID":"","Attributes":null},"timeNano":1}',
  )
  t.strictSame([pruned?.id, pruned?.attributes], ['', {}])
  const event = parseEvent(line({}, nano)) as EngineEvent
  t.not(eventKey(event), eventKey({ ...event, timeNano: '1795731744000000124' }))
  t.match(eventKey(event), /^1795731744000000123-[0-9a-f]{8}$/)
  t.match(eventKey({ ...event, timeNano: '7' }), /^0000000000000000007-/, 'keys sort by time')
  const joined = { ...event, type: 'network', action: 'connect', attributes: { name: 'n', container: 'c1' } }
  t.not(eventKey(joined), eventKey({ ...joined, attributes: { name: 'n', container: 'c2' } }))
  t.equal(eventKey(joined), eventKey({ ...joined, attributes: { container: 'c1', name: 'n' } }))
})

t.test('all but noise is followed, by the daemon and by us alike', async (t) => {
  const event = (action: string): EngineEvent => ({
    type: 'container',
    action,
    id: '',
    timeNano: '1',
    attributes: {},
  })
  for (const action of ['start', 'health_status: unhealthy', 'attach', 'push', 'extract-to-dir', 'reload'])
    t.ok(isFollowed(event(action)), action)
  for (const action of [
    'exec_create: sh -c x',
    'exec_start: sh',
    'exec_die',
    'exec_detach',
    'top',
    'resize',
  ]) {
    t.notOk(isFollowed(event(action)), action)
    t.notOk(
      actions.some((followed) => action.startsWith(followed)),
      `${action} does not begin like another`,
    )
  }
})

t.test('times go to the daemon and back to the nanosecond', async (t) => {
  fc.assert(
    fc.property(fc.bigInt(0n, 4_000_000_000_999_999_999n), (nano) => {
      const [seconds = '', fraction = ''] = sinceText(nano).split('.')
      return fraction.length === 9 && BigInt(seconds) * 1_000_000_000n + BigInt(fraction) === nano
    }),
  )
  t.equal(parseNano('2026-11-26T22:22:24.436382628Z'), 1795731744436382628n)
  t.equal(parseNano('2026-11-26T22:22:24Z'), 1795731744000000000n)
  t.equal(parseNano('2026-11-27T00:22:24.5+02:00'), 1795731744500000000n)
  t.equal(parseNano('soon'), undefined)
  t.equal(sinceText(-5n), '0.000000000')
})

t.test('an event says where to look', async (t) => {
  const container: Hint = { kind: 'object', type: 'container', id: 'c1' }
  const cases: [
    type: string,
    action: string,
    id: string,
    attributes: Record<string, string>,
    hints: Hint[],
  ][] = [
    ['container', 'die', 'c1', {}, [container]],
    ['container', 'health_status: healthy', 'c1', {}, [container]],
    ['container', 'prune', '', {}, [{ kind: 'list', type: 'container' }]],
    ['container', 'commit', 'c1', {}, [{ kind: 'list', type: 'image' }]],
    ['network', 'connect', 'n1', { container: 'c1' }, [container]],
    ['network', 'create', 'n1', {}, [{ kind: 'list', type: 'network' }]],
    ['volume', 'create', 'v1', {}, [{ kind: 'object', type: 'volume', id: 'v1' }]],
    ['volume', 'mount', 'v1', { container: 'c1' }, []],
    ['volume', 'prune', '', {}, [{ kind: 'list', type: 'volume' }]],
    ['image', 'pull', 'busybox:latest', {}, [{ kind: 'list', type: 'image' }]],
    ['plugin', 'enable', 'p1', {}, [{ kind: 'list', type: 'plugin' }]],
    ['daemon', 'reload', 'd1', {}, [{ kind: 'engine' }]],
    ['builder', 'prune', '', {}, []],
    ['service', 'update', 's1', {}, [{ kind: 'list', type: 'swarm' }]],
    ['node', 'create', 'o1', {}, [{ kind: 'list', type: 'swarm' }]],
    ['secret', 'remove', 'x1', {}, [{ kind: 'list', type: 'swarm' }]],
    ['config', 'update', 'y1', {}, [{ kind: 'list', type: 'swarm' }]],
    ['network', 'remove', 'n1', {}, [{ kind: 'list', type: 'network' }]],
    ['image', 'save', 'i1', {}, []],
    ['image', 'push', 'web', {}, []],
    ['container', 'attach', 'c1', {}, []],
    ['container', 'archive-path', 'c1', {}, []],
    ['container', 'export', 'c1', {}, []],
  ]
  for (const [type, action, id, attributes, hints] of cases)
    t.strictSame(hintsOf({ type, action, id, attributes, timeNano: '1' }), hints, `${type} ${action}`)
})
