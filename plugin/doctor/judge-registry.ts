import { keys } from '../../registry/keys.ts'
import type { Facts } from './facts.ts'
import { type Found, isHere, note, wrong } from './found.ts'

export const registry = (facts: Facts): Found[] => {
  const { registered, damaged } = facts
  const unread = damaged.map((name) =>
    wrong('volume', name, 'its local record is damaged: calls for this volume stay unanswered', {
      by: 'person',
      action: `look at volumes/${name}.json in the plugin's folder; docs/operations.md, Troubleshooting, 11`,
    }),
  )
  if (typeof registered === 'string')
    return [
      ...unread,
      note('registry', '-', `cannot be read, so nothing is judged that it may know of: ${registered}`),
    ]
  const missing = facts.volumes.filter(
    (local) =>
      isHere(facts, local) &&
      local.target !== undefined &&
      local.volume.wanted === 'present' &&
      !registered.unreadable.includes(keys.volume(local.volume.name)),
  )
  const found = missing.flatMap(({ volume: { name, uuid } }): Found[] => {
    const stored = registered.volumes.find((volume) => volume.name === name)
    if (stored?.uuid === uuid) return []
    if (stored)
      return [
        wrong(
          'volume',
          name,
          `the registry has another volume of this name, on host ${stored.placement.host}; the data here stay, and are served`,
          {
            by: 'person',
            action: `remove one of them: on ${stored.placement.host} (then registrator doctor --adopt), or here, by hand`,
          },
        ),
      ]
    return [
      wrong('volume', name, 'the registry has no record of it; it is served on', {
        by: 'adopt',
        action: 'write its records into the registry: volume, target, attachment, password',
        remedy: { kind: 'register', volume: name },
      }),
    ]
  })
  if (!registered.isOther) return [...unread, ...found]
  return [
    ...unread,
    wrong(
      'registry',
      '-',
      "is not the one that this host's volumes were registered in: wiped, replaced or restored. No new volume is made",
      {
        by: 'adopt',
        action: 'use it from now on, and write into it what is here and has no record there',
        remedy: { kind: 'adopt-registry' },
      },
    ),
    ...found,
  ]
}
