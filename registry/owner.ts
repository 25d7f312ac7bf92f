import { keys, part } from './keys.ts'

/** The keys of one owner: below which prefixes they are, and which of those there (publisher.ts says more). */
export interface Ownership {
  readonly prefixes: readonly string[]
  /** Prefixes where every host has keys. */
  readonly shared: readonly string[]
  owns(key: string): boolean
}

/** What the sidecar of a host writes: the host itself, its inventory, its service instances and observed VSMs. */
export const sidecarOf = (host: string): Ownership => {
  const name = part(host)
  const inventory = `inventory/${name}/`
  return {
    prefixes: [keys.host(host), inventory],
    shared: ['services/', 'vsms/'],
    owns: (key) => {
      if (key === keys.host(host) || key.startsWith(inventory)) return true
      const [collection, , last, ...more] = key.split('/')
      if (last === undefined || more.length > 0) return false
      return collection === 'services' ? last.startsWith(`${name}:`) : collection === 'vsms' && last === name
    },
  }
}
