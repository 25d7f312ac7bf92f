import type { EngineEvent } from './events.ts'

export const objectTypes = ['container', 'image', 'network', 'plugin', 'volume'] as const
export type ObjectType = (typeof objectTypes)[number]

/**
 * What is worth a look. An event only says where: the object's state is read afterwards, and is at least as new as
 * the event. `list` asks for all objects of a type (`swarm`: nodes, services, secrets and configs), `engine` for the
 * engine's own data.
 */
export type Hint =
  | { readonly kind: 'object'; readonly type: 'container' | 'volume'; readonly id: string }
  | { readonly kind: 'list'; readonly type: ObjectType | 'swarm' }
  | { readonly kind: 'engine' }

/** Somebody reads, or is told something: no object is another one afterwards. */
const changesNothing = new Set([
  ...['attach', 'detach', 'copy', 'archive-path', 'extract-to-dir', 'export', 'checkpoint'],
  ...['push', 'save', 'mount', 'unmount'],
])

/** Where to look after an event. Pure. */
export const hintsOf = (event: EngineEvent): Hint[] => {
  const { type, action, id, attributes } = event
  if (changesNothing.has(action)) return []
  switch (type) {
    case 'container':
      return action === 'commit' ? [{ kind: 'list', type: 'image' }] : objectHint('container', id)
    case 'volume':
      return objectHint('volume', id)
    case 'network': {
      // connect and disconnect change the container, not the network
      const container = attributes.container
      return container ? objectHint('container', container) : [{ kind: 'list', type }]
    }
    case 'image':
    case 'plugin':
      return [{ kind: 'list', type }]
    case 'daemon':
      return [{ kind: 'engine' }]
    case 'node':
    case 'service':
    case 'secret':
    case 'config':
      return [{ kind: 'list', type: 'swarm' }]
    default:
      return []
  }
}

/** A prune names nobody, and some engines announce none of the volumes that it removes. */
const objectHint = (type: 'container' | 'volume', id: string): Hint[] =>
  id ? [{ kind: 'object', type, id }] : [{ kind: 'list', type }]
