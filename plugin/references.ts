import type { LocalVolume } from './local-copy.ts'

/** Counts one more use under this id; the volume is claimed from then on. */
export const addReference = (entry: LocalVolume, id: string): LocalVolume => ({
  ...entry,
  references: { ...entry.references, [id]: (entry.references[id] ?? 0) + 1 },
  ...stateOf(entry, 'claimed'),
})

/** Counts one use less. An id that is not counted changes nothing: Unmount can come twice, or under an old id. */
export const dropReference = (entry: LocalVolume, id: string): LocalVolume => {
  const { [id]: count = 0, ...others } = entry.references
  const references = count > 1 ? { ...others, [id]: count - 1 } : others
  return { ...entry, references, ...(Object.keys(references).length === 0 ? stateOf(entry, 'idle') : {}) }
}

/** Drops all uses under this id. */
export const forgetReference = (entry: LocalVolume, id: string): LocalVolume =>
  dropReference({ ...entry, references: { ...entry.references, [id]: 1 } }, id)

export const isReferenced = (entry: LocalVolume): boolean => Object.keys(entry.references).length > 0

const stateOf = (entry: LocalVolume, state: 'claimed' | 'idle'): Pick<LocalVolume, 'attachment'> =>
  entry.attachment ? { attachment: { ...entry.attachment, state } } : {}
