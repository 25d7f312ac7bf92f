import { z } from 'zod'
import { Failure } from '../process/failure.ts'
import { fileSystems, type Volume } from '../registry/records.ts'

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

const size = z
  .string()
  .default('1G')
  .transform((text, context) => {
    const bytes = parseSize(text)
    if (bytes === undefined) {
      context.addIssue(`size=${text} is no size: expected a number with a unit K, M, G or T, as in size=10G`)
      return z.NEVER
    }
    return Math.ceil(bytes / blockSize) * blockSize
  })

/** The options of `docker volume create -d openebs -o …`. A new option is one line here. */
const options = z.strictObject({
  size,
  fs: z
    .enum(fileSystems, {
      error: ({ input }) => `fs=${String(input)} is not known: expected ${fileSystems.join(' or ')}`,
    })
    .default('ext4'),
  chap: z
    .enum(['on', 'off'], {
      error: ({ input }) => `chap=${String(input)} is not known: expected on or off`,
    })
    .default('on')
    .transform((value) => value === 'on'),
})

/**
 * The spec of a volume from Docker's options. Throws `invalid`, naming each bad option, what was expected and which
 * options exist.
 */
export const parseOptions = (given: Record<string, string> | null | undefined): Volume['spec'] => {
  const parsed = options.safeParse(given ?? {})
  if (!parsed.success) throw new Failure('invalid', parsed.error.issues.map(describe).join('; '))
  const spec = parsed.data
  if (spec.size < least[spec.fs] || spec.size > most)
    throw new Failure(
      'invalid',
      `size=${given?.size ?? spec.size} is out of range: ${spec.fs} takes ${least[spec.fs] / KiB ** 2}M to 16T`,
    )
  return spec
}

const describe = (issue: z.core.$ZodIssue): string =>
  issue.code === 'unrecognized_keys'
    ? `unknown option ${issue.keys.map((key) => `"${key}"`).join(', ')}: known options are ${Object.keys(options.shape).join(', ')}`
    : issue.message
