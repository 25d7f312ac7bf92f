import type { Facts, FoundFolder } from './facts.ts'
import { type Found, isHere, mayBeKnown, note, wrong } from './found.ts'

export const folders = (facts: Facts): Found[] => {
  const { folders: found, root } = facts
  if (found === undefined) return []
  if (typeof found === 'string') return [note('folders', root, `cannot be looked at: ${found}`)]
  const byName = new Map(found.map((folder) => [folder.name, folder]))
  const lost = facts.volumes.flatMap((local): Found[] => {
    const { volume, target } = local
    if (!isHere(facts, local) || !target || volume.wanted !== 'present') return []
    const folder = byName.get(volume.name)
    if (folder?.marker === 'volume' && folder.uuid === volume.uuid) return []
    const why = folder ? `${root}/${volume.name} does not hold them` : `there is no ${root}/${volume.name}`
    return [
      wrong('volume', volume.name, `its data are not there: ${why}`, {
        by: 'person',
        action: `is the disk of ${root} mounted? Else bring the folder back from a backup, or give the volume up: docker volume rm ${volume.name}`,
      }),
    ]
  })
  return [...lost, ...found.flatMap((folder) => stray(facts, folder))]
}

/** A folder is data: whatever is found, a person decides. */
const stray = (facts: Facts, folder: FoundFolder): Found[] => {
  const { name, marker, uuid, volume, used } = folder
  const path = `${facts.root}/${name}`
  if (marker === 'none') return []
  const of = facts.volumes.find((one) => one.volume.name === name)
  if (of && isHere(facts, of)) return []
  if (uuid === undefined || volume === undefined)
    return [
      wrong(
        'folder',
        path,
        `${marker}.json in it cannot be read, so nobody can tell whose it is: it is left alone`,
        {
          by: 'person',
          action: `look into it: ls -la ${path}`,
        },
      ),
    ]
  if (mayBeKnown(facts, { uuid })) return []
  const size = `${Math.ceil(used / 2 ** 20)} MiB on the disk`
  const what = marker === 'volume' ? `data of volume ${volume}` : `what is left of volume ${volume}`
  return [
    {
      ...wrong('folder', path, `${what} (${uuid}, ${size}), which nobody has a record of: it is left alone`, {
        by: 'person',
        action: `copy what you need of it; then: rm -r ${path}`,
      }),
      // its size may change
      id: `folder ${path}: ${uuid}`,
    },
  ]
}
