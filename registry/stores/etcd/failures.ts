import {
  ClientClosedError,
  EtcdAuthenticationFailedError,
  EtcdInvalidAuthTokenError,
  EtcdLeaseInvalidError,
  EtcdPermissionDeniedError,
  EtcdWatchStreamEnded,
  GRPCAbortedError,
  GRPCCancelledError,
  GRPCDeadlineExceededError,
  GRPCFailedPreconditionError,
  GRPCInternalError,
  GRPCInvalidArgumentError,
  GRPCOutOfRangeError,
  GRPCResourceExhastedError,
  GRPCUnauthenticatedError,
  GRPCUnavailableError,
  GRPCUnknownError,
} from 'etcd3'
import { Failure } from '../../../process/failure.ts'

const is = (error: unknown, ...classes: (abstract new (...args: never[]) => unknown)[]): boolean =>
  classes.some((one) => error instanceof one)
const message = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** The revision that was asked for is no longer kept. */
export const isCompacted = (error: unknown): boolean =>
  is(error, GRPCOutOfRangeError) || /revision has been compacted/.test(message(error))

/** No answer came in time. */
export const isTimeout = (error: unknown): boolean => is(error, GRPCDeadlineExceededError)

/** etcd has no space: it will take writes again, but surely has not done this one. */
export const isRefusal = (error: unknown): boolean => /database space exceeded/.test(message(error))

/**
 * Another try, or another member, may succeed. Such an error never tells whether a write was done: etcd goes on with
 * a request whose client has stopped waiting.
 */
export const isTransient = (error: unknown): boolean =>
  is(
    error,
    GRPCUnavailableError,
    GRPCDeadlineExceededError,
    GRPCCancelledError,
    GRPCAbortedError,
    GRPCInternalError,
    EtcdWatchStreamEnded,
    EtcdInvalidAuthTokenError,
  ) ||
  /etcdserver: (request timed out|leader changed|no leader|not leader|too many requests|server stopped|not healthy)/.test(
    message(error),
  ) ||
  (is(error, GRPCUnknownError, GRPCResourceExhastedError) && !/etcdserver: /.test(message(error)))

/** The one place where etcd's errors become ours. `where` is the cluster's hosts, `user` who we are, if anyone. */
export const toFailure = (error: unknown, where: string, user?: string): Failure => {
  if (error instanceof Failure) return error
  const text = message(error)
  const etcd = `etcd at ${where}`
  const fail = (kind: Failure['kind'], doing: string) => new Failure(kind, doing, error)
  if (is(error, ClientClosedError))
    return fail('unavailable', `${etcd} is no longer used here: the store is closed`)
  if (is(error, EtcdLeaseInvalidError)) return fail('not-found', `${etcd} has dropped the lease`)
  if (isCompacted(error)) return fail('conflict', `${etcd} no longer has that part of its history`)
  if (is(error, EtcdPermissionDeniedError))
    return fail('denied', `${etcd} does not permit this to ${user ? `user ${user}` : 'one without a user'}`)
  if (/user name is empty/.test(text)) return fail('denied', `${etcd} asks for a user and password`)
  if (is(error, GRPCFailedPreconditionError) && /authentication is not enabled/.test(text))
    return fail('denied', `${etcd} has no users enabled: leave out user and password`)
  if (is(error, EtcdAuthenticationFailedError, EtcdInvalidAuthTokenError, GRPCUnauthenticatedError))
    return fail('denied', `${etcd} does not accept the user or its password`)
  if (isRefusal(error))
    return fail(
      'unavailable',
      `${etcd} has used up its space quota: compact and defragment it, then disarm the alarm`,
    )
  if (is(error, GRPCInvalidArgumentError) || /too many operations|duplicate key|too large/.test(text))
    return fail('invalid', `${etcd} refuses the request`)
  if (/certificate|self.signed|\bSSL\b|\bTLS\b|altname/i.test(text))
    return fail('unavailable', `${etcd}: the TLS connection fails`)
  return fail('unavailable', `${etcd} does not answer`)
}
