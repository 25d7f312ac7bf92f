import type { Exception } from '../../registry/policy.ts'
import { followLinks, type ReadLink } from './host-links.ts'
import { clean, type Wish } from './reach.ts'
import { ofLocal } from './wishes.ts'
import type { Ground, World } from './world.ts'

/**
 * What a wish comes to on this host: itself, where its symbolic links lead, and what a volume that is there already was
 * made of. All of them count: a link may be replaced before the Engine follows it.
 */
export const readings = async (wish: Wish, world: World): Promise<readonly Wish[]> => {
  switch (wish.kind) {
    case 'path':
    case 'device':
      return (await pathsOf(clean(wish.path), world)).map((path, index) =>
        index > 0 ? { ...wish, path } : wish,
      )
    case 'volume': {
      if (world.volumes().includes(wish.name)) return [wish]
      const made = await world.volumeOf(wish.name)
      const of = made ? ofLocal(made.driver, made.options) : []
      return [wish, ...(await Promise.all(of.map((one) => readings(one, world)))).flat()]
    }
    case 'host':
      return [wish]
  }
}

/** The same with the folders that theirs lead to. */
export const withLinks = async (ground: Ground, readLink: ReadLink): Promise<Ground> => {
  const paths = ground.paths.map(async (held) =>
    (await pathsOf(held.path, { readLink })).map((path) => ({ ...held, path })),
  )
  return { ...ground, paths: (await Promise.all(paths)).flat() }
}

/** The policy's, with the paths that theirs lead to. */
export const exceptionsOn = async (world: World): Promise<Exception[]> => {
  const all = world
    .policy()
    .exceptions.map(async (exception) =>
      (await pathsOf(exception.path, world)).map((path) => ({ ...exception, path })),
    )
  return (await Promise.all(all)).flat()
}

/** A clean path, and the one that its links lead to, where that is another. */
const pathsOf = async (path: string, { readLink }: Pick<World, 'readLink'>): Promise<string[]> => {
  const reached = await followLinks(path, readLink)
  return reached === undefined || reached === path ? [path] : [path, reached]
}
