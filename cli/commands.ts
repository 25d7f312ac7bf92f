import { Failure } from '../process/failure.ts'
import type { Entry, Store } from '../registry/store.ts'
import { type HostTree, tree, treeLines } from '../registry/tree.ts'

/** How a line is shown; the identity where the output is no terminal. */
export interface Style {
  heading(text: string): string
  title(text: string): string
  good(text: string): string
  bad(text: string): string
}

/** The collections that the tree is made of: not the journals, which can be long. */
const collections = ['hosts', 'alive', 'inventory', 'services', 'vsms', 'volumes', 'targets', 'attachments']

/** Hosts with all that they have, by name; one of them, or all. Errors: `not-found` when the named host has nothing. */
export const readTree = async (store: Store, host: string | undefined): Promise<HostTree[]> => {
  const snapshots = await Promise.all(collections.map((collection) => store.read(`${collection}/`)))
  const hosts = tree(snapshots.flatMap(({ entries }) => entries))
  if (host === undefined) return hosts
  const found = hosts.filter((one) => one.host === host)
  if (found.length === 0) {
    const known =
      hosts.length > 0 ? `known: ${hosts.map((one) => one.host).join(', ')}` : 'none is registered'
    throw new Failure('not-found', `no host ${host} in the registry (${known})`)
  }
  return found
}

/** The tree as lines for people. Pure. */
export const showTree = (hosts: readonly HostTree[], style: Style): string[] => {
  if (hosts.length === 0) return ['no hosts: is the sidecar running (registrator run)?']
  return treeLines(hosts).map((line) => {
    if (!line.startsWith(' ')) return style.heading(line)
    if (!line.startsWith('    ')) return style.title(line)
    return line
      .replace(/ (healthy|ready)\b/, (word) => style.good(word))
      .replace(/ (unhealthy\b.*|removing\b)/, (word) => style.bad(word))
  })
}

/** One entry, or all below a key that ends with "/". Errors: `not-found`. */
export const readEntries = async (store: Store, key: string): Promise<readonly Entry[]> => {
  const { entries } = await store.read(key)
  const found = key.endsWith('/') ? entries : entries.filter((entry) => entry.key === key)
  if (found.length > 0) return found
  const near = entries.slice(0, 3).map((entry) => entry.key)
  throw new Failure('not-found', `nothing at ${key}${near.length > 0 ? `; there is ${near.join(', ')}` : ''}`)
}

/** An entry's value, indented where it is JSON. */
export const showValue = (value: string): string => {
  try {
    return JSON.stringify(JSON.parse(value), null, 2)
  } catch {
    return value // whoever wrote it wrote no JSON: shown as it is
  }
}
