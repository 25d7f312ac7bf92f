import { shown } from '../registry/collections.ts'
import { keyParts, part, type RecordOf } from '../registry/keys.ts'
import type { Entry, Store } from '../registry/store.ts'
import { count } from './format.ts'
import { followPrefix } from './observe.ts'
import type { Output, Style } from './output.ts'

/** What is written once and goes by itself, and is read in the order of its time. */
export type Timed = 'events' | 'audit'

export type Item<C extends Timed = Timed> = {
  [K in C]: { readonly collection: K; readonly key: string; readonly entry: RecordOf<K> }
}[C]

/** What a command shows of such entries. */
export interface View<C extends Timed> {
  readonly collections: readonly C[]
  /** Only of this host. */
  readonly host: string | undefined
  /** Go on with what comes, until the signal fires. */
  readonly follow: boolean | undefined
  /** As JSON lines. */
  readonly json: boolean | undefined
  /** Those to be shown of some that come together; asked in the order in which they come. */
  wanted(items: readonly Item<C>[]): readonly Item<C>[]
  lines(items: readonly Item<C>[], style: Style): string[]
  /** Said where nothing is wanted of `all` entries. */
  none(all: number): string
}

/** Prints entries in the order of their time, of one collection or of several together. */
export const showEntries = async <C extends Timed>(
  store: Store,
  view: View<C>,
  signal: AbortSignal,
  output: Output,
): Promise<void> => {
  const print = (items: readonly Item<C>[]): number => {
    const wanted = view.wanted(inOrder(items))
    const lines = view.json
      ? wanted.map(({ key, entry }) => JSON.stringify({ key, record: entry }))
      : view.lines(wanted, output.style)
    if (lines.length > 0) output.print(lines.join('\n'))
    return lines.length
  }
  if (view.follow) return followEntries(store, view, print, signal, output)
  const read = await Promise.all(
    view.collections.map(async (collection) => {
      const { entries } = await store.read(prefixOf(collection, view.host))
      return { items: readable(collection, entries, output), all: entries.length }
    }),
  )
  const printed = print(read.flatMap(({ items }) => items))
  if (printed === 0 && !view.json) output.print(view.none(read.reduce((sum, { all }) => sum + all, 0)))
}

const prefixOf = (collection: Timed, host: string | undefined): string =>
  `${collection}/${host === undefined ? '' : `${part(host)}/`}`

/** First what all collections have, in one order; then what comes, as it comes. Each entry once, also after a reset. */
const followEntries = async <C extends Timed>(
  store: Store,
  { collections, host }: View<C>,
  print: (items: readonly Item<C>[]) => unknown,
  signal: AbortSignal,
  output: Output,
): Promise<void> => {
  const failed = new AbortController()
  let unread = collections.length
  let held: Item<C>[] = []
  const show = (items: readonly Item<C>[]) => {
    if (unread === 0) print(items)
    else held.push(...items)
  }
  const follow = (collection: C, index: number) => {
    let known: Set<string> | undefined
    const quiet = { ...output, say: () => {} }
    return followPrefix(
      store,
      prefixOf(collection, host),
      // that the store is away is said once
      { signal: AbortSignal.any([signal, failed.signal]), output: index === 0 ? output : quiet },
      {
        snapshot: (entries) => {
          const before = known
          known = new Set(entries.map(({ key }) => key))
          show(
            readable(
              collection,
              entries.filter(({ key }) => !before?.has(key)),
              output,
            ),
          )
          if (before || --unread > 0) return
          print(held)
          held = []
        },
        changed: (event) => {
          if (event.kind === 'delete') return void known?.delete(event.key)
          if (known?.has(event.entry.key)) return
          known?.add(event.entry.key)
          show(readable(collection, [event.entry], output))
        },
        reset: (reason) => output.say(`${reason}: reading ${collection}/ anew`),
      },
    )
  }
  try {
    await Promise.all(collections.map(follow))
  } finally {
    failed.abort()
  }
}

const readable = <C extends Timed>(collection: C, entries: readonly Entry[], output: Output): Item<C>[] => {
  const all = entries.map((entry) => shown(collection, entry))
  const unreadable = all.filter((one) => 'unreadable' in one)
  if (unreadable.length > 0)
    output.say(`${count(unreadable.length, 'entry').replace(/entrys$/, 'entries')} cannot be read`)
  return all.flatMap((one) =>
    'record' in one ? [{ collection, key: one.key, entry: one.record } as unknown as Item<C>] : [],
  )
}

/** Times of the two collections differ in their number of digits; within one instant keys tell the order. */
const inOrder = <C extends Timed>(items: readonly Item<C>[]): Item<C>[] => {
  const place = ({ key, entry }: Item<C>) => `${entry.time.replace('Z', '')} ${keyParts(key)[2] ?? ''}`
  return items
    .map((item) => ({ item, place: place(item) }))
    .sort((a, b) => (a.place < b.place ? -1 : 1))
    .map(({ item }) => item)
}

/** The columns of a line, and how it is toned. */
export interface Line {
  readonly cells: readonly string[]
  readonly tone?: 'bad' | 'odd' | undefined
  /** Its last cell is a sentence, which no column is to be as wide as. */
  readonly sentence?: boolean
}

/** A line each, their columns as wide as the widest of them, and at least as `least` says: lines that come one by one have no others to go by. */
export const alignedLines = (lines: readonly Line[], least: readonly number[], style: Style): string[] => {
  const widths = least.map((width, column) =>
    lines.reduce((most, { cells, sentence }) => {
      return sentence ? most : Math.max(most, cells[column]?.length ?? 0)
    }, width),
  )
  return lines.map(({ cells, tone }) => {
    const line = cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
    return tone ? style[tone](line.trimEnd()) : line.trimEnd()
  })
}

/** "no network events of host h1 since 10m (6 others)". */
export const noEntries = (what: string, { host, since }: { host?: string; since?: string }, all: number) =>
  [
    `no ${what}`,
    ...(host === undefined ? [] : [`of host ${host}`]),
    ...(since === undefined ? [] : [`since ${since}`]),
    ...(all > 0 ? [`(${all} others)`] : []),
  ].join(' ')
