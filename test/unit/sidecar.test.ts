import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import type { Container } from '../../docker/inspect.ts'
import { until } from '../../process/backoff.ts'
import { Failure } from '../../process/failure.ts'
import { readFlags, readSettings } from '../../process/settings.ts'
import { readCollection } from '../../registry/collections.ts'
import { encode } from '../../registry/keys.ts'
import { sidecarOf } from '../../registry/owner.ts'
import type { Host } from '../../registry/records.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { claimHost } from '../../sidecar/claim.ts'
import { labelFilter } from '../../sidecar/labels.ts'
import { missingParts } from '../../sidecar/readiness.ts'
import { createRegistrations, type RegistrationRules } from '../../sidecar/registrations.ts'
import { seatOf } from '../../sidecar/seat.ts'
import { settings } from '../../sidecar/settings.ts'
import { ObjectTracker } from '../../sidecar/tracker.ts'
import { bind, container, foreign, ours } from '../support/containers.ts'

const at = { host: 'h1', address: '10.9.9.9', addresses: ['10.9.9.9'] }
const rules: RegistrationRules = {
  services: {
    from: 'published',
    networks: [],
    addressLabel: undefined,
    unhealthy: 'mark',
    paused: 'withdraw',
  },
  labels: labelFilter(['*']),
}

const host: Host = {
  ...at,
  engine: { version: '1', os: 'l', arch: 'a', kernel: 'k', storage: 's' },
  versions: { sidecar: '1' },
  capacity: { cpus: 1, memory: 1 },
  instance: 'run-1',
  since: '2026-01-01T00:00:00Z',
}
const snapshot = (...containers: Container[]) => ({
  containers: new Map(containers.map((one) => [one.id, one])),
  volumes: new Map([['v', { name: 'v', driver: 'local', scope: 'local', labels: {} }]]),
  images: [{ id: 'sha256:1', tags: [], size: 1, created: '2026-01-01T00:00:00Z' }],
  networks: [{ id: 'n', name: 'bridge', driver: 'bridge', scope: 'local', subnets: [] }],
  plugins: [{ id: 'p', name: 'openebs:latest', enabled: true, reference: 'x' }],
})

t.test('what a snapshot makes the registry hold', async (t) => {
  const web = container({
    id: 'w'.repeat(64),
    name: 'web',
    bindings: bind('18080:80'),
    environment: ['SECRET=s3cret'],
  })
  const { desired, refused } = createRegistrations(rules)(
    snapshot(web, ours(), foreign({ id: 'f'.repeat(64), name: 'demo' })),
    host,
    () => undefined,
  )
  t.strictSame([...desired.keys()].sort(), [
    'hosts/h1',
    `inventory/h1/container/${ours().id}`,
    `inventory/h1/container/${'f'.repeat(64)}`,
    `inventory/h1/container/${'w'.repeat(64)}`,
    'inventory/h1/image/sha256:1',
    'inventory/h1/network/n',
    'inventory/h1/plugin/p',
    'inventory/h1/volume/v',
    'services/web/h1:web:80',
    'vsms/demo/h1',
  ])
  t.match(
    desired.get('vsms/demo/h1'),
    /"volume":"demo"/,
    'our volume keeps its name against a container of that name',
  )
  t.strictSame([...refused], [])
  t.notMatch([...desired.values()].join(), /s3cret/, 'no environment in the registry')
})

t.test('one record that does not fit keeps no other out', async (t) => {
  const odd = container({ id: 'o'.repeat(64), created: 'yesterday' })
  const { desired, refused } = createRegistrations(rules)(snapshot(odd, container()), host, () => undefined)
  t.strictSame([...refused.keys()], [`inventory/h1/container/${odd.id}`])
  t.ok(desired.has(`inventory/h1/container/${container().id}`))
})

t.test(
  'whatever Docker has, it stays within the keys of its host, and a second pass equals the first',
  async () => {
    const name = fc.string({ unit: 'grapheme', minLength: 1 })
    const containers = fc.array(
      fc.record({
        id: fc.stringMatching(/^[0-9a-f]{8}$/),
        name,
        image: name,
        state: fc.constantFrom('running', 'exited', 'paused' as const),
        labels: fc.dictionary(
          fc.constantFrom('openebs.role', 'openebs.volume', 'SERVICE_NAME', 'vsm.openebs.io/volume-size'),
          fc.constantFrom('target', 'a/b', '%2F', '../x', '7'),
        ),
        bindings: fc.constantFrom(bind(), bind('1:3260'), bind('1:80', '2:81/udp', '3:82/sctp')),
      }),
    )
    const sorted = (records: ReadonlyMap<string, string>) =>
      JSON.stringify([...records].sort(([a], [b]) => (a < b ? -1 : 1)))
    fc.assert(
      fc.property(containers, containers, (one, other) => {
        const register = createRegistrations(rules)
        const before = one.map((change) => container(change))
        // some stay as they are, the very same ones, and some go
        const after = [...before.slice(1), ...other.map((change) => container(change))]
        return [before, before, after].every((all) => {
          const { desired } = register(snapshot(...all), host, () => undefined)
          const fresh = createRegistrations(rules)(snapshot(...all), host, () => undefined)
          return [...desired.keys()].every(sidecarOf('h1').owns) && sorted(desired) === sorted(fresh.desired)
        })
      }),
    )
  },
)

