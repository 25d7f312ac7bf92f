import { type EngineEvent, eventKey, instantKey } from '../docker/events.ts'
import type { Gap } from '../docker/ring.ts'
import type { JournalEntry } from '../registry/records.ts'
import type { LabelFilter } from './labels.ts'

/** An entry without its host, and the last part of its key. */
export interface Entry {
  readonly key: string
  readonly record: WithoutHost
  /** Of an entry in the store that this one takes the place of. */
  readonly instead?: string
}
type WithoutHost = JournalEntry extends infer E ? (E extends JournalEntry ? Omit<E, 'host'> : never) : never

/** What an event says beside the labels of its object, which stand among these by the engine's doing. */
const said = new Set([
  ...['image', 'exitCode', 'signal', 'oldName', 'execDuration', 'imageID', 'imageRef', 'reclaimed'],
  ...['container', 'driver', 'type', 'destination', 'read/write', 'propagation'],
])
/** Of a swarm's objects: what it was, and what it is now. */
const change = /^[A-Za-z]+\.(old|new)$/
/** The types whose events carry labels. */
const labeled = new Set(['container', 'image', 'volume', 'network'])

/** An event as it stands in the journal. Pure. */
export const eventEntry = (event: EngineEvent, labels: LabelFilter): Entry => ({
  key: eventKey(event),
  record: {
    kind: 'event',
    time: timeText(BigInt(event.timeNano)),
    type: event.type,
    action: event.action,
    id: event.id,
    name: event.attributes.name ?? event.id,
    attributes: attributesOf(event, labels),
  },
})

const attributesOf = ({ type, attributes }: EngineEvent, labels: LabelFilter): Record<string, string> => {
  switch (type) {
    case 'daemon':
      return settingsOf(attributes)
    case 'secret':
    case 'config':
      return {}
    case 'node':
    case 'service':
      return pick(attributes, (name) => change.test(name))
    default: {
      const own = pick(attributes, (name) => said.has(name))
      if (!labeled.has(type)) return own
      return { ...labels(pick(attributes, (name) => name !== 'name' && !said.has(name))), ...own }
    }
  }
}

const pick = (of: Readonly<Record<string, string>>, passes: (name: string) => boolean) =>
  Object.fromEntries(Object.entries(of).filter(([name]) => passes(name)))

/** A reloaded daemon tells all of its configuration. Values may be nobody's business: only what is set is told. */
const settingsOf = (attributes: Readonly<Record<string, string>>): Record<string, string> => {
  const set = Object.entries(attributes).filter(([name, value]) => name !== 'name' && !unset.has(value))
  return { settings: set.map(([name]) => name).join(',') }
}
const unset = new Set(['', 'false', '0', '[]', '{}', 'null'])

/** A gap as it stands in the journal: where it ends. Pure. */
export const gapEntry = ({ from, to, reason }: Gap, instead?: string): Entry => ({
  key: instantKey(to, ['gap', String(from), String(to), reason]),
  record: { kind: 'gap', time: timeText(to), from: timeText(from), to: timeText(to), reason },
  ...(instead !== undefined && { instead }),
})

/** The nanoseconds that a key begins with. */
export const nanoOf = (key: string): bigint => BigInt(key.slice(0, 19))

/** ISO 8601 with all nine digits. */
const timeText = (nano: bigint): string => {
  const seconds = new Date(Number(nano / 1_000_000_000n) * 1000).toISOString().slice(0, 19)
  return `${seconds}.${String(nano % 1_000_000_000n).padStart(9, '0')}Z`
}
