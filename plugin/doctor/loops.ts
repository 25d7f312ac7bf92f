import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FoundLoop } from './facts.ts'

/** The loop devices that have a file, as the kernel shows them below /sys/block. */
export const readLoops = async (folder = '/sys/block'): Promise<FoundLoop[]> => {
  const names = (await readdir(folder)).filter((name) => /^loop\d+$/.test(name))
  const found = await Promise.all(names.map((name) => readLoop(join(folder, name), name)))
  return found.flat()
}

/** None where it has no file, or was detached while it was read. */
const readLoop = async (path: string, name: string): Promise<FoundLoop[]> => {
  try {
    const [file, autoclear, inflight] = await Promise.all(
      ['loop/backing_file', 'loop/autoclear', 'inflight'].map((part) => readFile(join(path, part), 'utf8')),
    )
    return [
      {
        name,
        file: file?.trimEnd() ?? '',
        autoclear: autoclear?.trim() === '1',
        busy: inflight?.trim().split(/\s+/).join(' ') !== '0 0',
      },
    ]
  } catch (error) {
    // ENXIO: it lost its file between the opening and the reading
    if (['ENOENT', 'ENXIO', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '')) return []
    throw error
  }
}
