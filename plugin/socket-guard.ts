import { access } from 'node:fs/promises'
import { pause } from '../process/backoff.ts'
import { Failure } from '../process/failure.ts'

const lookEvery = 1_000

/**
 * An Engine looks after a plugin that it has started for some seconds, and never starts it again when it dies meanwhile
 * (20.10, 28). So we do not end that early by ourselves.
 */
const spare = 15_000

/**
 * Rejects with `unavailable` when our socket's file is gone, whoever removed it: this run serves on, and nobody reaches
 * it. Ending then has the Engine start it anew.
 */
export const guardSocket = async (path: string, signal: AbortSignal): Promise<void> => {
  await pause(spare, signal)
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
