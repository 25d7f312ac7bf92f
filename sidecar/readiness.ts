import type { WatchState } from '../docker/watch.ts'
import { explain, Failure, isFailure } from '../process/failure.ts'
import { keys } from '../registry/keys.ts'
import type { Store } from '../registry/store.ts'
import type { ReconcilerState } from './reconciler.ts'

/** ms that the registry may be behind, and that the store may take to say so, before a sidecar counts as not ready. */
export const patience = 2000

export interface Standing {
  readonly docker: WatchState
  /** The engine's address, for people. */
  readonly endpoint: string
  /** What of the engine has not been looked at yet. */
  readonly unseen: ReadonlySet<string>
  /** There is no registry to write to, but outlets alone. */
  readonly withoutRegistry?: boolean
  readonly reconciler: ReconcilerState | undefined
  readonly refused: ReadonlyMap<string, string>
}

/** What is missing for this sidecar to do its work, by what it knows without asking anybody. Pure. */
export const missingParts = (standing: Standing): string[] => {
  const { docker, endpoint, unseen, withoutRegistry, reconciler, refused } = standing
  const missing: string[] = []
  if (docker.kind !== 'watching') missing.push(`Docker Engine at ${endpoint}: ${docker.reason}`)
  else if (unseen.size > 0) missing.push(`Docker Engine: not looked at yet: ${[...unseen].join(', ')}`)
  if (withoutRegistry) return missing
  if (!reconciler) missing.push("registry: the host's name is not known yet")
  else if (reconciler.kind === 'waiting')
    missing.push(because(`registry: ${reconciler.reason}`, reconciler.detail))
  else if (reconciler.lag() > patience)
    missing.push(
      because(`registry: behind by ${Math.round(reconciler.lag() / 1000)} s`, reconciler.trouble()),
    )
  for (const [key, reason] of refused) missing.push(`${key} cannot be written: ${reason}`)
  return missing
}

const because = (what: string, why: string | undefined): string =>
  why === undefined || what.includes(why) ? what : `${what}: ${why}`

/** The proof that the registry holds this very run: undefined, or why not. Ends within `patience`. */
export const missingRecord = async (
  store: Store,
  host: string,
  instance: string,
): Promise<string | undefined> => {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const why = `no answer within ${patience / 1000} s`
  const timer = setTimeout(() => reject(new Failure('unavailable', why)), patience)
  try {
    const key = keys.host(host)
    const { entries } = await Promise.race([store.readKeys([key]), late])
    const [entry] = entries
    return entry?.value.includes(JSON.stringify(instance))
      ? undefined
      : `registry: ${key} does not hold this run`
  } catch (error) {
    if (!isFailure(error)) throw error
    return `registry: ${store.description}: ${explain(error)}`
  } finally {
    clearTimeout(timer)
  }
}
