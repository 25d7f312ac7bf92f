import { Failure } from '../../process/failure.ts'

/** What a flag takes: nothing ("-internal", "-internal=false"), a text, or a whole number. */
type Kind = 'boolean' | 'text' | 'number'
export type Flags = Readonly<Record<string, Kind>>
export type FlagValues<F extends Flags> = {
  readonly [K in keyof F]?: F[K] extends 'boolean' ? boolean : F[K] extends 'number' ? number : string
}

const truths = ['1', 't', 'T', 'TRUE', 'true', 'True']
const untruths = ['0', 'f', 'F', 'FALSE', 'false', 'False']

/**
 * Reads flags as Go's package flag does: -name, --name, -name=value, "-name value" (not for booleans), and "--" ends them. Unlike it
 * goes on after an argument that is no flag, so none that comes later is lost. Errors: `invalid`, naming the flag, what was expected,
 * and for an unknown one those that exist.
 */
export const readGoFlags = <F extends Flags>(
  flags: F,
  args: readonly string[],
): { readonly values: FlagValues<F>; readonly rest: readonly string[] } => {
  const values: Record<string, boolean | string | number> = {}
  const rest: string[] = []
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] ?? ''
    if (arg === '--') {
      rest.push(...args.slice(at + 1))
      break
    }
    const match = /^--?(?<name>[^-=][^=]*)(?:=(?<value>.*))?$/s.exec(arg)?.groups
    if (!match) {
      rest.push(arg)
      continue
    }
    const name = match.name ?? ''
    const kind = Object.hasOwn(flags, name) ? flags[name] : undefined
    if (!kind) throw new Failure('invalid', `-${name}: no such option. Known options: ${known(flags)}`)
    if (kind === 'boolean') values[name] = truth(name, match.value ?? 'true')
    else {
      const value = match.value ?? args[++at]
      if (value === undefined) throw new Failure('invalid', `-${name}: expected a value after it`)
      values[name] = kind === 'number' ? wholeNumber(name, value) : value
    }
  }
  return { values: values as FlagValues<F>, rest }
}

const truth = (name: string, value: string): boolean => {
  if (truths.includes(value)) return true
  if (untruths.includes(value)) return false
  throw new Failure('invalid', `-${name}: expected true or false, not "${value}"`)
}

const wholeNumber = (name: string, value: string): number => {
  if (!/^[+-]?\d{1,9}$/.test(value))
    throw new Failure('invalid', `-${name}: expected a whole number, not "${value}"`)
  return Number(value)
}

const known = (flags: Flags): string =>
  Object.keys(flags)
    .map((name) => `-${name}`)
    .join(', ')
