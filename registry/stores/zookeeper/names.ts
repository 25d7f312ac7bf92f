import { Failure } from '../../../process/failure.ts'

/**
 * Node names: as they are, but for what ZooKeeper refuses in one (control characters, what is beyond the basic plane, private
 * use), "/", and "%" itself, which stand as %XX of their UTF-8; so do the names "." and "..".
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: just those are refused
const refused = /[/%\u0000-\u001f\u007f-\u009f\ue000-\uf8ff\ufff0-\uffff]|[\u{10000}-\u{10ffff}]/gu

export const encodeName = (name: string): string =>
  name === '.' || name === '..'
    ? name.replaceAll('.', '%2E')
    : name
        .toWellFormed()
        .replace(refused, (character) =>
          [...Buffer.from(character)]
            .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
            .join(''),
        )

/** Undefined for a name that `encodeName` makes of nothing: then it is another's. */
export const decodeName = (node: string): string | undefined => {
  try {
    const name = decodeURIComponent(node)
    return encodeName(name) === node ? name : undefined
  } catch {
    return undefined
  }
}

export interface NodePath {
  /** The parent: <path>/<name>. */
  readonly parent: string
  readonly node: string
}

export const below = (path: string, name: string): string => (path === '/' ? `/${name}` : `${path}/${name}`)

/** Where the entry `<name>/<ip>:<port>` stands; what is before the last "/" is the name. Errors: `invalid`. */
export const nodePath = (path: string, key: string): NodePath => {
  const at = key.lastIndexOf('/')
  if (at < 1 || at === key.length - 1)
    throw new Failure('invalid', `${JSON.stringify(key)} is not <name>/<ip>:<port>`)
  const parent = below(path, encodeName(key.slice(0, at)))
  return { parent, node: `${parent}/${encodeName(key.slice(at + 1))}` }
}
