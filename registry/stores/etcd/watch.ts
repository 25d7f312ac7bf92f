import { type ClientDuplexStream, InterceptingCall, type Interceptor } from '@grpc/grpc-js'
import {
  castGrpcError,
  type Etcd3,
  EtcdWatchStreamEnded,
  type IWatchRequest,
  type IWatchResponse,
} from 'etcd3'
import { backoff, pause } from '../../../process/backoff.ts'
import { Failure } from '../../../process/failure.ts'
import type { Event, Revision } from '../../store.ts'
import type { Members } from './members.ts'
import { toEntry } from './transaction.ts'

/** The keys from `key` up to but without `range_end`. */
export interface Range {
  readonly key: Buffer
  readonly range_end: Buffer
}

/**
 * Follows a range over any number of connections. It resumes after the last revision whose events were handed out;
 * etcd3's own watchers resume after the last one that any answer mentioned, and lose what lies between. `prove` is
 * asked before every connection for the store's present revision, by a read that a majority stands for: if it lies
 * before ours, or is another cluster's, etcd has lost its data, and would wait in silence for the revision to come.
 * `cut` is the length of the store's prefix in bytes. Errors: `conflict`, `denied`.
 */
export async function* follow(
  members: Members,
  { range, from, cut, patience }: { range: Range; from: Revision; cut: number; patience: number },
  prove: () => Promise<{ cluster_id: string; revision: Revision }>,
  signal: AbortSignal,
): AsyncGenerator<readonly Event[]> {
  let seen = BigInt(from)
  let origin: string | undefined
  for (let attempt = 0; !signal.aborted; attempt++) {
    let failed = () => {}
    try {
      const now = await prove()
      origin ??= now.cluster_id
      if (BigInt(now.revision) < seen || now.cluster_id !== origin)
        throw new Failure('conflict', `etcd at ${members.where} has lost what it had at revision ${seen}`)
      const picked = members.pick()
      failed = picked.failed
      const { interceptors } = members
      const start = seen + 1n
      for await (const response of responses(
        picked.client,
        interceptors,
        { range, start, patience },
        signal,
      )) {
        attempt = 0
        const last = response.events.at(-1)
        if (!last) continue
        seen = BigInt(last.kv.mod_revision)
        yield response.events.map(
          (event): Event =>
            event.type.toUpperCase() === 'PUT'
              ? { kind: 'put', entry: toEntry(event.kv, cut) }
              : {
                  kind: 'delete',
                  key: event.kv.key.subarray(cut).toString(),
                  revision: event.kv.mod_revision,
                },
        )
      }
    } catch (error) {
      if (signal.aborted) return
      const failure = members.failure(error)
      if (failure.kind !== 'unavailable') throw failure
      failed()
      await pause(backoff(attempt, 100, 1000), signal)
    }
  }
}

/**
 * The answers of one watch on one connection. Throws when it ends, or says nothing for `patience` ms though it is asked
 * three times.
 */
async function* responses(
  client: Etcd3,
  interceptors: readonly Interceptor[],
  { range, start, patience }: { range: Range; start: bigint; patience: number },
  signal: AbortSignal,
): AsyncGenerator<IWatchResponse> {
  const stream = (await client.watchClient.watch({
    interceptors: [...interceptors, requireLeader],
  })) as unknown as ClientDuplexStream<IWatchRequest, IWatchResponse>
  const cancel = () => stream.cancel()
  signal.addEventListener('abort', cancel)
  // Undefined while our own reader is busy: answers are then left waiting by us.
  let waiting: number | undefined = performance.now()
  const asking = setInterval(() => {
    if (waiting !== undefined && performance.now() - waiting > patience) cancel()
    else stream.write({ progress_request: {} })
  }, patience / 3)
  try {
    if (signal.aborted) return
    stream.write({ create_request: { ...range, start_revision: String(start), progress_notify: true } })
    for await (const response of stream as AsyncIterable<IWatchResponse>) {
      if (response.canceled) throw canceled(response)
      waiting = undefined
      yield response
      waiting = performance.now()
    }
    throw new EtcdWatchStreamEnded()
  } catch (error) {
    throw error instanceof Error ? castGrpcError(error) : error
  } finally {
    clearInterval(asking)
    signal.removeEventListener('abort', cancel)
    stream.cancel()
  }
}

const canceled = ({ compact_revision, cancel_reason }: IWatchResponse): Error => {
  if (compact_revision !== '0')
    return new Failure('conflict', `etcd has compacted its history up to ${compact_revision}`)
  if (/permission denied/.test(cancel_reason))
    return new Failure('denied', 'etcd does not permit to follow these keys')
  return new EtcdWatchStreamEnded()
}

/** A member that is cut off from the others ends the watch instead of keeping it open and silent. */
const requireLeader: Interceptor = (options, nextCall) =>
  new InterceptingCall(nextCall(options), {
    start: (metadata, listener, next) => {
      const marked = metadata.clone()
      marked.set('hasleader', 'true')
      next(marked, listener)
    },
  })
