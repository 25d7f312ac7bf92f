import type { Facts } from './facts.ts'
import type { Found } from './found.ts'
import { containers } from './judge-containers.ts'
import { folders } from './judge-folders.ts'
import { guard, loops, mounts } from './judge-host.ts'
import { registry } from './judge-registry.ts'
import { volumes } from './judge-volumes.ts'

/** What is wrong on this host, by what was seen in one look. Pure. */
export const examine = (facts: Facts): Found[] => [
  ...registry(facts),
  ...containers(facts),
  ...volumes(facts),
  ...mounts(facts),
  ...loops(facts),
  ...folders(facts),
  ...guard(facts),
]

/** Left alone: what is younger may be being made at this moment. `grace` in ms. */
export const sparesYoung = (found: readonly Found[], now: number, grace: number): Found[] =>
  found.map((one) => {
    if (one.since === undefined || one.remedy === undefined || now - one.since >= grace) return one
    const { remedy: _, by: __, action: ___, ...rest } = one
    const age = Math.max(0, Math.round((now - one.since) / 1000))
    return { ...rest, state: 'note', text: `${one.text}; it is only ${age} s old, and left alone so far` }
  })
