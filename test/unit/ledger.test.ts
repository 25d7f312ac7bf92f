import fc from 'fast-check'
import t from 'tap'
import { Failure } from '../../process/failure.ts'
import { type Entries, Ledger } from '../../sidecar/ledger.ts'

interface Thing {
  readonly keys: readonly string[]
  readonly text: string
}

const entriesOf = ({ keys, text }: Thing): Entries =>
  keys.map((key) => [
    key,
    () => {
      if (text === 'odd') throw new Failure('invalid', 'it does not fit')
      return text
    },
  ])

const pass = (ledger: Ledger, things: readonly Thing[]) => {
  ledger.begin()
  for (const thing of things) ledger.keep(thing, entriesOf)
  ledger.end()
  const sorted = (map: ReadonlyMap<string, string>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([sorted(ledger.desired), sorted(ledger.refused)])
}

t.test('whatever comes, goes and claims the same key: a pass equals one from scratch', async (t) => {
  const thing = fc.record({
    keys: fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { maxLength: 2 }),
    text: fc.constantFrom('1', '2', 'odd'),
  })
  const passes = fc
    .array(thing, { minLength: 1, maxLength: 8 })
    .chain((things) => fc.array(fc.shuffledSubarray(things), { maxLength: 8 }))
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(passes, (all) => {
        const ledger = new Ledger()
        return all.every((things) => pass(ledger, things) === pass(new Ledger(), things))
      }),
      { numRuns: 2000 },
    ),
  )
})

t.test('what has not changed is not written again', async (t) => {
  const ledger = new Ledger()
  let written = 0
  const count = (thing: Thing): Entries => {
    written += 1
    return entriesOf(thing)
  }
  const things = Array.from({ length: 100 }, (_, n) => ({ keys: [`k${n}`], text: '1' }))
  const round = () => {
    ledger.begin()
    for (const thing of things) ledger.keep(thing, count)
    ledger.end()
  }
  round()
  round()
  t.equal(written, 100)
  things[7] = { keys: ['k7'], text: '2' }
  things.pop()
  round()
  t.equal(written, 101)
  t.equal(ledger.desired.get('k7'), '2')
  t.equal(ledger.desired.size, 99)
  t.equal(ledger.has(things[7]), true)
})
