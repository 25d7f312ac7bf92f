import { mkdir, readlink, realpath, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { followLinks } from '../../plugin/guard/host-links.ts'

/** Random links on a real file system, against what the system's own realpath says of them. */
const none = () => undefined

t.test('links lead where the system says', async (t) => {
  const root = t.testdir()
  const name = fc.constantFrom('a', 'b', 'c', 'd', '..', '.', '')
  const path = fc.array(name, { minLength: 1, maxLength: 6 }).map((parts) => parts.join('/'))
  const target = fc.tuple(fc.boolean(), path).map(([absolute, to]) => (absolute ? join(root, to) : to || '.'))
  const trees = fc.sample(fc.array(fc.tuple(path, target), { minLength: 1, maxLength: 12 }), {
    numRuns: 60,
    seed: 1,
  })
  let followed = 0
  for (const [index, links] of trees.entries()) {
    const tree = join(root, String(index))
    for (const [at, to] of links) {
      const link = join(tree, at)
      if (!link.startsWith(`${tree}/`)) continue
      // what is there already stays
      await mkdir(dirname(link), { recursive: true }).catch(none)
      await symlink(to.replace(root, tree), link).catch(none)
    }
    for (const asked of fc.sample(path, { numRuns: 20, seed: index })) {
      const at = join(tree, asked)
      // of what is there, and does not go round in circles
      const expected = await realpath(at).catch(none)
      const reached = await followLinks(at, (link) => readlink(link).catch(none))
      if (expected === undefined) continue
      if (reached !== at) followed++
      t.equal(reached, expected, `${at} with ${JSON.stringify(links)}`)
    }
  }
  t.ok(followed > 50, `${followed} of them led elsewhere`)
})
