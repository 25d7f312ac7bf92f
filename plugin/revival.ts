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
 * Whether the Engine owes this container a start: it is to run always, and its last start failed at a Mount of ours.
 * An Engine that restores containers tries each once, so one whose volume came up too late would stay down.
 */
export const isOwedStart = ({ restartPolicy, error }: StoppedContainer): boolean =>
  ['always', 'unless-stopped'].includes(restartPolicy) &&
  /mounting volume|VolumeDriver\.Mount/.test(error) &&
  error.includes('openebs')

/** Starts them. What fails again is said, and left to the operator. */
export const reviveConsumers = async (
  engine: Engine,
  volumes: readonly string[],
  log: Log,
): Promise<void> => {
  for (const volume of volumes)
    for (const container of (await engine.stoppedUsers(volume)).filter(isOwedStart)) {
      const about = { container: container.name, volume }
      try {
        await engine.start(container.id)
        log.info(about, 'started a container whose volume was not up when the Engine restored it')
      } catch (error) {
        log.warn(
          { ...about, reason: explain(error) },
          'a container whose volume was not up at the restore does not start',
        )
      }
    }
}
