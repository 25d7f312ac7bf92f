import { isFailure } from '../../process/failure.ts'
import type { Audit } from '../../registry/audit.ts'
import { decode, encode } from '../../registry/keys.ts'
import { joined, type Lost } from './lost.ts'

/** An entry on its way: as it is to stand in the store, and what is lost if it never gets there. */
export interface Item {
  readonly key: string
  readonly value: string
  readonly lost: Lost
}

export const itemOf = (key: string, record: Audit): Item => ({
  key,
  value: encode('audit', record),
  lost:
    record.kind === 'gap'
      ? { count: record.count, from: record.time, to: record.to }
      : { count: 1, from: record.time, to: record.time },
})

/** What is lost with all of them. */
export const lostWith = (items: Iterable<Item>, before?: Lost): Lost | undefined =>
  [...items].reduce((sum: Lost | undefined, { lost }) => joined(sum, lost), before)

/** An entry as a line of a file. */
export const toLine = ({ key, value }: Item): string => `{"key":${JSON.stringify(key)},"record":${value}}\n`

const auditKey = /^audit\/[^/]+\/\d{14}-\d{6}$/

/** Reads a line back; undefined for one that is none: torn by a crash, or of another hand. */
export const fromLine = (line: string): Item | undefined => {
  try {
    const { key, record } = JSON.parse(line) as { key?: unknown; record?: unknown }
    if (typeof key !== 'string' || !auditKey.test(key)) return undefined
    return itemOf(key, decode('audit', key, JSON.stringify(record)))
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError || isFailure(error, 'invalid'))
      return undefined
    throw error
  }
}
