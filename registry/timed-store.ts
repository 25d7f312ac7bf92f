import type { Lease, Store } from './store.ts'

/** The calls that are timed. */
export type StoreCall = 'read' | 'apply' | 'grant' | 'keepalive'

/** The same store, telling how many ms each call took, also one that failed. */
export const timed = (store: Store, took: (call: StoreCall, ms: number) => void): Store => {
  const time = async <T>(call: StoreCall, work: () => Promise<T>): Promise<T> => {
    const began = performance.now()
    try {
      return await work()
    } finally {
      took(call, performance.now() - began)
    }
  }
  const lease = (of: Lease): Lease => ({
    id: of.id,
    ttl: of.ttl,
    keepAlive: () => time('keepalive', () => of.keepAlive()),
    revoke: () => of.revoke(),
  })
  return {
    description: store.description,
    read: (prefix) => time('read', () => store.read(prefix)),
    readKeys: (keys) => time('read', () => store.readKeys(keys)),
    stamps: (prefix) => time('read', () => store.stamps(prefix)),
    stampsOf: (keys) => time('read', () => store.stampsOf(keys)),
    matches: (prefix, stamps) => time('read', () => store.matches(prefix, stamps)),
    holds: (checks) => time('read', () => store.holds(checks)),
    apply: (changes) => time('apply', () => store.apply(changes)),
    grant: async (ttl) => lease(await time('grant', () => store.grant(ttl))),
    watch: (prefix, from, signal, patience) => store.watch(prefix, from, signal, patience),
    close: () => store.close(),
  }
}
