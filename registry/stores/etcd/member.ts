import { Etcd3, type IOptions } from 'etcd3'

/** For how many ms a member may leave calls without an answer before it gets a new connection. */
const patience = 2000

/**
 * One member of a cluster, with its client. A connection that a firewall has forgotten, or whose packets were lost
 * for a while, looks like a member that hangs; gRPC takes 13 s to give it up, TCP far longer. So calls that time out
 * one after another get a new connection: if the member does hang, nothing is lost by that.
 */
export class Member {
  readonly #options: IOptions
  #client: Etcd3
  #generation = 0
  #silentSince: number | undefined

  constructor(options: IOptions) {
    this.#options = options
    this.#client = new Etcd3(options)
  }

  get client(): Etcd3 {
    return this.#client
  }

  answered(): void {
    this.#silentSince = undefined
  }

  /** A call that began at `began` (performance.now) has had no answer. */
  timedOut(began: number): void {
    this.#silentSince = Math.min(this.#silentSince ?? began, began)
    if (performance.now() - this.#silentSince < patience) return
    this.#silentSince = undefined
    this.#client.close()
    this.#generation += 1
    const grpcOptions = {
      ...this.#options.grpcOptions,
      // Clients with the same options share a connection: these must differ.
      'grpc.primary_user_agent': `openebs-registrator/${this.#generation}`,
    }
    this.#client = new Etcd3({ ...this.#options, grpcOptions })
  }

  close(): void {
    this.#client.close()
  }
}
