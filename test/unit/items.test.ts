import fc from 'fast-check'
import t from 'tap'
import { Items } from '../../docker/items.ts'

t.test('an array of objects is cut into them, wherever its chunks end', async () => {
  const object = fc.dictionary(fc.string(), fc.jsonValue())
  const layout = fc.constantFrom(undefined, 1, '\t')
  const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 })
  fc.assert(
    fc.property(fc.array(object), layout, sizes, (objects, layout, sizes) => {
      const bytes = Buffer.from(JSON.stringify(objects, undefined, layout))
      const items = new Items()
      const found: unknown[] = []
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const size = sizes[turn % sizes.length] ?? 1
        for (const item of items.push(bytes.subarray(at, at + size))) found.push(JSON.parse(String(item)))
        at += size
        if (items.whole !== at >= bytes.length) return false
      }
      return JSON.stringify(found) === JSON.stringify(objects)
    }),
  )
})

t.test('what breaks off is not whole', async (t) => {
  const items = new Items()
  t.notOk(items.whole, 'nothing came')
  const push = (text: string) => items.push(Buffer.from(text)).map(String)
  t.strictSame(push('[{"a":"}"},{"b"'), ['{"a":"}"}'])
  t.notOk(items.whole)
  t.strictSame(push(':1}]\n'), ['{"b":1}'])
  t.ok(items.whole)
})
