import type { fileSystems } from '../registry/records.ts'

type FileSystem = (typeof fileSystems)[number]
/** A list in one option of docker's: `-o mkfs=…` and `-o mount=…`. */
export type OptionList = 'mkfs' | 'mount'

/** What an option's value may be; a flag has none. */
interface Value {
  expected: string
  allows: (value: string) => boolean
}
const flag = undefined
const between = (least: number, most: number): Value => ({
  expected: `${least} to ${most}`,
  allows: (value) => /^\d{1,9}$/.test(value) && Number(value) >= least && Number(value) <= most,
})
const oneOf = (...values: string[]): Value => ({
  expected: values.join('|'),
  allows: (value) => values.includes(value),
})

/** atime is kept in one way at a time. */
const times = { noatime: flag, relatime: flag, nodiratime: flag, lazytime: flag }
const exclusive = ['noatime', 'relatime']

/**
 * All that can be asked of a file system, and nothing else: no option of these can make a volume reach beyond itself, or
 * lose what was synced. openebs-provision turns those of mkfs into arguments; those of mount are mount's own.
 */
const offered: Record<FileSystem, Record<OptionList, Record<string, Value | undefined>>> = {
  ext4: {
    // bytes of disk per inode, bytes of an inode, percent that only root may fill
    mkfs: {
      inode_ratio: between(4096, 67_108_864),
      inode_size: oneOf('256', '512', '1024'),
      reserved: between(0, 50),
    },
    mount: { ...times, commit: between(1, 300), data: oneOf('ordered', 'journal') },
  },
  xfs: {
    // bytes of an inode, percent of the disk that inodes may take
    mkfs: { inode_size: oneOf('512', '1024', '2048'), inode_percent: between(1, 100) },
    mount: { ...times, logbsize: oneOf('32k', '64k', '128k', '256k') },
  },
}

/** The list in its one form (sorted, commas), or a sentence that says what is wrong with it. */
export const readList = (
  list: OptionList,
  fs: FileSystem,
  text: string,
): { value: string } | { problem: string } => {
  const known = offered[fs][list]
  const words = text.split(/[, ]+/).filter((word) => word !== '')
  const names = words.map((word) => word.split('=')[0] ?? '')
  const bad = words.find((word) => !isOffered(known, word))
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (bad !== undefined || words.length === 0)
    return {
      problem: `${list}=${bad ?? text} is not offered for ${fs}: expected some of ${shown(known)}, with commas or blanks between`,
    }
  if (twice) return { problem: `${list}=${text} names ${twice} twice` }
  if (exclusive.every((name) => names.includes(name)))
    return { problem: `${list}=${text} asks for ${exclusive.join(' and ')}: expected one of them` }
  return { value: words.sort().join(',') }
}

const isOffered = (known: Record<string, Value | undefined>, word: string): boolean => {
  const [name = '', ...rest] = word.split('=')
  if (!Object.hasOwn(known, name)) return false
  const value = known[name]
  return value ? value.allows(rest.join('=')) : !word.includes('=')
}

const shown = (known: Record<string, Value | undefined>): string =>
  Object.entries(known)
    .map(([name, value]) => (value ? `${name}=<${value.expected}>` : name))
    .join(', ')
