import { backoff, pause } from '../process/backoff.ts'
import { explain, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import type { Event, Revision, Store } from './store.ts'

/** ms that a watch may be silent: what it misses a resync finds, so it need not be asked often whether it lives. */
const patience = 30_000

/**
 * Follows a prefix until the signal fires, whatever happens to the store. Where its history is lost (compaction,
 * another cluster) `lost` is called, and it goes on from `from()`, which is asked at every beginning. A store that
 * does not permit it is not asked again.
 */
export const follow = async (
  store: Store,
  prefix: string,
  options: {
    from: () => Revision | undefined
    heard: (events: readonly Event[]) => void
    lost: () => void
    signal: AbortSignal
    log?: Pick<Log, 'warn'>
  },
): Promise<void> => {
  const { from, heard, lost, signal, log } = options
  for (let attempt = 0; !signal.aborted; attempt++) {
    const revision = from()
    try {
      if (revision !== undefined)
        for await (const events of store.watch(prefix, revision, signal, patience)) {
          attempt = 0
          heard(events)
        }
    } catch (error) {
      if (!isFailure(error)) throw error
      if (error.kind === 'denied') {
        log?.warn(
          { prefix, reason: explain(error) },
          'cannot follow our own records: what another hand changes there waits for a resync',
        )
        return
      }
      lost()
    }
    await pause(backoff(attempt, 100, 10_000), signal)
  }
}
