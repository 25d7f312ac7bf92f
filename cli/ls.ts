import { Failure } from '../process/failure.ts'
import { type CollectionAnswer, collections, isCollection, readCollection } from '../registry/collections.ts'
import type { Collection, RecordOf } from '../registry/keys.ts'
import { type Inventory, type InventoryKind, inventoryKinds } from '../registry/records.ts'
import type { Store } from '../registry/store.ts'
import { type HostTree, tree, treeLines } from '../registry/tree.ts'
import { type Column, columns, kindColumns } from './columns.ts'
import { count } from './format.ts'
import { json, type Output, type Style, table } from './output.ts'
import { toned } from './tone.ts'

/** The collections that the tree is made of: not the journals, which can be long. */
const ofTree = [
  'hosts',
  'alive',
  'inventory',
  'services',
  'vsms',
  'volumes',
  'targets',
  'attachments',
] as const satisfies Collection[]

export interface LsOptions {
  readonly json?: boolean
  readonly host?: string
  readonly kind?: string
}

/** `ls`: hosts with all that they have. `ls <collection>`: its records as a table. */
export const ls = async (
  store: Store,
  collection: string | undefined,
  options: LsOptions,
  output: Output,
): Promise<void> => {
  const named = collection?.replace(/\/$/, '')
  const kind = kindOf(named, options.kind)
  if (named === undefined) {
    const hosts = await readTree(store, options.host)
    output.print(options.json ? json(hosts) : showTree(hosts, output.style).join('\n'))
  } else if (!isCollection(named))
    throw new Failure('invalid', `no collection "${named}": there are ${collections.join(', ')}`)
  else await lsCollection(store, named, { ...options, kind }, output)
}

/** Errors: `invalid`. */
const kindOf = (collection: string | undefined, text: string | undefined): InventoryKind | undefined => {
  if (text === undefined) return undefined
  if (collection !== 'inventory') throw new Failure('invalid', '--kind is for `ls inventory`')
  const kind = inventoryKinds.find((one) => one === text)
  if (!kind)
    throw new Failure('invalid', `--kind: expected one of ${inventoryKinds.join(', ')}, not "${text}"`)
  return kind
}

const lsCollection = async <C extends Collection>(
  store: Store,
  collection: C,
  options: Omit<LsOptions, 'kind'> & { readonly kind: InventoryKind | undefined },
  output: Output,
): Promise<void> => {
  const all = await readCollection(store, collection, { host: options.host })
  const { kind } = options
  const answer: CollectionAnswer<C> = kind
    ? { ...all, records: all.records.filter(({ record }) => (record as Inventory).kind === kind) }
    : all
  if (options.json) return output.print(json(answer))
  const records = answer.records.map(({ record }) => record)
  if (records.length > 0) output.print(rows(collection, kind, records, output.style).join('\n'))
  else
    output.print(
      `no ${kind ? `${kind}s` : nouns[collection]}${options.host ? ` of host ${options.host}` : ''}`,
    )
  if (answer.unreadable.length > 0)
    output.say(
      `${count(answer.unreadable.length, 'record')} cannot be read, the first is ${answer.unreadable[0]?.key} (registrator doctor tells more)`,
    )
}

const nouns: Record<Collection, string> = {
  hosts: 'hosts: is a sidecar running (registrator run)?',
  alive: 'plugins',
  inventory: 'inventory',
  services: 'services',
  vsms: 'VSMs',
  volumes: 'volumes',
  targets: 'targets',
  attachments: 'attachments',
  events: 'events',
  audit: 'audit trail',
  requests: 'requests',
}

const rows = <C extends Collection>(
  collection: C,
  kind: InventoryKind | undefined,
  records: readonly RecordOf<C>[],
  style: Style,
): string[] => {
  const shown: readonly Column<RecordOf<C>>[] = kind
    ? (kindColumns[kind] as unknown as readonly Column<RecordOf<C>>[])
    : columns[collection]
  const sorted = collection === 'inventory' ? byName(records as readonly Inventory[]) : records
  return table(
    shown.map(([title]) => title),
    (sorted as readonly RecordOf<C>[]).map((record) => shown.map(([, cell]) => toned(cell(record), style))),
    style,
  )
}

/** Keys of the inventory end with an ID, which tells people nothing. */
const byName = (records: readonly Inventory[]): Inventory[] => {
  const place = (record: Inventory) => `${record.host}/${record.kind}/${record.name}`
  return [...records].sort((a, b) => (place(a) < place(b) ? -1 : 1))
}

/** Hosts with all that they have, by name; one of them, or all. Errors: `not-found` when the named host has nothing. */
export const readTree = async (store: Store, host: string | undefined): Promise<HostTree[]> => {
  const snapshots = await Promise.all(ofTree.map((collection) => store.read(`${collection}/`)))
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
  if (hosts.length === 0) return [`no ${nouns.hosts}`]
  return treeLines(hosts).map((line) => {
    if (!line.startsWith(' ')) return style.heading(line)
    if (!line.startsWith('    ')) return style.title(line)
    return line
      .replace(/ (healthy|ready)\b/, (word) => style.good(word))
      .replace(/ (unhealthy\b.*|removing\b)/, (word) => style.bad(word))
  })
}
