import fc from 'fast-check'
import t from 'tap'
import { labelFilter } from '../../sidecar/labels.ts'
import { initiatorIqn, targetIqn, volumeOfIqn } from '../../vsm/iqn.ts'

t.test('a target has a name that tgt takes, and tells its volume', async (t) => {
  for (const volume of ['demo', 'app_data', 'a__b', 'initiator_h1', 'A.b-c_']) {
    const iqn = targetIqn(volume)
    t.match(iqn, /^iqn\.2016-09\.com\.openebs:[A-Za-z0-9.:-]+$/)
    t.equal(volumeOfIqn(iqn), volume)
  }
  t.equal(targetIqn('app_data'), 'iqn.2016-09.com.openebs:app::data')
  t.equal(volumeOfIqn(initiatorIqn('h1')), undefined)
})

t.test('labels pass by name and by prefix', async (t) => {
  const labels = {
    'com.example.a': '1',
    'com.example.': '2',
    'com.examples': '3',
    team: 'x',
    none: 'y',
    '*': 'z',
  }
  const cases: [patterns: string[], names: string[]][] = [
    [['*'], Object.keys(labels)],
    [['team', '*'], Object.keys(labels)],
    [['none'], []],
    [[], []],
    [['team'], ['team']],
    [['tea', 'eam', 'TEAM', 'team.*'], []],
    [['com.example.*'], ['com.example.a', 'com.example.']],
    [
      ['com.example*', 'team'],
      ['com.example.a', 'com.example.', 'com.examples', 'team'],
    ],
    [
      ['none', 'team'],
      ['team', 'none'],
    ],
  ]
  for (const [patterns, names] of cases)
    t.strictSame(Object.keys(labelFilter(patterns)(labels)).sort(), names.sort(), patterns.join())
})

t.test('what passes is as it was, and the rest is gone', async () => {
  const name = fc.constantFrom('a', 'a.b', 'a.b.c', 'b', '__proto__', 'constructor')
  const patterns = fc.array(fc.oneof(name, fc.constantFrom('a.*', 'a*', 'b*', '__*')))
  fc.assert(
    fc.property(fc.dictionary(name, fc.string()), patterns, (labels, wanted) => {
      const passed = labelFilter(wanted)(labels)
      return Object.keys(labels).every((label) => {
        const due = wanted.some((one) =>
          one.endsWith('*') ? label.startsWith(one.slice(0, -1)) : one === label,
        )
        return due ? passed[label] === labels[label] : !Object.hasOwn(passed, label)
      })
    }),
  )
})
