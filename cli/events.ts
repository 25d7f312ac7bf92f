import { shown } from '../registry/collections.ts'
import { keyParts, part } from '../registry/keys.ts'
import type { JournalEntry } from '../registry/records.ts'
import type { Entry, Store } from '../registry/store.ts'
import { count, instant, short, since } from './format.ts'
import { followPrefix } from './observe.ts'
import type { Output, Style } from './output.ts'

export interface EventsOptions {
  readonly host?: string
  readonly since?: string
  readonly type?: string
  readonly follow?: boolean
  readonly json?: boolean
}

interface Item {
  readonly key: string
  readonly entry: JournalEntry
}

/** `events`: the journal in order of time, of one host or all; with --follow until the signal fires. */
export const events = async (
  store: Store,
  options: EventsOptions,
  signal: AbortSignal,
  output: Output,
): Promise<void> => {
  const prefix = options.host === undefined ? 'events/' : `events/${part(options.host)}/`
  const earliest = options.since === undefined ? undefined : since(options.since)
  const wanted = ({ entry }: Item) =>
    (earliest === undefined || Date.parse(entry.time) >= earliest) &&
    // a gap may hide an event of any type
    (entry.kind === 'gap' || options.type === undefined || entry.type === options.type)
  const print = (items: readonly Item[]) => {
    const lines = options.json
      ? items.map(({ key, entry }) => JSON.stringify({ key, record: entry }))
      : eventLines(items, output.style)
    if (lines.length > 0) output.print(lines.join('\n'))
  }
  if (!options.follow) {
    const { entries } = await store.read(prefix)
    const items = inOrder(readable(entries, output)).filter(wanted)
    if (items.length === 0 && !options.json) output.print(emptiness(options, entries.length))
    print(items)
    return
  }
  const last = new Map<string, string>()
  const printNew = (items: readonly Item[]) => {
    for (const { key, entry } of items) if (key > (last.get(entry.host) ?? '')) last.set(entry.host, key)
    print(items.filter(wanted))
  }
  await followPrefix(
    store,
    prefix,
    { signal, output },
    {
      // after a reset what was printed comes again
      snapshot: (entries) => {
        const before = new Map(last)
        printNew(
          inOrder(readable(entries, output)).filter(({ key, entry }) => key > (before.get(entry.host) ?? '')),
        )
      },
      // deleted are the oldest: no news
      changed: (event) => {
        if (event.kind === 'put') printNew(readable([event.entry], output))
      },
      reset: (reason) => output.say(`${reason}: reading the journal anew`),
    },
  )
}

const emptiness = ({ host, since: from, type }: EventsOptions, all: number): string => {
  const what = `no ${type ?? ''} events${host === undefined ? '' : ` of host ${host}`}`.replace('  ', ' ')
  return `${what}${from === undefined ? '' : ` since ${from}`}${all > 0 ? ` (${all} others)` : ''}`
}

const readable = (entries: readonly Entry[], output: Output): Item[] => {
  const all = entries.map((entry) => shown('events', entry))
  const unreadable = all.filter((one) => 'unreadable' in one)
  if (unreadable.length > 0)
    output.say(`${count(unreadable.length, 'entry').replace(/entrys$/, 'entries')} cannot be read`)
  return all.flatMap((one) => ('record' in one ? [{ key: one.key, entry: one.record }] : []))
}

/** Keys of one host are in order already; those of several are merged by the time in them. */
const inOrder = (items: readonly Item[]): Item[] => {
  const place = ({ key }: Item) => keyParts(key)[2] ?? ''
  return [...items].sort((a, b) => (place(a) < place(b) ? -1 : 1))
}

/** What of an event's attributes says more than its name. */
const telling = ['image', 'exitCode', 'signal', 'execDuration', 'container', 'driver', 'destination']

const details = (attributes: Readonly<Record<string, string>>): string =>
  telling
    .flatMap((name) =>
      attributes[name]
        ? [`${name}=${name === 'container' ? short(attributes[name]) : attributes[name]}`]
        : [],
    )
    .join(' ')

/** The least widths of columns: lines that come one by one have no others to go by. */
const least = [23, 8, 9, 12, 16]

/** A line each, their columns as wide as the widest of them. */
const eventLines = (items: readonly Item[], style: Style): string[] => {
  const rows = items.map(({ entry }) => cells(entry))
  const widths = least.map((width, column) =>
    rows.reduce((most, row) => (row.length > 3 ? Math.max(most, row[column]?.length ?? 0) : most), width),
  )
  return items.map(({ entry }, index) => {
    const line = (rows[index] ?? []).map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
    return entry.kind === 'gap' ? style.odd(line) : line.trimEnd()
  })
}

const cells = (entry: JournalEntry): string[] => {
  if (entry.kind === 'event')
    return [
      instant(entry.time),
      entry.host,
      entry.type,
      entry.action,
      entry.name || short(entry.id),
      details(entry.attributes),
    ]
  const from = entry.from === undefined ? 'the beginning' : instant(entry.from)
  const gap = `---- GAP: events between ${from} and ${instant(entry.to)} may be missing: ${entry.reason} ----`
  return [instant(entry.time), entry.host, gap]
}
