import t from 'tap'
import { History } from '../support/history.ts'

/** What judges the fault tests must itself be able to say no. */
const container = (state: string, started?: string, id = 'c1') => ({
  key: `inventory/h1/container/${id}`,
  value: JSON.stringify({ state, started }),
})
const host = (instance: string) => ({ key: 'hosts/h1', value: JSON.stringify({ instance }) })
const early = '2026-01-01T00:00:01.000000001Z'
const late = '2026-01-01T00:00:02Z'

const judge = (...revisions: { key: string; value?: string }[][]): string[] => {
  const history = new History('h1', (key) => key === 'monitor')
  for (const [index, changes] of revisions.entries())
    history.take(changes.map((change) => ({ ...change, revision: index + 1 })))
  return history.wrong
}

t.test('a history that only goes forward', async (t) => {
  const gone = { key: 'inventory/h1/container/c1' }
  t.strictSame(
    judge(
      [host('a'), container('created')],
      [container('running', early)],
      [container('paused', early)],
      [container('running', early)],
      [container('exited', early)],
      [container('running', late)],
      [{ key: 'hosts/h1' }, gone], // the lease ended
      [host('a'), container('running', late)],
      [host('b')],
      [gone],
      [
        { key: 'monitor', value: '1' },
        { key: 'fences/sidecar/h1', value: '' },
      ],
    ),
    [],
  )
})

t.test('each way backward is found', async (t) => {
  const found = (wrong: string[], what: RegExp) => t.match(wrong, [what], String(what))
  found(judge([container('running', late)], [container('exited', early)]), /revision 2: .* returned to/)
  found(judge([container('running', late)], [container('created')]), /returned to never/)
  found(judge([container('exited', late)], [container('running', late)]), /became running without a start/)
  found(judge([container('exited', late)], [container('paused', late)]), /became paused without a start/)
  found(
    judge([container('exited', late)], [{ key: 'inventory/h1/container/c1' }], [container('exited', late)]),
    /came back exited/,
  )
  found(judge([host('a')], [host('b')], [host('a')]), /shows run a again, after b/)
  const entry = (value: string) => [{ key: 'events/h1/1-a', value }]
  found(judge(entry('{}'), entry('{"x":1}')), /was \{\}, and became/)
  for (const key of [
    'hosts/h10',
    'inventory/h/container/c1',
    'services/web/h10:c:80',
    'vsms/h1/h2',
    'alive/h1',
  ])
    found(judge([{ key, value: '{}' }]), /is not this host's/)
})
