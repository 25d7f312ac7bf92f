import { access } from 'node:fs/promises'
import { pause } from '../process/backoff.ts'
import { Failure } from '../process/failure.ts'

const lookEvery = 1_000

/**
 * Rejects with `unavailable` when our socket's file is gone. An Engine whose plugin dies twice within some seconds can
 * remove the folder of the run that it has just started: that one serves on, and nobody reaches it. Ending then has
 * the Engine start it anew.
 */
export const guardSocket = async (path: string, signal: AbortSignal): Promise<void> => {
  while (!signal.aborted) {
    await pause(lookEvery, signal)
    await access(path).catch((error: unknown) => {
      throw new Failure(
        'unavailable',
        `the Engine has removed our socket ${path}: ending, to be started anew`,
        error,
      )
    })
  }
}
