import { initiatorName } from './container-bodies.ts'
import type { Guarded } from './guard/world.ts'
import { iscsidName } from './iscsid.ts'
import type { LocalCopy } from './local-copy.ts'

/** What `make up` calls them. */
const shared = [
  { name: iscsidName, role: 'iscsid' },
  { name: 'openebs-etcd', role: 'etcd' },
  { name: 'openebs-registrator', role: 'registrator' },
] as const

/**
 * Which containers serve, attach and register this host's volumes, from memory. Labels prove nothing: anyone can set them. One
 * that was renamed stays what it is by its ID.
 */
export class StorageContainers {
  readonly #local: LocalCopy
  readonly #initiatorIds = new Map<string, string>()
  /** ID by the name that we gave. */
  readonly #sharedIds = new Map<string, string>()
  /** Name of now by ID, where it is another than we gave. */
  readonly #renamed = new Map<string, string>()

  constructor(local: LocalCopy) {
    this.#local = local
  }

  /** Called whenever an initiator of ours was made or found. */
  learnInitiator(volume: string, id: string): void {
    this.#initiatorIds.set(volume, id)
  }

  /** What the Engine has: takes over the IDs of what all volumes share, and the names of now. */
  learn(listed: readonly { id: string; name: string }[]): void {
    for (const { name } of shared) {
      const found = listed.find((one) => one.name === name)
      if (found) this.#sharedIds.set(name, found.id)
    }
    this.#renamed.clear()
    for (const { id, name } of listed) this.#renamed.set(id, name)
  }

  all(): Guarded[] {
    const own = [
      ...shared.map((one) => ({ ...one, id: this.#sharedIds.get(one.name) ?? '' })),
      ...this.#local.all().flatMap(({ volume: { name: volume }, target }): Guarded[] =>
        target
          ? [
              { id: target.containerId, name: target.container, role: 'target', volume },
              {
                id: this.#initiatorIds.get(volume) ?? '',
                name: initiatorName(volume),
                role: 'initiator',
                volume,
              },
            ]
          : [],
      ),
    ]
    // by either name: one that took the place of a renamed one is not ours, but may become so
    return own.flatMap((one) => {
      const now = this.#renamed.get(one.id)
      return now === undefined || now === one.name ? [one] : [one, { ...one, name: now }]
    })
  }
}
