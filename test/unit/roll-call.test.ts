import t from 'tap'
import { Container } from '../../docker/inspect.ts'
import { RollCall } from '../../docker/roll-call.ts'

const id = (n: number) => String(n).padStart(64, 'a')
const started = Date.parse('2026-01-01T00:00:00Z')
const minute = 60_000

const container = (n: number, running = true) =>
  Container.parse({
    Id: id(n),
    Name: `/c${n}`,
    Created: '2026-01-01T00:00:00Z',
    State: {
      Status: running ? 'running' : 'exited',
      Running: running,
      ExitCode: 0,
      StartedAt: '2026-01-01T00:00:00Z',
      FinishedAt: '0001-01-01T00:00:00Z',
    },
    Config: { Image: 'web', Env: null, Labels: null },
    HostConfig: { NetworkMode: 'default' },
    NetworkSettings: { Networks: null, Ports: null },
    Mounts: null,
  })

const listed = (n: number, Status = 'Up 5 minutes', State = 'running') =>
  JSON.stringify({
    Id: id(n),
    Names: [`/c${n}`],
    State,
    Status,
    Ports: [],
    NetworkSettings: { Networks: {} },
  })

const known = (...containers: Container[]) => new Map(containers.map((one) => [one.id, one]))
const now = started + 5.5 * minute

t.test('who is as known need not be looked at; who is new, changed or gone is', async (t) => {
  const rolls = new RollCall()
  const all = known(container(1), container(2), container(3))
  t.equal(rolls.call(Buffer.from(listed(1)), all, now), undefined)
  t.equal(rolls.call(Buffer.from(listed(2, 'Exited (0) 1 second ago', 'exited')), all, now), id(2), 'changed')
  t.equal(rolls.call(Buffer.from(listed(4)), all, now), id(4), 'new')
  t.strictSame(rolls.end(all), [id(3)], 'gone')
  t.strictSame(rolls.end(known()), [], 'each list is one of its own')
})

t.test('the same words again are read again only where they would mean another thing', async (t) => {
  const rolls = new RollCall()
  const [one] = [container(1)]
  const ask = (text: string, all = known(one), at = now) => {
    const answer = rolls.call(Buffer.from(text), all, at)
    rolls.end(all)
    return answer
  }
  t.equal(ask(listed(1)), undefined)
  t.equal(ask(listed(1)), undefined, 'again')
  t.equal(ask(listed(1), known(one), now + 10 * minute), id(1), 'it has started anew meanwhile')
  t.equal(ask(listed(1)), undefined)
  t.equal(ask(listed(1), known(container(1, false))), id(1), 'what is known is another thing now')
  t.equal(ask(listed(1, 'Up 5 minutes (Paused)', 'paused')), id(1), 'other words')
  t.equal(ask(listed(1).replace('{"Id"', '{ "Id"')), undefined, 'an engine that writes its JSON otherwise')
  t.throws(() => ask('{"Id":5}'), /cannot be read/)
})
