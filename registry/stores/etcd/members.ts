import type { CallOptions, Interceptor } from '@grpc/grpc-js'
import type { Etcd3 } from 'etcd3'
import type { z } from 'zod'
import { backoff, pause } from '../../../process/backoff.ts'
import { Failure } from '../../../process/failure.ts'
import { clientOptions } from './client.ts'
import { isTimeout, isTransient, toFailure } from './failures.ts'
import { login } from './login.ts'
import { Member } from './member.ts'
import { type EtcdSettings, parseStoreUri, type StoreAddress } from './settings.ts'

/**
 * The members of a cluster, used one at a time: the first that fails a call hands over to the
 * next. A call is retried in here and nowhere below, as only then its bound holds and its caller knows how often it
 * was sent.
 */
export class Members {
  readonly address: StoreAddress
  readonly where: string
  /** What every call and stream needs in its options. */
  readonly interceptors: readonly Interceptor[]
  readonly #all: readonly Member[]
  readonly #user: string | undefined
  readonly #limit: number
  #current: number

  /** Reads the TLS files, connects to nothing. Errors: `invalid`. */
  constructor(settings: z.output<typeof EtcdSettings>) {
    this.address = parseStoreUri(settings.uri)
    this.where = this.address.hosts.join(',')
    this.#user = settings.user
    this.#limit = settings.limit
    this.#all = this.address.hosts.map((host) => new Member(clientOptions(host, this.address.tls, settings)))
    this.#current = Math.floor(Math.random() * this.#all.length)
    const { user: name, password } = settings
    this.interceptors =
      name === undefined || password === undefined ? [] : [login(() => this.#login(name, password))]
  }

  /** The time (performance.now) at which a call that begins now must have ended; at most `most` ms away. */
  end(most = Number.POSITIVE_INFINITY): number {
    return performance.now() + Math.min(this.#limit, most)
  }

  /** Runs `fn` on one member after another until one answers, at most until `end`. Errors: as in failures.ts. */
  async call<T>(end: number, fn: (client: Etcd3, options: CallOptions) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      const { member, client, failed } = this.pick()
      const began = performance.now()
      // A third of the bound each: a member that hangs leaves time for two others.
      const ms = Math.max(1, Math.min(this.#limit / 3, end - began))
      try {
        const answer = await fn(client, { deadline: Date.now() + ms, interceptors: [...this.interceptors] })
        member.answered()
        return answer
      } catch (error) {
        // A client that was replaced under a call is no reason to give the call up.
        if (!isTransient(error) && client === member.client) throw this.failure(error)
        if (isTimeout(error)) member.timedOut(began)
        failed()
        const rounds = attempt + 1 - this.#all.length
        const wait = rounds < 0 ? 0 : backoff(rounds, 50, 1000)
        if (performance.now() + wait >= end) throw this.failure(error)
        await pause(wait)
      }
    }
  }

  /** The member in use; call `failed` when a stream of it ends early. */
  pick(): { member: Member; client: Etcd3; failed: () => void } {
    const index = this.#current
    const member = this.#all[index]
    if (!member) throw new Failure('invalid', 'a store needs at least one host')
    const failed = () => {
      // Of many calls that fail together only the first moves on.
      if (this.#current === index) this.#current = (index + 1) % this.#all.length
    }
    return { member, client: member.client, failed }
  }

  failure(error: unknown): Failure {
    return toFailure(error, this.where, this.#user)
  }

  async #login(name: string, password: string): Promise<string> {
    const deadline = Date.now() + this.#limit / 3
    return (await this.pick().client.auth.authenticate({ name, password }, { deadline })).token
  }

  close(): void {
    for (const member of this.#all) member.close()
  }
}
