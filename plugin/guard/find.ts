import type { Guarded, World } from './world.ts'

/** Of hexadecimal digits: a beginning of so many of an ID is taken for one, whatever else is called so. */
const surely = 12

/**
 * The guarded container that a reference means, as the Engine resolves it: a whole ID, a name, then a beginning of an ID that
 * no other has. A short beginning of one of ours may as well be the name of another container: then the Engine is asked.
 */
export const findGuarded = async (reference: string, world: World): Promise<Guarded | undefined> => {
  const all = world.guarded()
  const name = reference.startsWith('/') ? reference.slice(1) : reference
  const known = all.find(
    (one) => one.name === name || (reference.length >= surely && one.id.startsWith(reference)),
  )
  if (known) return known
  const id = reference.toLowerCase()
  if (!all.some((one) => one.id !== '' && id !== '' && one.id.startsWith(id))) return undefined
  const meant = await world.resolve(reference)
  return all.find((one) => one.id !== '' && one.id === meant)
}
