import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { Failure } from '../process/failure.ts'
import { readCollection } from '../registry/collections.ts'
import type { RecordOf } from '../registry/keys.ts'
import { type Policy, parsePolicy } from '../registry/policy.ts'
import type { Store } from '../registry/store.ts'
import { readPolicy, writePolicy } from '../registry/stored-policy.ts'
import { guardLine } from './columns.ts'
import { aligned, json, type Output } from './output.ts'

/** The text of a file, of standard input for "-". Errors: `invalid` where it cannot be read. */
export const readInput = async (file: string): Promise<string> => {
  try {
    return file === '-' ? await text(process.stdin) : await readFile(file, 'utf8')
  } catch (error) {
    throw new Failure('invalid', `cannot read ${file}`, error)
  }
}

/** `policy show`: what stands in the registry, and how far the guards go by it. As JSON it is what `policy set` takes. Errors: `not-found`, `invalid`. */
export const showPolicy = async (
  store: Store,
  options: { readonly json?: boolean },
  output: Output,
): Promise<void> => {
  const { text: stored } = await readPolicy(store)
  if (stored === undefined)
    throw new Failure('not-found', 'no policy is set: each guard goes by the settings of its plugin')
  const policy = parsePolicy(stored)
  if (options.json) return output.print(json(policy))
  const { records } = await readCollection(store, 'alive')
  output.print([...aligned(rows(policy)), ...hostLines(records.map(({ record }) => record))].join('\n'))
}

const unsaid = "the plugins' settings"

const rows = ({ mode, reach, operators, exceptions = [] }: Policy): string[][] => [
  ['mode', mode ?? unsaid],
  ['reach', reach ?? unsaid],
  ['operators', operators ? operators.join(', ') || 'none' : unsaid],
  ...(exceptions.length === 0
    ? [['exceptions', 'none']]
    : exceptions.map(({ path, access, reason }, index) => [
        index === 0 ? 'exceptions' : '',
        `${path}${access === 'any' ? '' : `, ${access}`}: ${reason}`,
      ])),
]

const hostLines = (alive: readonly RecordOf<'alive'>[]): string[] =>
  aligned(alive.map((one) => [`guard of ${one.host}`, guardLine(one)]))

/** `policy set`: errors are `invalid` where it is refused, and those of the store. */
export const setPolicy = async (store: Store, file: string, output: Output): Promise<void> => {
  const changed = await writePolicy(store, parsePolicy(await readInput(file)))
  output.print(
    changed
      ? 'the policy is set: every plugin takes it over at once, or when it reaches the store (registrator ls alive)'
      : 'the policy was this one already',
  )
}

export const clearPolicy = async (store: Store, output: Output): Promise<void> => {
  const changed = await writePolicy(store, undefined)
  output.print(
    changed
      ? 'the policy is gone: every guard goes by the settings of its plugin again'
      : 'no policy was set',
  )
}

/** `policy check`: `invalid` where it would be refused. */
export const checkPolicy = async (file: string, output: Output): Promise<void> => {
  parsePolicy(await readInput(file))
  output.print('the policy is good')
}
