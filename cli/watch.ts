import { Failure } from '../process/failure.ts'
import { collectionOf, type Shown, shown } from '../registry/collections.ts'
import type { Collection } from '../registry/keys.ts'
import type { Entry, Event, Store } from '../registry/store.ts'
import { summary } from './columns.ts'
import { followPrefix } from './observe.ts'
import type { Output } from './output.ts'

export interface WatchOptions {
  readonly json?: boolean
  readonly from?: string
}

/** `watch [prefix]`: a line a change, until the signal fires. */
export const watch = async (
  store: Store,
  prefix: string,
  { json, from }: WatchOptions,
  signal: AbortSignal,
  output: Output,
): Promise<void> => {
  if (from !== undefined && !/^\d{1,19}$/.test(from))
    throw new Failure('invalid', `--from: expected a revision, a whole number, not "${from}"`)
  let lost = false
  const tell = (event: Event) => {
    const line = json ? jsonLine(event) : textLine(event, output)
    if (line !== undefined) output.print(line)
  }
  await followPrefix(
    store,
    prefix,
    { from, signal, output },
    {
      snapshot: (entries, revision) => {
        if (lost) for (const entry of entries) tell({ kind: 'put', entry })
        else if (process.stderr.isTTY)
          output.say(`watching ${prefix || 'everything'} from revision ${revision} on; Ctrl-C ends`)
        lost = false
      },
      changed: tell,
      reset: (reason) => {
        lost = true
        if (json) output.print(JSON.stringify({ kind: 'reset', reason }))
        output.say(`${reason}: changes may be missing, all that is there now follows`)
      },
    },
  )
}

/** Undefined for what is nobody's to see. */
const jsonLine = (event: Event): string | undefined => {
  const { kind } = event
  if (kind === 'put') {
    const collection = collectionOf(event.entry.key)
    if (!collection) return undefined
    return JSON.stringify({ revision: event.entry.revision, kind, ...shown(collection, event.entry) })
  }
  const { key, revision } = event
  return collectionOf(key) && JSON.stringify({ revision, kind, key })
}

const textLine = (event: Event, { style }: Output): string | undefined => {
  const key = event.kind === 'put' ? event.entry.key : event.key
  const collection = collectionOf(key)
  if (!collection) return undefined
  const at = style.title(new Date().toISOString().slice(11, 19))
  if (event.kind === 'delete') return `${at}  ${style.bad('delete')}  ${key}`
  return `${at}  ${style.good('put')}     ${key}  ${words(collection, event.entry)}`
}

const words = <C extends Collection>(collection: C, entry: Entry): string => {
  const one: Shown<C> = shown(collection, entry)
  return 'record' in one
    ? summary[collection](one.record)
    : `cannot be read: ${one.unreadable.split('\n', 1)}`
}
