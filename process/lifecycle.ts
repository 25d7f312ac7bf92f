import { explain, isFailure } from './failure.ts'
import type { Log } from './log.ts'

/**
 * Runs a long-running process: `body` acquires into the stack and returns when `stop` fires (SIGTERM or SIGINT); the
 * stack then closes in reverse. A second signal ends the process at once. Exit status: 0 after a clean stop,
 * 2 when a setting or the start was refused (`invalid`), 1 otherwise.
 */
export const runProcess = async (
  log: Log,
  body: (stack: AsyncDisposableStack, stop: AbortSignal) => Promise<void>,
): Promise<never> => {
  const stop = new AbortController()
  const onSignal = (signal: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(1)
    log.info({ signal }, 'stopping')
    stop.abort()
  }
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal)
  let status = 0
  try {
    await using stack = new AsyncDisposableStack()
    await body(stack, stop.signal)
  } catch (error) {
    status = isFailure(error, 'invalid') ? 2 : 1
    log.error(
      { reason: explain(error), stack: error instanceof Error ? error.stack : undefined },
      'ended by an error',
    )
  }
  process.exit(status)
}

/** Resolves when the signal fires. */
export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
