import { setTimeout as sleep } from 'node:timers/promises'

/** Milliseconds to wait before retry number `attempt` (from 0): doubling from `first` to `most`, with jitter of half. */
export const backoff = (attempt: number, first = 200, most = 5000, random = Math.random): number => {
  const full = Math.min(most, first * 2 ** Math.min(attempt, 30))
  return full / 2 + (full / 2) * random()
}

/** Sleeps, or ends early without an error when the signal fires. */
export const pause = async (ms: number, signal?: AbortSignal): Promise<void> => {
  if (signal?.aborted) return
  await sleep(ms, undefined, signal ? { signal } : {}).catch((error: unknown) => {
    if (!signal?.aborted) throw error
  })
}

/** Asks `probe` until it returns something other than undefined. Returns undefined when `ms` have passed or on abort. */
export const until = async <T>(
  probe: () => T | undefined | Promise<T | undefined>,
  { ms, every = 50, signal }: { ms: number; every?: number; signal?: AbortSignal },
): Promise<T | undefined> => {
  const end = performance.now() + ms
  for (;;) {
    const found = await probe()
    if (found !== undefined || signal?.aborted || performance.now() >= end) return found
    await pause(every, signal)
  }
}
