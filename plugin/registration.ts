import { readFile } from 'node:fs/promises'
import type { Log } from '../process/log.ts'
import { version } from '../process/version.ts'
import { Buckets } from '../registry/buckets.ts'
import { encode, keys } from '../registry/keys.ts'
import { Publisher } from '../registry/publisher.ts'
import { Session } from '../registry/session.ts'
import type { Store } from '../registry/store.ts'
import type { Witnessed } from './authz.ts'
import type { HostFacts } from './host.ts'

/** Seconds. Long enough for an election in etcd. */
const leaseTtl = 30
/** Seconds that an entry of the audit trail is kept. */
const auditKept = 7 * 86_400

/** Says in the registry that this host's plugin lives, and returns where the audit trail goes. */
export async function registerHost(
  stack: AsyncDisposableStack,
  { store, facts, log }: { store: Store; facts: HostFacts; log: Log },
) {
  const { host } = facts
  const session = new Session(store, { ttl: leaseTtl, log })
  const ending = new AbortController()
  session.start(ending.signal)
  const key = keys.alive(host)
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  const publisher = new Publisher({ store, session, prefixes: [key], owns: (other) => other === key, log })
  publisher.start(ending.signal)
  publisher.publish(
    new Map([[key, encode('alive', { host, version, since: new Date().toISOString(), boot })]]),
  )
  const journal = new Buckets(store, { keep: auditKept, log })
  journal.start(ending.signal)
  stack.defer(async () => {
    await journal.stop()
    await publisher.stop()
    // left to its TTL: a plugin that restarts is no dead host
    await session.release()
    ending.abort()
  })
  let seq = 0
  let reported = 0
  return (entry: Witnessed) => {
    journal.append(
      keys.audit(host, Date.parse(entry.time), seq++ % 1_000_000),
      encode('audit', { ...entry, host }),
    )
    if (journal.dropped <= reported * 2) return
    reported = journal.dropped
    log.warn({ dropped: reported }, 'entries of the audit trail are lost, as the store does not take them')
  }
}
