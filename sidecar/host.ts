import type { EngineInfo } from '../docker/inspect.ts'
import type { Host } from '../registry/records.ts'
import { membershipOf } from './swarm.ts'
import type { Swarm } from './swarm-state.ts'

/** What one run of the sidecar knows about itself from its start. */
export interface Run {
  readonly host: string
  /** Names this run: no other has it. */
  readonly instance: string
  /** When it started, ISO 8601. */
  readonly since: string
  readonly version: string
  /** See seat.ts. */
  readonly seat: string | undefined
}

/** The record of this host; `addresses` as chooseAddresses gives them, `swarm` where it is in one. Pure. */
export const hostRecord = (
  run: Run,
  engine: EngineInfo,
  addresses: readonly string[],
  swarm?: Swarm,
): Host => ({
  host: run.host,
  address: addresses[0] ?? '',
  addresses: [...addresses],
  engine: {
    version: engine.version,
    os: engine.os,
    arch: engine.arch,
    kernel: engine.kernel,
    storage: engine.storage,
  },
  versions: { sidecar: run.version },
  capacity: { cpus: engine.cpus, memory: engine.memory },
  instance: run.instance,
  since: run.since,
  ...(engine.authorization.length > 0 && { authorization: [...engine.authorization] }),
  ...(run.seat !== undefined && { seat: run.seat }),
  ...(swarm && { swarm: membershipOf(swarm) }),
})
