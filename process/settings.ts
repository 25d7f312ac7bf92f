import { parseArgs } from 'node:util'
import { z } from 'zod'
import { Failure } from './failure.ts'

/** A setting's flag is its environment name in lower case: OPENEBS_LOG_LEVEL is --log-level. */
const prefix = 'OPENEBS_'

/**
 * Reads settings from the environment, and from flags (`readFlags`), which come first. Names with the prefix OPENEBS_
 * are ours, and those in the schema (DOCKER_HOST, say); one with the prefix that the schema does not know is an error,
 * as it is most likely a typo. An empty value counts as unset. Errors: `invalid`, naming every bad setting as it was
 * given, what was expected, and for an unknown one which settings exist.
 */
export const readSettings = <S extends z.ZodRawShape>(
  shape: S,
  environment: Record<string, string | undefined>,
  flags: Record<string, string> = {},
): z.infer<z.ZodObject<S>> => {
  const known = Object.keys(shape)
  const given = Object.fromEntries(
    Object.entries({ ...environment, ...flags }).filter(
      ([name, value]) =>
        value !== undefined && value !== '' && (name.startsWith(prefix) || known.includes(name)),
    ),
  )
  const parsed = z.strictObject(shape).safeParse(given)
  if (parsed.success) return parsed.data as z.infer<z.ZodObject<S>>
  const wrong = new Set(parsed.error.issues.flatMap((issue) => complaints(issue, given, flags)))
  const unknown = parsed.error.issues.some(({ code }) => code === 'unrecognized_keys')
  if (unknown) wrong.add(`Known settings: ${known.join(', ')}`)
  throw new Failure('invalid', [...wrong].join('\n'))
}

/** "OPENEBS_TTL: expected a number of seconds from 5 to 3600, not "x""; the flag's name for what came as one. */
const complaints = (
  issue: z.core.$ZodIssue,
  given: Record<string, string | undefined>,
  flags: Record<string, string>,
): string[] => {
  if (issue.code === 'unrecognized_keys') return issue.keys.map((name) => `${name}: no such setting`)
  const name = String(issue.path[0])
  const value = given[name]
  const spelled = name in flags ? `--${flagOf(name)}` : name
  const expected = issue.message.replace(/^Invalid option: /, '')
  return [`${spelled}: ${expected}${value === undefined ? '' : `, not ${quoted(value)}`}`]
}

/** A user and password in an address, where none belongs, must not end up in a log. */
const quoted = (value: string): string =>
  value.includes('@') ? 'what was given (not shown: it may hold a password)' : JSON.stringify(value)

/** For --help: each setting as flag and as variable, what it is for (the field's description), and its default. */
export const describeSettings = (shape: z.ZodRawShape): string =>
  Object.entries(shape)
    .map(([name, field]) => {
      const { description = '', fallback } = describeSetting(field as z.ZodType)
      const words = [...description.split(' '), ...(fallback === undefined ? [] : [`Default: ${fallback}`])]
      return `  --${flagOf(name)}, ${name}\n${wrapped(words, 100, '      ')}`
    })
    .join('\n')

/** A setting's description, and its default where the schema has one. */
export const describeSetting = (
  field: z.ZodType,
): { description: string | undefined; fallback: string | undefined } => {
  const unset = field.safeParse(undefined)
  const text = unset.success && unset.data !== undefined ? String(unset.data) : ''
  return { description: field.description, fallback: text || undefined }
}

const wrapped = (words: readonly string[], width: number, indent: string): string => {
  const lines: string[] = []
  for (const word of words) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`
    else lines.push(indent + word)
  }
  return lines.join('\n')
}

/** Setting of a number of seconds. */
export const seconds = (least: number, most: number) => {
  const error = `expected a number of seconds from ${least} to ${most}`
  return z.coerce.number({ error }).min(least, { error }).max(most, { error })
}

/** Setting of a comma-separated list; blanks around its members do not count. */
export const list = <T extends z.ZodType<string, string>>(member: T) =>
  z
    .string()
    .transform((text) =>
      text
        .split(',')
        .map((one) => one.trim())
        .filter((one) => one !== ''),
    )
    .pipe(z.array(member))

/** "OPENEBS_LOG_LEVEL" -> "log-level", "DOCKER_HOST" -> "docker-host". */
export const flagOf = (name: string): string =>
  name
    .slice(name.startsWith(prefix) ? prefix.length : 0)
    .toLowerCase()
    .replaceAll('_', '-')

/** The settings that are given as flags, under their environment names. Errors: `invalid`, for a flag that is none. */
export const readFlags = (shape: z.ZodRawShape, args: readonly string[]): Record<string, string> => {
  const names = new Map(Object.keys(shape).map((name) => [flagOf(name), name]))
  const options = Object.fromEntries([...names.keys()].map((flag) => [flag, { type: 'string' as const }]))
  try {
    const { values } = parseArgs({ args: [...args], options, strict: true, allowPositionals: false })
    return Object.fromEntries(
      Object.entries(values).flatMap(([flag, value]): [string, string][] => {
        const name = names.get(flag)
        return name !== undefined && typeof value === 'string' ? [[name, value]] : []
      }),
    )
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    const known = `\nKnown flags: ${[...names.keys()].map((flag) => `--${flag}`).join(', ')}`
    const unknown = 'code' in error && error.code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION'
    throw new Failure('invalid', `${error.message}${unknown ? known : ''}`)
  }
}
