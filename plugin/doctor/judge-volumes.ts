import { initiatorName, targetName, uuidLabel } from '../container-bodies.ts'
import { isReferenced } from '../references.ts'
import type { Facts } from './facts.ts'
import { type Found, isHere, runs, wrong } from './found.ts'

const stateOf = (facts: Facts, name: string): string =>
  facts.containers.some((one) => one.name === name) ? 'does not run' : 'is gone'

/** Something else of that name is said by `containers`. */
const isForeign = (facts: Facts, name: string, uuid: string): boolean =>
  facts.containers.some((one) => one.name === name && one.labels[uuidLabel] !== uuid)

export const volumes = (facts: Facts): Found[] =>
  facts.volumes.flatMap((local): Found[] => {
    const { volume, target } = local
    const { name, uuid } = volume
    if (!isHere(facts, local) || !target || volume.wanted !== 'present') return []
    const found: Found[] = []
    if (!runs(facts, targetName(name)) && !isForeign(facts, targetName(name), uuid))
      found.push(
        wrong('volume', name, `its target ${targetName(name)} ${stateOf(facts, targetName(name))}`, {
          by: 'fix',
          action: 'have it made and started; the data are where they were',
          remedy: { kind: 'make-target', volume: name },
        }),
      )
    if (
      isReferenced(local) &&
      !runs(facts, initiatorName(name)) &&
      !isForeign(facts, initiatorName(name), uuid)
    ) {
      const users = facts.users.get(name) ?? []
      found.push(
        wrong(
          'volume',
          name,
          `it is in use, and its initiator ${initiatorName(name)} ${stateOf(facts, initiatorName(name))}`,
          {
            by: 'fix',
            action: `mount it anew${users.length > 0 ? `; containers that have it need a restart then: docker restart ${users.join(' ')}` : ''}`,
            remedy: { kind: 'make-initiator', volume: name },
          },
        ),
      )
    }
    return found
  })
