import { Failure } from '../process/failure.ts'

/** "2026-11-27T01:39:51.5Z" -> "2026-11-27 01:39:51", UTC as all times of the registry. */
export const time = (iso: string): string => new Date(iso).toISOString().slice(0, 19).replace('T', ' ')

/** The same with milliseconds. */
export const instant = (iso: string): string => new Date(iso).toISOString().slice(0, 23).replace('T', ' ')

const units = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
] as const

/** How long ago it was: "3 h". */
export const age = (iso: string, now = Date.now()): string => {
  const seconds = Math.max(0, Math.round((now - Date.parse(iso)) / 1000))
  const [unit, of] = units.find(([, least]) => seconds >= least) ?? ['s', 1]
  return `${Math.floor(seconds / of)} ${unit}`
}

/** "1 host", "2 hosts". */
export const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`

/** As Docker shows IDs. */
export const short = (id: string): string => id.replace(/^sha256:/, '').slice(0, 12)

const seconds: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 }

/** "60s", "10m" (s, m, h, d) -> ms. `option` names it in the error. Errors: `invalid`. */
export const duration = (text: string, option: string): number => {
  const match = /^(?<number>\d{1,9})(?<unit>[smhd])$/.exec(text)?.groups
  if (match) return Number(match.number) * (seconds[match.unit ?? ''] ?? 0) * 1000
  throw new Failure('invalid', `${option}: expected a time such as 0s, 60s or 10m, not "${text}"`)
}

/** "10m" (s, m, h, d), or a time as ISO 8601 -> ms since 1970. Errors: `invalid`. */
export const since = (text: string, now = Date.now()): number => {
  const match = /^(?<number>\d+)(?<unit>[smhd])$/.exec(text)?.groups
  if (match) return now - Number(match.number) * (seconds[match.unit ?? ''] ?? 0) * 1000
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(at)) return at
  throw new Failure(
    'invalid',
    `--since: expected 30s, 10m, 2h, 1d or a time such as 2026-01-31T12:00:00Z, not "${text}"`,
  )
}
