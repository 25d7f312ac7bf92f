import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { afterDeath } from '../../docker/death.ts'
import type { EngineEvent } from '../../docker/events.ts'
import type { Container } from '../../docker/inspect.ts'
import { until } from '../../process/backoff.ts'
import { ObjectTracker } from '../../sidecar/tracker.ts'
import { bind, container } from '../support/containers.ts'

const second = 1_000_000_000n
const epoch = BigInt(Date.parse('2026-01-01T00:00:00Z')) * 1_000_000n
/** An instant that many nanoseconds after the epoch of these tests, as the daemon writes it. */
const instant = (nano: bigint): string => {
  const at = epoch + nano
  const fraction = String(at % second).padStart(9, '0')
  return `${new Date(Number(at / second) * 1000).toISOString().slice(0, 19)}.${fraction}Z`
}
const die = (nano: bigint, change: Partial<EngineEvent> = {}): EngineEvent => ({
  type: 'container',
  action: 'die',
  id: container().id,
  timeNano: String(epoch + nano),
  attributes: { exitCode: '137', name: 'c1', image: 'web:1' },
  ...change,
})

t.test('a container that dies has ended at once, by the event alone', async (t) => {
  const running = container({
    startedAt: instant(5n),
    finishedAt: instant(1n),
    bindings: bind('18080:80'),
    labels: { a: 'b' },
    healthOutput: 'ok',
  })
  t.strictSame(afterDeath(running, die(6n)), {
    ...running,
    state: 'exited',
    exitCode: 137,
    finishedAt: '',
    healthOutput: '',
    networks: [{ name: 'bridge' }],
    bindings: [],
  })
  t.equal(afterDeath({ ...running, state: 'paused' }, die(6n))?.state, 'exited')
  const nothing: [string, Container, EngineEvent][] = [
    ['the death of the run before', running, die(4n)],
    ['in the nanosecond of the start', running, die(5n)],
    ['of another container', running, die(6n, { id: 'x' })],
    ['of something else', running, die(6n, { type: 'volume' })],
    ['the end of an exec', running, die(6n, { action: 'exec_die' })],
    ['without an exit status', running, die(6n, { attributes: {} })],
    ['one that has not been seen to start', container({ startedAt: '' }), die(6n)],
  ]
  for (const state of ['created', 'restarting', 'removing', 'exited', 'dead'] as const)
    nothing.push([state, { ...running, state }, die(6n)])
  for (const [what, known, event] of nothing) t.equal(afterDeath(known, event), undefined, what)
})

t.test('a death that comes late or again never ends a later run', async () => {
  // runs start and end alternately, at rising times; deaths are replayed in any order
  const steps = fc.array(fc.bigInt({ min: 1n, max: 3n * second }), { minLength: 4, maxLength: 10 })
  fc.assert(
    fc.property(steps, fc.nat(), fc.nat(), (steps, seen, dead) => {
      let now = 0n
      const times = steps.map((step) => (now += step))
      const runs = times.filter((_, index) => index % 2 === 0)
      const ends = times.filter((_, index) => index % 2 === 1)
      const [run, end] = [seen % runs.length, dead % ends.length]
      const known = container({ startedAt: instant(runs[run] ?? 0n) })
      const after = afterDeath(known, die(ends[end] ?? 0n))
      return (after !== undefined) === end >= run
    }),
  )
})

t.test('what is known meanwhile beats a look that began before', async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const looks: PromiseWithResolvers<string>[] = []
  const heard: boolean[] = []
  const tracker = new ObjectTracker<string>({
    look: () => {
      const look = Promise.withResolvers<string>()
      looks.push(look)
      return look.promise
    },
    changed: (differs) => heard.push(differs),
    failed: () => {},
    signal: stop.signal,
  })
  const answer = async (text: string) => {
    looks.at(-1)?.resolve(text)
    await sleep(1)
  }
  tracker.amend('x', () => 'dead')
  t.equal(tracker.objects.size, 0, 'nothing is known of it yet')
  tracker.mark('x')
  await answer('running')
  tracker.mark('x')
  tracker.amend('x', () => undefined)
  t.equal(tracker.objects.get('x'), 'running', 'nothing new')
  tracker.amend('x', (object) => `${object}, then dead`)
  t.equal(tracker.objects.get('x'), 'running, then dead', 'at once')
  await answer('running')
  t.equal(tracker.objects.get('x'), 'running, then dead', 'never back')
  t.ok(await until(() => looks.length === 3 || undefined, { ms: 5000, every: 5 }), 'it is looked at again')
  await answer('gone soon')
  t.strictSame([tracker.objects.get('x'), looks.length, tracker.pending], ['gone soon', 3, 0])
  t.strictSame(heard, [true, true, true, true])
})

t.test('an object that looks as before stays the same, and changes nothing', async (t) => {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const heard: boolean[] = []
  const tracker = new ObjectTracker<Container>({
    look: async () => container({ labels: { a: 'b' } }),
    changed: (differs) => heard.push(differs),
    failed: () => {},
    signal: stop.signal,
  })
  tracker.mark('x')
  await sleep(1)
  const first = tracker.objects.get('x')
  tracker.mark('x')
  await sleep(1)
  t.equal(tracker.objects.get('x'), first)
  t.strictSame(heard, [true, false])
})
