import { readFileSync } from 'node:fs'
import { rootCertificates } from 'node:tls'
import type { CallOptions } from '@grpc/grpc-js'
import { noop as plainPolicy } from 'cockatiel'
import { Etcd3, type IOptions, RecoverableError } from 'etcd3'
import type { z } from 'zod'
import { backoff, pause } from '../../../process/backoff.ts'
import { Failure } from '../../../process/failure.ts'
import { isTransient, toFailure } from './failures.ts'
import { type EtcdSettings, parseStoreUri, type StoreAddress } from './settings.ts'

/**
 * The members of a cluster, one etcd3 client each, used one at a time: the first that fails a call hands over to the
 * next. A call is retried in here and nowhere below, as only then its bound holds and its caller knows how often it
 * was sent.
 */
export class Members {
  readonly address: StoreAddress
  readonly where: string
  readonly #clients: readonly Etcd3[]
  readonly #user: string | undefined
  readonly #limit: number
  #current: number

  /** Reads the TLS files, connects to nothing. Errors: `invalid`. */
  constructor(settings: z.output<typeof EtcdSettings>) {
    this.address = parseStoreUri(settings.uri)
    this.where = this.address.hosts.join(',')
    this.#user = settings.user
    this.#limit = settings.limit
    this.#clients = this.address.hosts.map((host) => new Etcd3(options(host, this.address.tls, settings)))
    this.#current = Math.floor(Math.random() * this.#clients.length)
  }

  /** The time (performance.now) at which a call that begins now must have ended; at most `most` ms away. */
  end(most = Number.POSITIVE_INFINITY): number {
    return performance.now() + Math.min(this.#limit, most)
  }

  /** Runs `fn` on one member after another until one answers, at most until `end`. Errors: as in failures.ts. */
  async call<T>(end: number, fn: (member: Etcd3, options: CallOptions) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      const { member, failed } = this.pick()
      // A third of the bound each: a member that hangs leaves time for two others.
      const ms = Math.max(1, Math.min(this.#limit / 3, end - performance.now()))
      try {
        return await fn(member, { deadline: Date.now() + ms })
      } catch (error) {
        if (!isTransient(error)) throw this.failure(error)
        failed()
        const rounds = attempt + 1 - this.#clients.length
        const wait = rounds < 0 ? 0 : backoff(rounds, 50, 1000)
        if (performance.now() + wait >= end) throw this.failure(error)
        await pause(wait)
      }
    }
  }

  /** The member in use, for a stream; call `failed` when it ends early. */
  pick(): { member: Etcd3; failed: () => void } {
    const index = this.#current
    const member = this.#clients[index]
    if (!member) throw new Failure('invalid', 'a store needs at least one host')
    const failed = () => {
      // Of many calls that fail together only the first moves on.
      if (this.#current === index) this.#current = (index + 1) % this.#clients.length
    }
    return { member, failed }
  }

  failure(error: unknown): Failure {
    return toFailure(error, this.where, this.#user)
  }

  close(): void {
    for (const client of this.#clients) client.close()
  }
}

/**
 * etcd3 closes a member's channels on every error that carries its mark, which costs the calls of others and lets
 * connections pile up. gRPC reconnects by itself, so the mark comes off.
 */
const unmark = Object.assign(Object.create(plainPolicy) as typeof plainPolicy, {
  execute: async <T>(fn: (context: { signal: AbortSignal }) => PromiseLike<T> | T): Promise<T> => {
    try {
      return await fn({ signal: never })
    } catch (error) {
      if (error instanceof Error) Reflect.deleteProperty(error, RecoverableError)
      throw error
    }
  },
})
const never = new AbortController().signal

const options = (host: string, tls: boolean, s: z.output<typeof EtcdSettings>): IOptions => ({
  hosts: `${tls ? 'https' : 'http'}://${host}`,
  ...(tls && { credentials: credentials(s) }),
  ...(s.user !== undefined &&
    s.password !== undefined && { auth: { username: s.user, password: s.password } }),
  // For the password exchange, the only call that we do not make ourselves. etcd3 sets none by default: a call to a
  // member that hangs would hang with it.
  defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + s.limit / 3 }),
  faultHandling: { host: () => unmark, global: plainPolicy },
  grpcOptions: {
    // A half-open connection shows within 13 s. Pinging more often, or without calls, etcd answers with GOAWAY.
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 3000,
    'grpc.keepalive_permit_without_calls': 0,
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 1000,
    // The default of 4 MB is less than a host's records may take.
    'grpc.max_receive_message_length': -1,
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
  },
})

const credentials = (s: z.output<typeof EtcdSettings>): NonNullable<IOptions['credentials']> => ({
  rootCertificate: s.ca === undefined ? Buffer.from(rootCertificates.join('\n')) : pem('ca', s.ca),
  ...(s.key !== undefined && { privateKey: pem('key', s.key) }),
  ...(s.cert !== undefined && { certChain: pem('cert', s.cert) }),
})

const pem = (name: string, file: string): Buffer => {
  try {
    return readFileSync(file)
  } catch (error) {
    throw new Failure('invalid', `${name}: cannot read ${file}`, error)
  }
}
