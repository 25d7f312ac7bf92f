import { backoff, pause } from '../process/backoff.ts'
import { explain } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import type { Engine } from './engine.ts'

/** Of docker inspect, what decides. */
export interface StoppedContainer {
  id: string
  name: string
  restartPolicy: string
  /** Why its last start failed, in the Engine's words; empty when it did not. */
  error: string
}

/**
 * Whether the Engine owes this container a start: it is to run always, and its last start failed at a Mount of ours, or as this
 * plugin was disabled.
 * An Engine that restores containers tries each once, so one whose volume came up too late would stay down.
 */
export const isOwedStart = ({ restartPolicy, error }: StoppedContainer): boolean =>
  ['always', 'unless-stopped'].includes(restartPolicy) &&
  /mounting volume|VolumeDriver\.|looking up volume plugin \S*openebs/.test(error) &&
  error.includes('openebs')

/** How long it is gone on with, in ms. */
const patience = 300_000

/**
 * Starts them, again and again for some minutes: what their volumes wait for, etcd say, may come up later still. What is not
 * up by then is left to the operator. Does not reject.
 */
export const reviveConsumers = async (
  engine: Engine,
  volumes: readonly string[],
  log: Log,
  signal: AbortSignal,
): Promise<void> => {
  const end = performance.now() + patience
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      if ((await tryEach(engine, volumes, log)) === 0) return
    } catch (error) {
      log.warn({ reason: explain(error) }, 'could not look for containers to start')
    }
    if (performance.now() > end) return
    await pause(backoff(failures, 1_000, 30_000), signal)
  }
}

/** Resolves with how many did not start. */
const tryEach = async (engine: Engine, volumes: readonly string[], log: Log): Promise<number> => {
  let left = 0
  for (const volume of volumes)
    for (const container of (await engine.stoppedUsers(volume)).filter(isOwedStart)) {
      const about = { container: container.name, volume }
      try {
        await engine.start(container.id)
        log.info(about, 'started a container whose volume was not up when the Engine restored it')
      } catch (error) {
        left += 1
        log.warn(
          { ...about, reason: explain(error) },
          'a container whose volume was not up at the restore does not start',
        )
      }
    }
  return left
}
