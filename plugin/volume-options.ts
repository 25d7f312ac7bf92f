import { z } from 'zod'
import { Failure } from '../process/failure.ts'
import { accessModes, fileSystems, provisions, VolumeSpec } from '../registry/records.ts'
import { readList } from './file-system-options.ts'

/**
 * Names are checked here because the Engine does not check a driver's names on Linux: a name becomes a folder, a
 * container's name and part of an IQN. Two characters at least, as Docker's client takes the
 * x of `-v x:/d` for a drive's letter and gives the container another volume. The Engine's own names for unnamed volumes have 64 characters.
 */
const volumeName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,63}$/

/** Throws `invalid` with a sentence that says what a name may be. */
export const checkName = (name: string): string => {
  if (volumeName.test(name)) return name
  const shown = name === '' ? 'the empty name' : `"${name.length > 70 ? `${name.slice(0, 67)}...` : name}"`
  throw new Failure(
    'invalid',
    `${shown} cannot name a volume: a name has 2 to 64 letters, digits, "_", "." or "-" and begins with a letter or a digit`,
  )
}

const KiB = 1024
const units: Record<string, number> = { K: KiB, M: KiB ** 2, G: KiB ** 3, T: KiB ** 4 }

/** Bytes of "256M", "10G", "1.5TiB", "1073741824"; units are powers of 1024. Undefined when it is no size. */
export const parseSize = (text: string): number | undefined => {
  const match = /^(?<digits>\d{1,15}(\.\d{1,3})?) ?(?<unit>[KMGT]?)(i?B)?$/i.exec(text)
  if (!match?.groups) return undefined
  const bytes = Number(match.groups.digits) * (units[match.groups.unit?.toUpperCase() ?? ''] ?? 1)
  return Number.isSafeInteger(Math.floor(bytes)) ? Math.floor(bytes) : undefined
}

const blockSize = 4096
const least = { ext4: 16 * KiB ** 2, xfs: 300 * KiB ** 2 } as const
/** ext4 with 4 KiB blocks ends at 16 TiB. */
const most = 16 * KiB ** 4
/** tgtd, its shell and a health check take some 10 MB; mkfs runs in the same container. */
const leastMemory = 64 * KiB ** 2
/** With less, tgtd does not answer its health check in time. */
const leastCpus = 0.1
/** The last number means "leave it" to chown(2). */
const mostId = 2 ** 32 - 2

/** An option of docker's, which is always a string. What `read` gives no value for is answered by `problem`. */
const option = <T>(read: (text: string) => T | undefined, problem: (text: string) => string) =>
  z.string().transform((text, context) => {
    const value = read(text)
    if (value !== undefined) return value
    context.addIssue(problem(text))
    return z.NEVER
  })

const oneOf = <const T extends readonly string[]>(name: string, values: T) =>
  z.enum(values, {
    error: ({ input }) => `${name}=${String(input)} is not known: expected ${values.join(' or ')}`,
  })

const id = (name: string) =>
  option(
    (text) => (/^\d{1,10}$/.test(text) && Number(text) <= mostId ? Number(text) : undefined),
    (text) => `${name}=${text} is no id: expected a number from 0 to ${mostId}`,
  ).optional()

const wholeBlocks = (text: string): number | undefined => {
  const bytes = parseSize(text)
  return bytes === undefined ? undefined : Math.ceil(bytes / blockSize) * blockSize
}

const sizeOption = option(
  wholeBlocks,
  (text) => `size=${text} is no size: expected a number with a unit K, M, G or T, as in size=10G`,
)

/** Bytes that a volume is to grow to. Throws `invalid` for what is no size, or none that a volume may have. */
export const parseNewSize = (text: string): number => {
  const bytes = wholeBlocks(text)
  if (bytes === undefined)
    throw new Failure(
      'invalid',
      `"${text}" is no size: expected a number with a unit K, M, G or T, as in 10G`,
    )
  if (bytes > most) throw new Failure('invalid', `${text} is out of range: a volume has 16T at most`)
  return bytes
}

const memory = option(
  (text) => {
    const bytes = parseSize(text)
    return bytes !== undefined && bytes >= leastMemory ? bytes : undefined
  },
  (text) =>
    `memory=${text} is no limit for a target: expected ${leastMemory / KiB ** 2}M or more, as in memory=128M`,
)

