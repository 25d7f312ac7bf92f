import { parseArgs } from 'node:util'
import { z } from 'zod'
import { Failure } from './failure.ts'

/** A setting's flag is its environment name in lower case: OPENEBS_LOG_LEVEL is --log-level. */
const prefix = 'OPENEBS_'

/**
 * Reads settings from the environment. Names with the prefix OPENEBS_ are ours, and those in the schema (DOCKER_HOST, say);
 * one with the prefix that the schema does not know is an error, as it is most likely a typo. An empty
 * value counts as unset. Errors: `invalid`, naming every bad setting, what was expected and which settings exist.
 */
export const readSettings = <S extends z.ZodRawShape>(
  shape: S,
  environment: Record<string, string | undefined>,
): z.infer<z.ZodObject<S>> => {
  const known = Object.keys(shape)
  const given = Object.fromEntries(
    Object.entries(environment).filter(
      ([name, value]) =>
        value !== undefined && value !== '' && (name.startsWith(prefix) || known.includes(name)),
    ),
  )
  const parsed = z.strictObject(shape).safeParse(given)
  if (parsed.success) return parsed.data as z.infer<z.ZodObject<S>>
  throw new Failure('invalid', `${z.prettifyError(parsed.error)}\nKnown settings: ${known.join(', ')}`)
}

/** One line a setting for --help: name, default, what it is for (the field's description). */
export const describeSettings = (shape: z.ZodRawShape): string =>
  Object.entries(shape)
    .map(([name, field]) => {
      const schema = field as z.ZodType
      const unset = schema.safeParse(undefined)
      const text = unset.success && unset.data !== undefined ? String(unset.data) : ''
      const fallback = text === '' ? '' : ` (${text})`
      return `  ${name}${fallback}\n      ${schema.description ?? ''}`
    })
    .join('\n')

/** Setting of a number of seconds. */
export const seconds = (least: number, most: number) =>
  z.coerce
    .number({ error: `expected a number of seconds from ${least} to ${most}` })
    .min(least)
    .max(most)

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
const flagOf = (name: string): string =>
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
    throw new Failure(
      'invalid',
      `${error.message}\nKnown flags: ${[...names.keys()].map((flag) => `--${flag}`).join(', ')}`,
    )
  }
}
