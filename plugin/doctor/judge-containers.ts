import { labels } from '../../vsm/labels.ts'
import { uuidLabel } from '../container-bodies.ts'
import { type Facts, type FoundContainer, ownName } from './facts.ts'
import { type Found, isHere, mayBeKnown, wrong } from './found.ts'

const read = (container: FoundContainer) => {
  const groups = ownName.exec(container.name)?.groups
  if (!groups?.kind || !groups.volume) return undefined
  const { kind, volume } = groups as { kind: string; volume: string }
  const { labels: of } = container
  const uuid = of[uuidLabel]
  const role = { vsm: 'target', initiator: 'initiator' }[kind]
  const claimsToBeOurs = uuid !== undefined && of[labels.volume] === volume && of[labels.role] === role
  return { volume, uuid, claimsToBeOurs }
}

const byName = (a: FoundContainer, b: FoundContainer): number => (a.name < b.name ? -1 : 1)

/** A label proves nothing: ours is what has our name and our labels, and is of no volume that anybody may know of. */
export const containers = (facts: Facts): Found[] =>
  // an initiator before the target that it uses: names sort so
  facts.containers.toSorted(byName).flatMap((container): Found[] => {
    const of = read(container)
    if (!of) return []
    const { volume, uuid, claimsToBeOurs } = of
    const local = facts.volumes.find((one) => one.volume.name === volume)
    if (local && isHere(facts, local)) {
      if (uuid === local.volume.uuid) return []
      return [
        wrong(
          'container',
          container.name,
          `it is in the way: volume ${volume} did not make it, and needs its name`,
          {
            by: 'person',
            action: `rename it, or remove it: docker rm -f ${container.name}`,
          },
        ),
      ]
    }
    if (!claimsToBeOurs || uuid === undefined || mayBeKnown(facts, { name: volume, uuid })) return []
    const users = facts.users.get(volume) ?? []
    const text = 'it is of a volume that nobody has a record of'
    if (users.length > 0)
      return [
        wrong('container', container.name, `${text}; ${users.join(', ')} use it`, {
          by: 'person',
          action: `end what uses it: docker stop ${users.join(' ')}`,
        }),
      ]
    return [
      wrong('container', container.name, text, {
        by: 'fix',
        action: 'stop and remove it; what it had on the disk stays',
        remedy: { kind: 'remove-container', volume, name: container.name, uuid },
        since: container.created,
      }),
    ]
  })
