import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** ms. Long enough for a test to kill the process meanwhile; by accident, one call is that late, once. */
const atMost = 30_000

/**
 * For tests alone: where a file `stand-still-after` in this folder has the name of a step that was just done, such as
 * `create:claim`, the whole process stands still, for a test to kill it at that very moment. It cannot kill itself: it
 * is process 1 of its namespace, and the kernel keeps SIGKILL from within away from that. The file goes first, which
 * tells the test, and so the next start does not stop there again.
 */
export const standStill = async (folder: string, step: string): Promise<void> => {
  const file = join(folder, 'stand-still-after')
  const wanted = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  if (wanted.trim() !== step) return
  await rm(file)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, atMost)
}
