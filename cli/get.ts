import { Failure } from '../process/failure.ts'
import type { Entry, Store } from '../registry/store.ts'
import { json, type Output } from './output.ts'

/** `get <key>`: the record at a key, or all below one that ends with "/". */
export const get = async (
  store: Store,
  key: string,
  options: { readonly json?: boolean },
  output: Output,
): Promise<void> => {
  const entries = await readEntries(store, key)
  const one = key.endsWith('/') ? undefined : entries[0]
  if (options.json) output.print(json(one ? toJson(one) : entries.map(toJson)))
  else if (one) output.print(showValue(one.value))
  else output.print(entries.map((entry) => `${entry.key}\n${showValue(entry.value)}`).join('\n'))
}

/** One entry, or all below a key that ends with "/". Errors: `not-found`, `denied`. */
const readEntries = async (store: Store, key: string): Promise<readonly Entry[]> => {
  if (/^secrets(\/|$)/.test(key))
    throw new Failure('denied', 'secrets are not shown: who may have them asks the store itself')
  const { entries } = await store.read(key)
  const found = key.endsWith('/') ? entries : entries.filter((entry) => entry.key === key)
  if (found.length > 0) return found
  const near = entries.slice(0, 3).map((entry) => entry.key)
  throw new Failure('not-found', `nothing at ${key}${near.length > 0 ? `; there is ${near.join(', ')}` : ''}`)
}

/** An entry's value, indented where it is JSON. */
const showValue = (value: string): string => {
  const parsed = parse(value)
  return parsed === undefined ? value : json(parsed)
}

const toJson = ({ key, revision, lease, value }: Entry) => {
  const record = parse(value)
  return {
    key,
    revision,
    ...(lease !== undefined && { lease }),
    ...(record === undefined ? { value } : { record }),
  }
}

/** Undefined for what whoever wrote it wrote as no JSON: it is shown as it is. */
const parse = (value: string): unknown => {
  try {
    return JSON.parse(value)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return undefined
  }
}
