import { backoff, pause } from '../process/backoff.ts'
import { explain, isFailure } from '../process/failure.ts'
import type { Entry, Event, Revision, Store } from './store.ts'

/** What who observes a prefix is told, in order. */
export type Step =
  /** All that is there, as of the revision; changes after it follow. */
  | { readonly kind: 'snapshot'; readonly entries: readonly Entry[]; readonly revision: Revision }
  /** Whole revisions. */
  | { readonly kind: 'changes'; readonly events: readonly Event[] }
  /** What happened since the last step is not known: forget everything, a snapshot follows. */
  | { readonly kind: 'reset'; readonly reason: string }
  /** The store cannot be read; tried again until it can. */
  | { readonly kind: 'waiting'; readonly reason: string }

export const revisionOf = (event: Event): Revision =>
  event.kind === 'put' ? event.entry.revision : event.revision

/**
 * Observes a prefix: from a snapshot, or from just after the revision `from` without one. Nothing is lost and nothing
 * told twice; where the store no longer has the history for that, it says `reset` and begins anew. Ends with the
 * signal, or when the store is closed. Errors: `denied`, and what `watch` adds of its own.
 */
export async function* observe(
  store: Pick<Store, 'read' | 'watch'>,
  prefix: string,
  from: Revision | undefined,
  signal: AbortSignal,
): AsyncGenerator<Step> {
  let position = from
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      if (position === undefined) {
        const { entries, revision } = await store.read(prefix)
        yield { kind: 'snapshot', entries, revision }
        position = revision
      }
      for await (const events of store.watch(prefix, position, signal)) {
        attempt = 0
        const last = events.at(-1)
        if (!last) continue
        yield { kind: 'changes', events }
        position = revisionOf(last)
      }
      return
    } catch (error) {
      if (signal.aborted) return
      if (isFailure(error, 'conflict')) {
        position = undefined
        yield { kind: 'reset', reason: explain(error) }
      } else if (isFailure(error, 'unavailable')) yield { kind: 'waiting', reason: explain(error) }
      else throw error
      if (attempt > 0) await pause(backoff(attempt - 1, 200, 2000), signal)
    }
  }
}
