import { pause } from '../process/backoff.ts'
import { explain, isFailure } from '../process/failure.ts'
import { observe } from '../registry/observe.ts'
import type { Entry, Event, Revision, Store } from '../registry/store.ts'
import type { Output } from './output.ts'

/** What a command that follows the registry does with what it is told. */
export interface Follower {
  /** The first one, and each after a reset. */
  snapshot(entries: readonly Entry[], revision: Revision): void
  changed(event: Event): void
  /** The history was lost; a snapshot follows. */
  reset(reason: string): void
}

/** Follows a prefix until the signal fires, over outages, which it tells of. Errors: `denied`. */
export const followPrefix = async (
  store: Store,
  prefix: string,
  { from, signal, output }: { from?: Revision | undefined; signal: AbortSignal; output: Output },
  follower: Follower,
): Promise<void> => {
  const done = new AbortController()
  const stop = AbortSignal.any([signal, done.signal])
  const telling = tellOutages(store, stop, output)
  try {
    for await (const step of observe(store, prefix, from, stop)) {
      if (step.kind === 'snapshot') follower.snapshot(step.entries, step.revision)
      if (step.kind === 'changes') for (const event of step.events) follower.changed(event)
      if (step.kind === 'reset') follower.reset(step.reason)
    }
  } finally {
    done.abort()
    await telling
  }
}

/** A watch waits out a store that is away, and says nothing; so it is asked beside the watch. */
const tellOutages = async (store: Store, signal: AbortSignal, output: Output): Promise<void> => {
  let away = false
  while (!signal.aborted) {
    const reason = await Promise.race([trouble(store), aborted(signal)])
    if (signal.aborted) return
    if (reason !== undefined && !away) output.say(`${reason}: waiting for it`)
    if (reason === undefined && away) output.say(`${store.description} is back`)
    away = reason !== undefined
    await pause(1000, signal)
  }
}

const trouble = async (store: Store): Promise<string | undefined> => {
  try {
    await store.readKeys(['policy']) // whatever stands there
    return undefined
  } catch (error) {
    if (isFailure(error, 'unavailable')) return explain(error)
    if (isFailure(error, 'denied')) return undefined // the watch says so
    throw error
  }
}

const aborted = (signal: AbortSignal): Promise<undefined> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined), { once: true }))
