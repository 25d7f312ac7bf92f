import type { Request, Response } from 'express'
import { pause } from '../../process/backoff.ts'
import { Failure, isFailure } from '../../process/failure.ts'
import { collectionOf, collections, shown } from '../../registry/collections.ts'
import { observe, revisionOf, type Step } from '../../registry/observe.ts'
import { SharedWatch } from '../../registry/shared-watch.ts'
import type { Entry, Event, Revision, Store } from '../../registry/store.ts'
import { EventStream, frame } from './event-stream.ts'
import { query } from './query.ts'

/** Streams at a time; each holds a connection. */
const most = 1000

/** What the streams of one sidecar have in common. */
export class Watchers {
  streams = 0
  readonly stop: AbortSignal
  readonly #store: () => Store | undefined
  #shared: { readonly store: Store; readonly watch: SharedWatch } | undefined

  constructor(store: () => Store | undefined, stop: AbortSignal) {
    this.#store = store
    this.stop = stop
  }

  /** The store, its watches shared; undefined while there is none. */
  store(): Pick<Store, 'read' | 'watch'> | undefined {
    const store = this.#store()
    if (!store) return undefined
    if (this.#shared?.store !== store) this.#shared = { store, watch: new SharedWatch(store) }
    return this.#shared.watch
  }
}

/**
 * /v1/watch?prefix=services/: a snapshot as `put` events and `ready`, then each change as `put` {key, record} or
 * `delete` {key}. After `reset` a new snapshot follows, and what was known before is void. With Last-Event-ID, or
 * ?from=<revision>, only what came after that revision. An `id` stands where a reader may resume: on `ready`, and on the
 * last change of a revision, as those of one revision belong together.
 *
 * It is always a stream: an EventSource gives up for good on any other answer than 200, and a store that is away is no
 * reason for that. Comments tell of it.
 */
export const serveWatch = async (watchers: Watchers, request: Request, response: Response): Promise<void> => {
  const { prefix = '', from: asked } = query(request, 'prefix', 'from')
  if (prefix !== '' && !(prefix.includes('/') && collectionOf(prefix)))
    throw new Failure(
      'invalid',
      `prefix "${prefix}": expected one of ${collections.join('/, ')}/, or more of a key`,
    )
  const from = revision(request.get('Last-Event-ID') || asked || undefined)
  if (watchers.streams >= most) throw new Failure('unavailable', `there are ${most} streams already`)
  if (request.method === 'HEAD') {
    response.type('text/event-stream').end()
    return
  }
  watchers.streams += 1
  try {
    await using stream = new EventStream(response, watchers.stop)
    for await (const step of steps(watchers, prefix, from, stream.signal)) await tell(stream, step)
  } catch (error) {
    // refused by the store, or too slow: the connection ends as if cut, and the reader may resume
    if (!isFailure(error, 'denied')) throw error
    response.destroy()
  } finally {
    watchers.streams -= 1
  }
}

const revision = (text: string | undefined): Revision | undefined => {
  if (text === undefined || /^\d{1,19}$/.test(text)) return text
  throw new Failure('invalid', `"${text}" is no revision to begin from: expected the id of an event`)
}

async function* steps(
  watchers: Watchers,
  prefix: string,
  from: Revision | undefined,
  signal: AbortSignal,
): AsyncGenerator<Step> {
  for (let store = watchers.store(); !signal.aborted; store = watchers.store()) {
    if (store) return yield* observe(store, prefix, from, signal)
    yield { kind: 'waiting', reason: 'not connected to a store yet' }
    await pause(1000, signal)
  }
}

const tell = async (stream: EventStream, step: Step): Promise<void> => {
  switch (step.kind) {
    case 'snapshot':
      for (const entry of step.entries) await stream.send(putFrame(entry))
      return stream.send(frame({ event: 'ready', id: step.revision, data: { revision: step.revision } }))
    case 'changes':
      return stream.send(changesFrame(step.events))
    case 'reset':
      // the empty id makes the reader forget the one it has: it leads nowhere any more
      return stream.send(frame({ event: 'reset', id: '', data: { reason: step.reason } }))
    case 'waiting':
      return stream.comment(`waiting: ${step.reason}`)
  }
}

const putFrame = (entry: Entry, id?: Revision): string => {
  const collection = collectionOf(entry.key)
  return collection ? frame({ event: 'put', id, data: shown(collection, entry) }) : ''
}

/** Texts of batches: readers that share a watch share these as well. */
const texts = new WeakMap<readonly Event[], string>()

const changesFrame = (events: readonly Event[]): string => {
  const known = texts.get(events)
  if (known !== undefined) return known
  const seen = events.filter((event) => collectionOf(keyOf(event)) !== undefined)
  const text = seen
    .map((event, index) => {
      const next = seen[index + 1]
      const id = next && revisionOf(next) === revisionOf(event) ? undefined : revisionOf(event)
      return event.kind === 'put'
        ? putFrame(event.entry, id)
        : frame({ event: 'delete', id, data: { key: event.key } })
    })
    .join('')
  texts.set(events, text)
  return text
}

const keyOf = (event: Event): string => (event.kind === 'put' ? event.entry.key : event.key)
