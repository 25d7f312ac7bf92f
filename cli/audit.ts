import { Failure } from '../process/failure.ts'
import { type Audit, type AuditedCall, type Verdict, verdicts } from '../registry/audit.ts'
import type { JournalEntry } from '../registry/records.ts'
import type { Store } from '../registry/store.ts'
import { audited } from './columns.ts'
import {
  alignedLines,
  type Item,
  type Line,
  noEntries,
  showEntries,
  type Timed,
  type View,
} from './entries.ts'
import { details, gapLine } from './events.ts'
import { count, instant, short, since } from './format.ts'
import type { Output } from './output.ts'

export interface AuditOptions {
  readonly host?: string
  readonly since?: string
  readonly user?: string
  readonly verdict?: string
  readonly action?: string
  readonly volume?: string
  /** A container's name, or the beginning of its ID. */
  readonly container?: string
  /** Also what the journal has of that container. */
  readonly events?: boolean
  readonly follow?: boolean
  readonly json?: boolean
}

/** The least widths of columns. */
const least = [23, 8, 8, 10, 8, 24, 8, 3]

/** `audit`: who asked the Engines for what, and whether it was done; with --follow until the signal fires. */
export const audit = async (
  store: Store,
  options: AuditOptions,
  signal: AbortSignal,
  output: Output,
): Promise<void> => {
  const { host, follow, json } = options
  if (options.verdict !== undefined && !verdicts.includes(options.verdict as Verdict))
    throw new Failure(
      'invalid',
      `--verdict: expected one of ${verdicts.join(', ')}, not "${options.verdict}"`,
    )
  if (options.events && options.container === undefined)
    throw new Failure('invalid', '--events needs --container: whose events?')
  const view: View<Timed> = {
    ...{ collections: options.events ? ['audit', 'events'] : ['audit'], host, follow, json },
    wanted: wantedBy(options),
    lines: (items, style) => alignedLines(items.map(line), least, style),
    none: (all) =>
      all > 0 || host !== undefined
        ? noEntries('calls in the audit trail', options, all)
        : 'no calls in the audit trail: is the plugin among the authorization plugins of an Engine?',
  }
  await showEntries(store, view, signal, output)
}

/** What the options let pass. It learns the IDs of the container as it goes: not every call names both. */
const wantedBy = (options: AuditOptions) => {
  const earliest = options.since === undefined ? Number.NEGATIVE_INFINITY : since(options.since)
  const ids = new Set<string>()
  const known = (id: string | undefined) => id !== undefined && id !== '' && isOneOf(id, ids)
  const learn = (item: Item) => {
    for (const { name, id } of containersOf(item))
      if (id && options.container !== undefined && means(options.container, name, id)) ids.add(id)
  }
  const passes = (item: Item): boolean => {
    const { collection, entry } = item
    // a gap may hide anything
    if (entry.kind === 'gap') return Date.parse(String(entry.to)) >= earliest
    if (Date.parse(entry.time) < earliest) return false
    const { container } = options
    const itsContainer =
      container === undefined ||
      containersOf(item).some(({ name, id }) => means(container, name, id) || known(id))
    return itsContainer && (collection === 'events' || isAsked(entry as AuditedCall, options))
  }
  return (items: readonly Item[]): readonly Item[] => {
    items.forEach(learn)
    return items.filter(passes)
  }
}

const isAsked = (call: AuditedCall, { user, verdict, action, volume }: AuditOptions): boolean =>
  (user === undefined || call.user === (user === '-' ? '' : user)) &&
  (verdict === undefined || call.verdict === verdict) &&
  (action === undefined || call.action === action) &&
  (volume === undefined || volumesOf(call).includes(volume))

const volumesOf = ({ volume, subject, object }: AuditedCall): (string | undefined)[] => [
  volume,
  subject?.volume,
  ...(object?.kind === 'volume' ? [object.name] : []),
]

/** The containers that an entry is about; a network's event tells of one that it connects. */
const containersOf = ({ entry }: Item): { name?: string | undefined; id?: string | undefined }[] => {
  if (entry.kind === 'gap') return []
  if (entry.kind !== 'event') {
    const { object, subject } = entry as AuditedCall
    return [
      ...(object?.kind === 'container' ? [object] : []),
      ...(subject ? [{ name: subject.container, id: subject.containerId }] : []),
    ]
  }
  const { type, name, id, attributes } = entry as Extract<JournalEntry, { kind: 'event' }>
  return type === 'container' ? [{ name, id }] : [{ id: attributes.container }]
}

/** Whether a name, or the beginning of an ID, is that container's. */
const means = (reference: string, name: string | undefined, id: string | undefined): boolean =>
  reference === name || (/^[0-9a-f]{4,64}$/.test(reference) && id?.startsWith(reference) === true)

/** A call may name a part of the ID. */
const isOneOf = (id: string, ids: ReadonlySet<string>): boolean =>
  ids.has(id) || [...ids].some((one) => id.length >= 12 && (one.startsWith(id) || id.startsWith(one)))

const line = ({ collection, entry }: Item): Line =>
  collection === 'audit' ? callLine(entry as Audit) : eventLine(entry as JournalEntry)

const callLine = (entry: Audit): Line => {
  if (entry.kind === 'gap') {
    const calls = `${count(entry.count, 'call')} between ${instant(entry.time)} and ${instant(entry.to)}`
    const text = `---- GAP: ${calls} not kept: ${entry.reason} ----`
    return { cells: [instant(entry.time), entry.host, text], tone: 'odd', sentence: true }
  }
  const { time, host, user, verdict, action, volume, subject, status, rule, reason } = entry
  const why = [rule, reason].filter(Boolean).join(': ')
  const cells = [instant(time), host, user || '-', verdict, action, audited(entry)]
  return {
    cells: [...cells, volume || subject?.volume || '-', status === 0 ? '-' : String(status), why],
    tone: verdict === 'deny' ? 'bad' : verdict === 'would-deny' ? 'odd' : undefined,
  }
}

/** In the same columns as calls. */
const eventLine = (entry: JournalEntry): Line => {
  if (entry.kind === 'gap') return gapLine(entry)
  const { time, host, type, action, name, id, attributes } = entry
  const cells = [instant(time), host, '-', 'event', action, `${type} ${name || short(id)}`, '-', '-']
  return { cells: [...cells, details(attributes)] }
}
