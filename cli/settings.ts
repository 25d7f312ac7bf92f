import { type Command, Option } from 'commander'
import type { z } from 'zod'
import { describeSetting, flagOf, readSettings } from '../process/settings.ts'
import { storeCredentials, storeUri } from '../registry/stores/settings.ts'

/** What every command takes: where the store is, and who asks. */
export const shape = { OPENEBS_STORE: storeUri, ...storeCredentials } as const
export type Settings = z.infer<z.ZodObject<typeof shape>>

/** Each setting as an option of the program, and so of each of its commands. */
export const addSettings = (program: Command): void => {
  for (const [name, field] of Object.entries(shape)) {
    const { description, fallback } = describeSetting(field)
    const [what] = (description ?? '').split(/\.( |$)/)
    const option = new Option(
      `--${flagOf(name)} <${placeholder(name)}>`,
      `${what}; ${name}${fallback === undefined ? '' : ` (default: ${fallback})`}`,
    )
    program.addOption(option)
  }
}

const placeholder = (name: string): string => {
  if (name === 'OPENEBS_STORE') return 'uri'
  return name === 'OPENEBS_STORE_USER' ? 'name' : 'file'
}

/**
 * The settings as given: options first. Of the environment only the store's own are read, as it may be the sidecar's.
 * Errors: `invalid`.
 */
export const readStoreSettings = (
  options: Record<string, unknown>,
  environment: Record<string, string | undefined>,
): Settings => {
  const names = Object.keys(shape)
  const flags = names.flatMap((name): [string, string][] => {
    const value = options[camelCase(flagOf(name))]
    return typeof value === 'string' ? [[name, value]] : []
  })
  const variables = names.map((name): [string, string | undefined] => [name, environment[name]])
  return readSettings(shape, Object.fromEntries(variables), Object.fromEntries(flags))
}

const camelCase = (flag: string): string =>
  flag.replaceAll(/-(?<letter>[a-z])/g, (_all, letter: string) => letter.toUpperCase())
