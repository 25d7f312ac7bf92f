import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { Failure, isFailure } from '../process/failure.ts'
import { parseJson } from '../process/json.ts'
import { keys } from './keys.ts'
import type { Store } from './store.ts'

/** origin, durable: which registry this is. A store that was emptied and began anew has none, or another. */
export const OriginRecord = z.looseObject({ id: z.uuid() })

/**
 * What tells a registry from any other: the store's own name for its data, and the mark that we leave in it. An etcd that
 * is wiped and started with the same arguments calls itself the same as before.
 */
export const Origin = z.object({ cluster: z.string(), mark: z.string() })
export type Origin = z.infer<typeof Origin>

/** Without a `mark` nobody has left one. Rejects as the store does. */
export const readOrigin = async (store: Store): Promise<{ cluster: string; mark?: string }> => {
  const key = keys.origin()
  const { entries, origin: cluster } = await store.readKeys([key])
  const [entry] = entries
  if (!entry) return { cluster }
  const parsed = OriginRecord.safeParse(parseJson(entry.value))
  if (!parsed.success) throw new Failure('invalid', `${key} cannot be read`, parsed.error)
  return { cluster, mark: parsed.data.id }
}

/** The registry's origin; leaves a mark where there is none. */
export const markOrigin = async (store: Store): Promise<Origin> => {
  for (;;) {
    const { cluster, mark } = await readOrigin(store)
    if (mark !== undefined) return { cluster, mark }
    const value = JSON.stringify({ id: randomUUID() })
    await store
      .apply([{ kind: 'put', key: keys.origin(), value, guard: 'absent' }])
      .catch((error: unknown) => {
        // another host was first
        if (!isFailure(error, 'conflict')) throw error
      })
  }
}
