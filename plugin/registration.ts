import { readFile } from 'node:fs/promises'
import type { Log } from '../process/log.ts'
import { version } from '../process/version.ts'
import { encode, keys } from '../registry/keys.ts'
import { Publisher } from '../registry/publisher.ts'
import { Session } from '../registry/session.ts'
import type { Store } from '../registry/store.ts'
import type { GuardPolicy } from './guard-policy.ts'
import type { HostFacts } from './host.ts'

/** Seconds. Long enough for an election in etcd. */
const leaseTtl = 30

/** Says in the registry that this host's plugin lives, and how its guard stands. */
export async function registerHost(
  stack: AsyncDisposableStack,
  { store, facts, guard, log }: { store: Store; facts: HostFacts; guard: GuardPolicy; log: Log },
): Promise<void> {
  const { host } = facts
  const session = new Session(store, { ttl: leaseTtl, log })
  const ending = new AbortController()
  session.start(ending.signal)
  const key = keys.alive(host)
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  const publisher = new Publisher({ store, session, prefixes: [key], owns: (other) => other === key, log })
  publisher.start(ending.signal)
  const since = new Date().toISOString()
  const publish = () => {
    const record = encode('alive', { host, version, since, boot, guard: guard.state() })
    publisher.publish(new Map([[key, record]]))
  }
  guard.onChange(publish)
  publish()
  stack.defer(async () => {
    await publisher.stop()
    // left to its TTL: a plugin that restarts is no dead host
    await session.release()
    ending.abort()
  })
}
