import { randomBytes, timingSafeEqual } from 'node:crypto'
import { header } from './headers.ts'

const name = 'x-openebs-plugin'

/** What the plugin's own calls are known by: a header with a value that this run alone knows, and never writes anywhere. */
export const ownSecret = () => {
  const value = randomBytes(32).toString('hex')
  return {
    headers: { [name]: value },
    isOwn: (headers: Readonly<Record<string, string>>): boolean => {
      const given = Buffer.from(header(headers, name) ?? '')
      return given.length === value.length && timingSafeEqual(given, Buffer.from(value))
    },
  }
}