t.test('another address is in every record at once', async (t) => {
  const register = createRegistrations(rules)
  const now = snapshot(container({ bindings: bind('18080:80') }))
  register(now, host, () => undefined)
  const moved = register(now, { ...host, address: '10.2.2.2', addresses: ['10.2.2.2'] }, () => undefined)
  t.match(moved.desired.get('services/web/h1:c1:80'), /"address":"10.2.2.2"/)
})

t.test('an object marked while it is looked at is looked at again', async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  let truth = 'old'
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let looks = 0
  const told: number[] = []
  const tracker = new ObjectTracker({
    look: async () => {
      const seen = truth
      await gates[looks++]?.promise
      if (seen === 'gone') throw new Failure('not-found', 'no such container')
      return seen
    },
    changed: () => told.push(looks),
    failed: () => {},
    signal: stop.signal,
  })
  tracker.mark('x')
  truth = 'new'
  tracker.mark('x')
  tracker.mark('x')
  t.equal(looks, 1, 'one look at a time')
  gates[0]?.resolve()
  await turn() // before any timer
  t.strictSame([tracker.objects.get('x'), looks], ['old', 1], 'what it found goes first')
  gates[1]?.resolve()
  t.ok(await until(() => tracker.objects.get('x') === 'new' || undefined, { ms: 5000, every: 5 }))
  t.equal(looks, 2, 'two marks, one more look')
  t.strictSame(told, [1, 2], 'what the first has found is told before the second begins')
  truth = 'gone'
  tracker.mark('x')
  await sleep(1)
  t.strictSame([tracker.objects.has('x'), tracker.pending], [false, 0])
})

t.test('a look that fails is repeated, and counts as pending', async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  let looks = 0
  const tracker = new ObjectTracker({
    look: async () => {
      if (looks++ === 0) throw new Failure('unavailable', 'no answer')
      return 'there'
    },
    changed: () => {},
    failed: () => {},
    signal: stop.signal,
  })
  tracker.mark('x')
  await sleep(1)
  t.equal(tracker.pending, 1)
  await sleep(250)
  t.strictSame([tracker.objects.get('x'), tracker.pending], ['there', 0])
})

t.test('what waited at first has been looked at, though more always waits', async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const gates: Record<string, PromiseWithResolvers<void>> = {}
  const tracker = new ObjectTracker({
    look: async (id) => {
      gates[id] = Promise.withResolvers()
      await gates[id].promise
      return id
    },
    changed: () => {},
    failed: () => {},
    signal: stop.signal,
    atOnce: 2,
  })
  for (const id of ['a', 'b', 'c']) tracker.mark(id)
  tracker.owe()
  tracker.mark('later')
  t.equal(tracker.owed, 3, 'those that are looked at, and those that wait')
  gates.a?.reject(new Failure('not-found', 'gone'))
  gates.b?.reject(new Failure('unavailable', 'no answer'))
  await sleep(1)
  t.equal(tracker.owed, 2, 'a look that failed does not count, one that found nothing does')
  gates.c?.resolve()
  gates.later?.resolve()
  t.ok(await until(() => tracker.owed === 1 || undefined, { ms: 5000, every: 5 }))
  const again = gates.b
  t.ok(await until(() => gates.b !== again || undefined, { ms: 5000, every: 5 }), 'it is repeated')
  tracker.mark('later')
  gates.b?.resolve()
  await sleep(1)
  t.strictSame([tracker.owed, tracker.pending], [0, 1])
})

