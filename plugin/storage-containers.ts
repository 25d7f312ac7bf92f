import { means, type StorageContainer } from './authz.ts'
import { initiatorName } from './container-bodies.ts'
import type { LocalCopy } from './local-copy.ts'

/** Which containers serve and attach this host's volumes, from memory. Labels prove nothing: anyone can set them. */
export class StorageContainers {
  readonly #local: LocalCopy
  readonly #initiatorIds = new Map<string, string>()

  constructor(local: LocalCopy) {
    this.#local = local
  }

  /** Called whenever an initiator of ours was made or found. */
  learnInitiator(volume: string, id: string): void {
    this.#initiatorIds.set(volume, id)
  }

  find(reference: string): StorageContainer | undefined {
    return this.#all().find((container) => means(reference, container))
  }

  #all(): StorageContainer[] {
    return this.#local.all().flatMap(({ volume: { name }, target }): StorageContainer[] => {
      if (!target) return []
      const initiator = {
        id: this.#initiatorIds.get(name) ?? '',
        name: initiatorName(name),
        role: 'initiator' as const,
        volume: name,
      }
      return [{ id: target.containerId, name: target.container, role: 'target', volume: name }, initiator]
    })
  }
}
