import { Etcd3 } from 'etcd3'
import type { EtcdCluster, Teardown } from '../../test/support/etcd.ts'
import { now } from './clock.ts'

/** A change of a watched key. */
export interface Seen {
  readonly key: string
  /** Undefined: deleted. */
  readonly value: string | undefined
  /** ms since 1970 at which the watch delivered it. */
  readonly at: number
}

/** What an etcd holds and does, seen by a plain client and by its own counters. */
export class EtcdView {
  #cluster: EtcdCluster
  #client: Etcd3

  constructor(t: Teardown, cluster: EtcdCluster) {
    this.#cluster = cluster
    this.#client = new Etcd3({ hosts: cluster.members.map(({ url }) => url) })
    t.teardown(() => this.#client.close())
  }

  /** Cheap enough to be asked all the time: etcd sends the number alone. */
  async count(prefix: string): Promise<number> {
    const { count } = await this.#client.kv.range({ ...range(prefix), count_only: true })
    return Number(count)
  }

  async keys(prefix: string): Promise<string[]> {
    const { kvs } = await this.#client.kv.range({ ...range(prefix), keys_only: true })
    return kvs.map(({ key }) => key.toString())
  }

  /** Every write of anybody raises it. */
  async revision(): Promise<number> {
    const { header } = await this.#client.kv.range({ key: Buffer.from('x'), count_only: true })
    return Number(header.revision)
  }

  async delete(prefix: string): Promise<void> {
    await this.#client.kv.deleteRange(range(prefix))
  }

  /** Resolves when the watch stands. */
  async watch(t: Teardown, prefix: string, onChange: (seen: Seen) => void): Promise<void> {
    const watcher = await this.#client.watch().prefix(prefix).create()
    watcher.on('put', ({ key, value }) =>
      onChange({ key: key.toString(), value: value.toString(), at: now() }),
    )
    watcher.on('delete', ({ key }) => onChange({ key: key.toString(), value: undefined, at: now() }))
    t.teardown(() => watcher.cancel())
  }

  /** A counter of all members together. */
  async counter(name: string, labels = ''): Promise<number> {
    const texts = await Promise.all(
      this.#cluster.members.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()),
    )
    const values = texts
      .flatMap((text) => text.split('\n'))
      .filter((line) => (line.startsWith(`${name} `) || line.startsWith(`${name}{`)) && line.includes(labels))
      .map((line) => Number(line.split(' ').at(-1)))
    if (values.length === 0) throw new Error(`etcd has no counter ${name} ${labels}`)
    return values.reduce((sum, value) => sum + value, 0)
  }

  /** Renewals of leases, however many streams they came by. */
  keepAlives = () => this.counter('grpc_server_msg_received_total', 'grpc_method="LeaseKeepAlive"')
}

const range = (prefix: string) => {
  const key = Buffer.from(prefix)
  const range_end = Buffer.from(prefix)
  range_end[range_end.length - 1] = (range_end.at(-1) ?? 0) + 1
  return { key, range_end }
}
