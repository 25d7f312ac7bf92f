import { pause } from '../process/backoff.ts'
import { explain, Failure, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { decode, encode, keys } from '../registry/keys.ts'
import type { Host } from '../registry/records.ts'
import type { Session } from '../registry/session.ts'
import type { Entry, Lease, Store } from '../registry/store.ts'

export interface Claim {
  /** Whether a record of an earlier run stood there. If not, its lease has ended, and none of its other records is left. */
  readonly inherited: boolean
}

/**
 * Makes hosts/<host> this run's own, bound to its lease. The record of an earlier run on the same seat, or of one that
 * left it to a successor, is taken over at once; that of any other run is waited for: if it was killed, its lease ends
 * within its TTL. `report` hears what is being waited for, and details that may differ from try to try. Returns undefined
 * when the signal fires or the lease is lost first. Rejects with `invalid` when the other run is still there after
 * `patience` (ms): it lives, and two sidecars must not serve one host. It asks `every` so many ms.
 */
export const claimHost = async (
  { store, lease, signal }: { store: Store; lease: Lease; signal: AbortSignal },
  host: Host,
  report: (waitingFor: string, detail?: string) => void,
  { every = 250, patience = lease.ttl * 1500 + 5000 }: { every?: number; patience?: number } = {},
): Promise<Claim | undefined> => {
  const key = keys.host(host.host)
  let waitingSince: number | undefined
  while (!signal.aborted) {
    try {
      const [entry] = (await store.readKeys([key])).entries
      const other = entry && holderOf(entry)
      if (other && !mayTakeOver(other, host)) {
        waitingSince ??= performance.now()
        if (performance.now() - waitingSince > patience) throw new Failure('invalid', stillThere(host, other))
        report(
          `host ${host.host} is held by another run (${other.instance}, since ${other.since}): waiting up to ${Math.ceil(patience / 1000)} s for its lease to end`,
        )
      } else {
        const guard = entry ? { revision: entry.revision } : 'absent'
        await store.apply([{ kind: 'put', key, value: encode('hosts', host), guard, lease }])
        return { inherited: entry !== undefined }
      }
    } catch (error) {
      if (isFailure(error, 'invalid') || !isFailure(error)) throw error
      if (error.kind === 'not-found') return undefined
      if (error.kind !== 'conflict') report(error.message, explain(error))
    }
    await pause(every, signal)
  }
  return undefined
}

/** Whether an entry is the record of this host, and names another run that lives. */
export const isHeldByAnother = (entry: Entry, host: Host): boolean => {
  if (entry.key !== keys.host(host.host)) return false
  const other = holderOf(entry)
  return other !== undefined && !mayTakeOver(other, host)
}

/** Drops the lease and with it all records of this host; where the store is away, the TTL does it. */
export const withdraw = async (session: Session, log: Log): Promise<void> => {
  try {
    await session.revoke()
  } catch (error) {
    if (!isFailure(error)) throw error
    log.warn({ reason: explain(error) }, 'the records could not be withdrawn: they go when their lease ends')
  }
}

/**
 * Leaves all records of this host to a successor, for a whole TTL from now on: hosts/<host> says that this run has
 * ended, and the lease is no longer renewed. Where the store is away a successor waits for the lease to end, unless it
 * has the same seat.
 */
export const leave = async (
  store: Store,
  session: Session,
  host: string,
  instance: string,
  log: Log,
): Promise<void> => {
  const lease = session.current()?.lease
  try {
    const [entry] = (await store.readKeys([keys.host(host)])).entries
    const ours = entry && holderOf(entry)
    if (entry && lease && ours?.instance === instance) {
      const value = encode('hosts', { ...ours, left: true })
      await store.apply([{ kind: 'put', key: entry.key, value, guard: { revision: entry.revision }, lease }])
    }
    await session.leave()
    if (lease) log.info({ ttl: lease.ttl }, 'the records are left to a successor')
  } catch (error) {
    if (!isFailure(error)) throw error
    log.warn(
      { reason: explain(error) },
      'the records could not be left in order: they go when their lease ends',
    )
  } finally {
    await session.release()
  }
}

/** The run that a record names. One that cannot be read holds nothing. */
const holderOf = (entry: Entry): Host | undefined => {
  try {
    return decode('hosts', entry.key, entry.value)
  } catch (error) {
    if (isFailure(error, 'invalid')) return undefined
    throw error
  }
}

const mayTakeOver = (other: Host, own: Host): boolean =>
  other.left === true ||
  other.instance === own.instance ||
  (own.seat !== undefined && other.seat === own.seat)

const stillThere = (host: Host, other: Host): string =>
  `another sidecar serves host ${host.host} (${other.instance}, since ${other.since}, address ${other.address}): stop it, or give one of the two hosts another name with OPENEBS_HOST`
