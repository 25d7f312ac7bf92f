import type { JournalEntry } from '../registry/records.ts'
import type { Store } from '../registry/store.ts'
import { alignedLines, type Line, noEntries, showEntries, type View } from './entries.ts'
import { instant, short, since } from './format.ts'
import type { Output } from './output.ts'

export interface EventsOptions {
  readonly host?: string
  readonly since?: string
  readonly type?: string
  readonly follow?: boolean
  readonly json?: boolean
}

/** The least widths of columns. */
const least = [23, 8, 9, 12, 16]

/** `events`: the journal in order of time, of one host or all; with --follow until the signal fires. */
export const events = async (
  store: Store,
  options: EventsOptions,
  signal: AbortSignal,
  output: Output,
): Promise<void> => {
  const { host, follow, json, type } = options
  const earliest = options.since === undefined ? undefined : since(options.since)
  const wanted = (entry: JournalEntry) =>
    (earliest === undefined || Date.parse(entry.time) >= earliest) &&
    // a gap may hide an event of any type
    (entry.kind === 'gap' || type === undefined || entry.type === type)
  const view: View<'events'> = {
    ...{ collections: ['events'], host, follow, json },
    wanted: (items) => items.filter(({ entry }) => wanted(entry)),
    lines: (items, style) =>
      alignedLines(
        items.map(({ entry }) => line(entry)),
        least,
        style,
      ),
    none: (all) => noEntries(`${type === undefined ? '' : `${type} `}events`, options, all),
  }
  await showEntries(store, view, signal, output)
}

const line = (entry: JournalEntry): Line => {
  if (entry.kind === 'gap') return gapLine(entry)
  const { time, host, type, action, name, id, attributes } = entry
  return { cells: [instant(time), host, type, action, name || short(id), details(attributes)] }
}

/** Where events may be missing. */
export const gapLine = ({ time, host, from, to, reason }: Extract<JournalEntry, { kind: 'gap' }>): Line => {
  const begin = from === undefined ? 'the beginning' : instant(from)
  const text = `---- GAP: events between ${begin} and ${instant(to)} may be missing: ${reason} ----`
  return { cells: [instant(time), host, text], tone: 'odd', sentence: true }
}

/** What of an event's attributes says more than its name. */
const telling = ['image', 'exitCode', 'signal', 'execDuration', 'container', 'driver', 'destination']

export const details = (attributes: Readonly<Record<string, string>>): string =>
  telling
    .flatMap((name) =>
      attributes[name]
        ? [`${name}=${name === 'container' ? short(attributes[name]) : attributes[name]}`]
        : [],
    )
    .join(' ')
