import { once } from 'node:events'
import type { ClientDuplexStream } from '@grpc/grpc-js'
import {
  castGrpcError,
  EtcdLeaseInvalidError,
  type ILeaseKeepAliveRequest,
  type ILeaseKeepAliveResponse,
} from 'etcd3'
import { isFailure } from '../../../process/failure.ts'
import type { Lease, LeaseId } from '../../store.ts'
import type { Members } from './members.ts'

/**
 * A lease of etcd. Only etcd says that it is gone: its clock decides, and it goes on counting from its own start
 * after an outage, so a clock of ours would give up leases that still hold.
 */
export class EtcdLease implements Lease {
  readonly id: LeaseId
  readonly ttl: number
  readonly #members: Members

  constructor(members: Members, id: LeaseId, ttl: number) {
    this.#members = members
    this.id = id
    this.ttl = ttl
  }

  async keepAlive(): Promise<void> {
    await this.#members.call(this.#members.end((this.ttl * 1000) / 3), async (client, options) => {
      // The call is made by hand, as one that etcd3 makes has no time limit of its own.
      const stream = (await client.leaseClient.leaseKeepAlive(options)) as unknown as ClientDuplexStream<
        ILeaseKeepAliveRequest,
        ILeaseKeepAliveResponse
      >
      try {
        stream.write({ ID: this.id })
        // Closed at once: etcd3 resets the connection of a stream that fails while it is open for writing.
        stream.end()
        const [response] = (await once(stream, 'data')) as [ILeaseKeepAliveResponse]
        if (response.TTL === '0') throw new EtcdLeaseInvalidError(this.id)
      } catch (error) {
        throw error instanceof Error ? castGrpcError(error) : error
      } finally {
        stream.cancel()
      }
    })
  }

  async revoke(): Promise<void> {
    try {
      await this.#members.call(this.#members.end(), (client, options) =>
        client.leaseClient.leaseRevoke({ ID: this.id }, options),
      )
    } catch (error) {
      if (!isFailure(error, 'not-found')) throw error
    }
  }
}