const cpus = option(
  (text) => (/^\d{1,4}(\.\d{1,3})?$/.test(text) && Number(text) >= leastCpus ? Number(text) : undefined),
  (text) => `cpus=${text} is no limit for a target: expected ${leastCpus} or more, as in cpus=1.5`,
)

/** A folder has no use for the set-user-ID bit. */
const mode = option(
  (text) => (/^[0-3]?[0-7]{3}$/.test(text) ? text.padStart(4, '0') : undefined),
  (text) => `mode=${text} is no mode of a folder: expected three or four octal digits, as in mode=0750`,
)

/** By what a reference can consist of; whether there is such an image the Engine says. */
const image = option(
  (text) => (/^[a-zA-Z0-9][a-zA-Z0-9_.:/@-]{0,254}$/.test(text) ? text : undefined),
  (text) => `image=${text} is no reference of an image: expected one as in image=openebs/vsm:1.0`,
)

/** The options of `docker volume create -d openebs -o …`. A new option is one line here. */
const options = z.strictObject({
  size: sizeOption.prefault('1G'),
  fs: oneOf('fs', fileSystems).default('ext4'),
  chap: oneOf('chap', ['on', 'off'])
    .default('on')
    .transform((value) => value === 'on'),
  mkfs: z.string().optional(),
  mount: z.string().optional(),
  provision: oneOf('provision', provisions).optional(),
  access: oneOf('access', accessModes).optional(),
  image: image.optional(),
  memory: memory.optional(),
  cpus: cpus.optional(),
  uid: id('uid'),
  gid: id('gid'),
  mode: mode.optional(),
})

/** What a volume is without the option. It is left out of the spec, so that asking for it is asking for nothing. */
const defaults: Partial<VolumeSpec> = {
  provision: 'thin',
  access: 'read-write',
  uid: 0,
  gid: 0,
  mode: '0755',
}

/**
 * The spec of a volume from Docker's options. Throws `invalid`, naming each bad option, what was expected and which
 * options exist.
 */
export const parseOptions = (given: Record<string, string> | null | undefined): VolumeSpec => {
  const parsed = options.safeParse(given ?? {})
  if (!parsed.success) throw new Failure('invalid', parsed.error.issues.map(describe).join('; '))
  const spec = parsed.data
  const problems: string[] = []
  if (spec.size < least[spec.fs] || spec.size > most)
    problems.push(
      `size=${given?.size ?? spec.size} is out of range: ${spec.fs} takes ${least[spec.fs] / KiB ** 2}M to 16T`,
    )
  for (const list of ['mkfs', 'mount'] as const) {
    const text = spec[list]
    if (text === undefined) continue
    const read = readList(list, spec.fs, text)
    if ('problem' in read) problems.push(read.problem)
    else spec[list] = read.value
  }
  if (problems.length > 0) throw new Failure('invalid', problems.join('; '))
  const asked = Object.entries(spec).filter(
    ([name, value]) => value !== undefined && value !== defaults[name],
  )
  return VolumeSpec.parse(Object.fromEntries(asked))
}

/** What of a spec was asked for beyond the defaults, by the names of the options. */
export const extraOptions = (spec: VolumeSpec): Partial<VolumeSpec> => {
  const { size, fs, chap, ...extra } = options.shape
  return Object.fromEntries(Object.keys(extra).flatMap((name) => (name in spec ? [[name, spec[name]]] : [])))
}

/** As docker's options: "size=1073741824 fs=ext4 chap=on access=read-only". */
export const showOptions = (spec: Partial<VolumeSpec>): string =>
  Object.keys(options.shape)
    .flatMap((name) => (spec[name] === undefined ? [] : [`${name}=${shown(spec[name])}`]))
    .join(' ')

const shown = (value: unknown): unknown => (typeof value === 'boolean' ? (value ? 'on' : 'off') : value)

const describe = (issue: z.core.$ZodIssue): string =>
  issue.code === 'unrecognized_keys'
    ? `unknown option ${issue.keys.map((key) => `"${key}"`).join(', ')}: known options are ${Object.keys(options.shape).join(', ')}`
    : issue.message
