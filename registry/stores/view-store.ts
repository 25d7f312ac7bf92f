import { explain, isFailure } from '../../process/failure.ts'
import type { Log } from '../../process/log.ts'
import type { OnExit, OpenBackend } from '../backend.ts'
import { Published } from '../published.ts'
import type { PublisherHooks } from '../publisher.ts'
import { Session } from '../session.ts'
import type { Store } from '../store.ts'
import type { View } from '../views/view.ts'

export interface ViewStoreOptions {
  readonly host: string
  readonly view: Pick<View, 'owns' | 'groupOf' | 'shares'>
  readonly log: Log
  readonly hooks?: PublisherHooks
}

/** A view in a store, on the lease of a session that is another's. */
export const onSession = (store: Store, session: Session, options: ViewStoreOptions): OpenBackend => ({
  backend: new Published({ store, session, ...options }),
  close: () => store.close(),
})

/** The same on a lease of its own; `ttl` and `renew` in seconds. */
export const onOwnLease = (
  store: Store,
  lease: { readonly ttl: number; readonly renew?: number },
  options: ViewStoreOptions,
): OpenBackend => {
  const session = new Session(store, { ...lease, log: options.log })
  const stop = new AbortController()
  session.start(stop.signal)
  return {
    backend: new Published({ store, session, ...options }),
    close: async (onExit: OnExit) => {
      try {
        await (onExit === 'withdraw' ? session.revoke() : session.leave())
      } catch (error) {
        if (!isFailure(error)) throw error
        options.log.warn({ reason: explain(error) }, 'what was written goes when its lease ends')
      } finally {
        stop.abort()
        await session.release()
        await store.close()
      }
    },
  }
}