t.test('a host has one sidecar', async (t) => {
  const never = new AbortController().signal
  const stand = async (other?: Partial<Host>) => {
    const store = new MemoryStore()
    const lease = await store.grant(60)
    const late = await store.grant(60)
    if (other) {
      const value = encode('hosts', { ...host, ...other })
      await store.apply([{ kind: 'put', key: 'hosts/h1', value, guard: 'absent', lease: late }])
    }
    return {
      store,
      lease: { ...lease, id: lease.id, ttl: 0.1, keepAlive: lease.keepAlive, revoke: lease.revoke },
      late,
    }
  }
  const heard: string[] = []
  const claim = (s: Awaited<ReturnType<typeof stand>>, seat?: string) =>
    claimHost(
      { store: s.store, lease: s.lease, signal: never },
      { ...host, ...(seat && { seat }) },
      (why) => heard.push(why),
      { every: 10, patience: 300 },
    )

  const free = await stand()
  t.strictSame(await claim(free), { inherited: false }, 'a free host')
  t.strictSame(await claim(free), { inherited: true }, 'our own record')
  const taken = await stand({ instance: 'run-0', seat: 's' })
  t.strictSame(await claim(taken, 's'), { inherited: true }, 'a dead run on our seat')
  t.match((await taken.store.read('hosts/h1')).entries[0]?.value, /run-1/)
  const left = await stand({ instance: 'run-0', seat: 'other', left: true })
  t.ok(await claim(left, 's'), 'a run that has left its records')
  t.notMatch((await left.store.read('hosts/h1')).entries[0]?.value, /left/, 'which are not left any more')
  const dying = await stand({ instance: 'run-0', seat: 'other' })
  setTimeout(() => void dying.late.revoke(), 100)
  t.strictSame(await claim(dying, 's'), { inherited: false }, 'a killed run, once its lease has ended')
  t.match(heard.at(-1), /host h1 is held by another run \(run-0/)
  const living = await stand({ instance: 'run-0' })
  await t.rejects(claim(living), {
    kind: 'invalid',
    message: /another sidecar serves host h1 .*OPENEBS_HOST/,
  })
})

t.test('a seat names a port of this network namespace', async (t) => {
  t.match(seatOf({ host: '127.0.0.1', port: 9190 }), /net:\[\d+\] 127.0.0.1:9190$/)
  t.equal(seatOf({ host: '127.0.0.1', port: 0 }), undefined)
  t.equal(seatOf({ socket: '/run/x.sock' }), undefined)
})

t.test('readiness names what is missing', async (t) => {
  const standing = {
    docker: { kind: 'watching', since: 0 } as const,
    endpoint: 'unix:///x',
    unseen: new Set<string>(),
    reconciler: { kind: 'publishing', lag: () => 0, trouble: () => undefined } as const,
    refused: new Map<string, string>(),
  }
  t.strictSame(missingParts(standing), [])
  t.match(missingParts({ ...standing, docker: { kind: 'connecting', reason: 'ENOENT' } }), [
    /unix:\/\/\/x: ENOENT/,
  ])
  t.match(missingParts({ ...standing, unseen: new Set(['volume']) }), [/not looked at yet: volume/])
  t.match(missingParts({ ...standing, reconciler: undefined }), [/name is not known/])
  t.match(missingParts({ ...standing, reconciler: { kind: 'waiting', reason: 'no lease' } }), [/no lease/])
  t.match(
    missingParts({
      ...standing,
      reconciler: { kind: 'publishing', lag: () => 9000, trouble: () => 'no space' },
    }),
    [/behind by 9 s: no space/],
  )
  t.match(missingParts({ ...standing, refused: new Map([['k', 'bad']]) }), [/k cannot be written: bad/])
})

t.test('a collection is served with what cannot be read', async (t) => {
  const store = new MemoryStore()
  await store.apply([
    { kind: 'put', key: 'hosts/h1', value: encode('hosts', host), guard: 'absent' },
    { kind: 'put', key: 'hosts/h2', value: 'oops', guard: 'absent' },
  ])
  const { records, unreadable } = await readCollection(store, 'hosts')
  t.strictSame(records, [{ key: 'hosts/h1', record: host }])
  t.match(unreadable, [{ key: 'hosts/h2', reason: /holds no JSON/ }])
})

t.test('settings come as variables and as flags', async (t) => {
  t.strictSame(readFlags(settings, ['--log-level', 'debug', '--docker-host=unix:///x']), {
    OPENEBS_LOG_LEVEL: 'debug',
    DOCKER_HOST: 'unix:///x',
  })
  t.throws(() => readFlags(settings, ['--bogus', '1']), { kind: 'invalid', message: /--bogus[\s\S]*--store/ })
  t.throws(() => readFlags(settings, ['stray']), { message: /stray/ })
  const bad = {
    OPENEBS_HOST: 'a:b',
    OPENEBS_LISTEN: 'x',
    OPENEBS_TTL: '1',
    OPENEBS_ADDRESS: 'h1.example.com',
  }
  for (const name of Object.keys(bad))
    t.throws(() => readSettings(settings, bad), { message: new RegExp(name) }, `${name} is named`)
})
