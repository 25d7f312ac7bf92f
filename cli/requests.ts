import { randomUUID } from 'node:crypto'
import { pause } from '../process/backoff.ts'
import { Failure, type FailureKind, failureKinds } from '../process/failure.ts'
import { decode, encode, keys } from '../registry/keys.ts'
import { observe } from '../registry/observe.ts'
import type { Request } from '../registry/requests.ts'
import type { Lease, Store } from '../registry/store.ts'

/** Seconds that a request outlives who asked. */
const leaseTtl = 30
/** ms until a plugin that lives has taken it, and until it must be done. */
interface Limits {
  readonly taken: number
  readonly done: number
}
const limits: Limits = { taken: 10_000, done: 600_000 }

export interface Question {
  readonly kind: string
  readonly arguments: Readonly<Record<string, unknown>>
}

/**
 * Asks the plugin of a host and waits for its answer, telling what it is at. Rejects with `unavailable` where it does not live
 * or does not answer in time, and as the plugin does.
 */
export const ask = async (
  store: Store,
  host: string,
  question: Question,
  { progress = () => {}, within = limits }: { progress?: (doing: string) => void; within?: Limits } = {},
): Promise<unknown> => {
  const alive = await store.readKeys([keys.alive(host)])
  if (alive.entries.length === 0)
    throw new Failure(
      'unavailable',
      `the plugin of host ${host} does not run: docker plugin enable openebs there, and see that it reaches the store`,
    )
  const lease = await store.grant(leaseTtl)
  const done = new AbortController()
  try {
    const renewing = renew(lease, done.signal)
    const answering = converse(store, host, question, lease, { progress, within, signal: done.signal })
    return await Promise.race([answering, renewing])
  } finally {
    done.abort()
    // with it goes the request
    await lease.revoke()
  }
}

const renew = async (lease: Lease, signal: AbortSignal): Promise<never> => {
  for (;;) {
    await pause((leaseTtl * 1000) / 3, signal)
    if (signal.aborted) return new Promise<never>(() => {})
    await lease.keepAlive()
  }
}

const converse = async (
  store: Store,
  host: string,
  question: Question,
  lease: Lease,
  { progress, within, signal }: { progress: (doing: string) => void; within: Limits; signal: AbortSignal },
): Promise<unknown> => {
  const id = randomUUID()
  const key = keys.request(host, id)
  const asked = new Date().toISOString()
  const value = encode('requests', {
    ...question,
    arguments: { ...question.arguments },
    host,
    id,
    asked,
    state: 'asked',
  })
  const from = await store.apply([{ kind: 'put', key, value, guard: 'absent', lease }])
  const { promise: late, reject } = Promise.withResolvers<never>()
  const giveUp = (ms: number, what: string) =>
    setTimeout(
      () => reject(new Failure('unavailable', `the plugin of host ${host} ${what} ${ms / 1000} s`)),
      ms,
    )
  const timers = [giveUp(within.taken, 'does not answer (is it of an older version?) within')]
  try {
    const answer = async () => {
      for await (const request of versions(store, key, from, signal)) {
        if (request.state !== 'asked') clearTimeout(timers[0])
        if (timers.length < 2) timers.push(giveUp(within.done, 'is not done after'))
        if (request.state === 'done') return request.answer
        if (request.state === 'failed') throw failureOf(request)
        if (request.progress !== undefined) progress(request.progress)
      }
      throw new Failure('unavailable', `the request to host ${host} ended without an answer`)
    }
    return await Promise.race([answer(), late])
  } finally {
    for (const timer of timers) clearTimeout(timer)
  }
}

/** The request as it comes to be. Ends with it. */
async function* versions(
  store: Store,
  key: string,
  from: string,
  signal: AbortSignal,
): AsyncGenerator<Request> {
  for await (const step of observe(store, key, from, signal)) {
    if (step.kind === 'snapshot')
      for (const entry of step.entries) yield decode('requests', entry.key, entry.value)
    if (step.kind !== 'changes') continue
    for (const event of step.events) {
      if (event.kind === 'delete') return
      yield decode('requests', event.entry.key, event.entry.value)
    }
  }
}

const failureOf = ({ failure }: Request): Failure => {
  const kind = failureKinds.find((one): one is FailureKind => one === failure?.kind) ?? 'invalid'
  return new Failure(kind, failure?.text ?? 'the plugin does not say why it failed')
}
