import { backoff, pause } from '../process/backoff.ts'
import { explain, Failure, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { decode, encode, keyParts, keys } from '../registry/keys.ts'
import { observe } from '../registry/observe.ts'
import { leaseOf, type Request } from '../registry/requests.ts'
import type { Entry, Store } from '../registry/store.ts'

/**
 * Does what a request wants and returns its answer. Rejects with a Failure. It may be begun anew: whoever asked repeats what
 * a crash cut short.
 */
export type Handler = (
  given: Readonly<Record<string, unknown>>,
  progress: (doing: string) => void,
) => Promise<unknown>

/** Serves requests/<host>/: what is asked is taken, done by the handler of its kind, and answered in the same key. */
export class Requests {
  readonly #store: Store
  readonly #host: string
  readonly #run: string
  readonly #handlers: Readonly<Record<string, Handler>>
  readonly #log: Log
  readonly #underWay = new Set<string>()

  /** `run` names this run of the plugin. */
  constructor(parts: {
    store: Store
    host: string
    run: string
    handlers: Readonly<Record<string, Handler>>
    log: Log
  }) {
    this.#store = parts.store
    this.#host = parts.host
    this.#run = parts.run
    this.#handlers = parts.handlers
    this.#log = parts.log
  }

  /** Serves until the signal fires, whatever happens to the store. */
  async run(signal: AbortSignal): Promise<void> {
    for (let attempt = 0; !signal.aborted; attempt++)
      try {
        await this.#follow(signal)
        return
      } catch (error) {
        if (!isFailure(error)) throw error
        this.#log.warn({ reason: explain(error) }, 'requests to this host cannot be followed: trying again')
        await pause(backoff(attempt, 1_000, 60_000), signal)
      }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    for await (const step of observe(this.#store, keys.requests(this.#host), undefined, signal)) {
      if (step.kind === 'snapshot') for (const entry of step.entries) this.#take(entry)
      if (step.kind === 'changes')
        for (const event of step.events) if (event.kind === 'put') this.#take(event.entry)
    }
  }

  #take(entry: Entry): void {
    if (this.#underWay.has(entry.key)) return
    this.#underWay.add(entry.key)
    void this.#serve(entry)
      .catch((error: unknown) => {
        // whoever asked is gone, or the store: the question is asked again
        if (isFailure(error))
          this.#log.warn({ key: entry.key, reason: explain(error) }, 'a request is dropped')
        else this.#log.error({ key: entry.key, error }, 'a request failed by a bug')
      })
      .finally(() => this.#underWay.delete(entry.key))
  }

  async #serve(entry: Entry): Promise<void> {
    const request = read(entry)
    if (!request || request.state === 'done' || request.state === 'failed') return
    if (request.state === 'working') {
      if (request.worker !== this.#run)
        await this.#put(entry, {
          ...request,
          state: 'failed',
          failure: { kind: 'unavailable', text: 'the plugin ended while it was at it: ask again' },
        })
      return
    }
    const working: Request = { ...request, state: 'working', worker: this.#run }
    const answering = new Answer(this.#store, await this.#put(entry, working))
    const outcome = await this.#work(request, (progress) => answering.put({ ...working, progress }))
    await answering.end({ ...working, ...outcome })
  }

  async #work(request: Request, progress: (doing: string) => void): Promise<Partial<Request>> {
    try {
      const handler = Object.hasOwn(this.#handlers, request.kind) ? this.#handlers[request.kind] : undefined
      if (!handler) {
        const known = Object.keys(this.#handlers).join(', ')
        throw new Failure(
          'invalid',
          `the plugin of ${this.#host} knows no request "${request.kind}" (${known}): is it of another version?`,
        )
      }
      return { state: 'done', answer: await handler(request.arguments, progress) }
    } catch (error) {
      if (!isFailure(error)) this.#log.error({ kind: request.kind, error }, 'a request failed by a bug')
      const text = isFailure(error) ? explain(error) : 'internal error of the openebs plugin: see its log'
      return { state: 'failed', failure: { kind: isFailure(error) ? error.kind : 'invalid', text } }
    }
  }

  async #put(entry: Entry, request: Request): Promise<Entry> {
    return putOver(this.#store, entry, request)
  }
}

/** The one writer of a request that is worked at. A progress that comes while another is being written takes its place. */
class Answer {
  readonly #store: Store
  #entry: Entry
  #next: Request | undefined
  #writing: Promise<void> | undefined

  constructor(store: Store, entry: Entry) {
    this.#store = store
    this.#entry = entry
  }

  put(request: Request): void {
    this.#next = request
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined
    })
    // told at the end
    this.#writing.catch(() => {})
  }

  async end(request: Request): Promise<void> {
    this.#next = undefined
    await this.#writing?.catch(() => {})
    this.#entry = await putOver(this.#store, this.#entry, request)
  }

  async #write(): Promise<void> {
    while (this.#next) {
      const request = this.#next
      this.#next = undefined
      this.#entry = await putOver(this.#store, this.#entry, request)
    }
  }
}

const putOver = async (store: Store, entry: Entry, request: Request): Promise<Entry> => {
  const value = encode('requests', request)
  const guard = { revision: entry.revision }
  const revision = await store.apply([{ kind: 'put', key: entry.key, value, guard, ...leaseOf(entry) }])
  return { ...entry, value, revision }
}

/** Undefined for what this version cannot read. */
const read = ({ key, value }: Entry): Request | undefined => {
  try {
    const request = decode('requests', key, value)
    return keyParts(key)[2] === request.id ? request : undefined
  } catch (error) {
    if (isFailure(error, 'invalid')) return undefined
    throw error
  }
}
