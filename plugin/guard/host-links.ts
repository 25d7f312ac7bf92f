import { posix } from 'node:path'

/** What a symbolic link of the host says; undefined where there is none. */
export type ReadLink = (path: string) => Promise<string | undefined>

/** As many as Linux follows. */
const mostLinks = 40

/**
 * The path of the host that a clean, absolute one leads to when its symbolic links are followed, as the Engine does. What is
 * not there is taken as it is written: the Engine makes it. Undefined for links that lead nowhere but to each other.
 */
export const followLinks = async (path: string, readLink: ReadLink): Promise<string | undefined> => {
  const ahead = partsOf(path)
  let reached = '/'
  for (let links = 0; ; ) {
    const part = ahead.shift()
    if (part === undefined) return reached
    const next = posix.join(reached, part)
    const target = part === '..' ? undefined : await readLink(next)
    if (target === undefined) {
      reached = next
      continue
    }
    if (++links > mostLinks) return undefined
    if (target.startsWith('/')) reached = '/'
    ahead.unshift(...partsOf(target))
  }
}

const partsOf = (path: string): string[] => path.split('/').filter((part) => part !== '' && part !== '.')
