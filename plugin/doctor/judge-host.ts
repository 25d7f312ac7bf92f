import { initiatorName } from '../container-bodies.ts'
import { isReferenced } from '../references.ts'
import type { Facts } from './facts.ts'
import { type Found, isHere, note, runs, wrong } from './found.ts'

export const mounts = (facts: Facts): Found[] =>
  facts.mounts.flatMap(({ volume, served, type }): Found[] => {
    if (served || runs(facts, initiatorName(volume))) return []
    const local = facts.volumes.find((one) => one.volume.name === volume)
    // what mounts it anew unmounts it first
    if (local && isHere(facts, local) && isReferenced(local)) return []
    return [
      wrong('mount', volume, `a mount (${type}) that no initiator serves`, {
        by: 'fix',
        action: 'unmount it; whoever still has it gets errors from it until it is started anew',
        remedy: { kind: 'release-mount', volume },
      }),
    ]
  })

export const loops = (facts: Facts): Found[] =>
  facts.loops.flatMap(({ name, file, autoclear, busy }): Found[] => {
    if (file !== '/' || autoclear) return []
    if (busy)
      return [
        wrong('loop device', name, 'its file is gone, and requests hang in it', {
          by: 'person',
          action: 'it keeps its number until the next boot',
        }),
      ]
    return [
      wrong('loop device', name, 'the file behind it is gone, as that of an initiator that was killed', {
        by: 'fix',
        action: 'detach it, if nothing can be read from it',
        remedy: { kind: 'detach-loop', loop: name },
      }),
    ]
  })

export const guard = ({ guard: { listed, asked } }: Facts): Found[] => {
  if (listed !== undefined && !asked)
    return [
      wrong(
        'guard',
        listed,
        'the Engine was started with it as authorization plugin, but does not ask it, as after docker plugin disable and enable',
        {
          by: 'person',
          action: 'have the Engine read daemon.json again: systemctl reload docker (SIGHUP to dockerd)',
        },
      ),
    ]
  if (listed === undefined && asked)
    return [
      note(
        'guard',
        'openebs',
        'on since a reload. Before the plugin is disabled take it out of daemon.json and reload again, or dockerd does not start',
      ),
    ]
  return []
}
