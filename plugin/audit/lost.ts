/** Entries that could not be kept: how many, and the times of the first and the last. */
export interface Lost {
  readonly count: number
  readonly from: string
  readonly to: string
}

/** The two as one. Pure; times are ISO 8601 in UTC, with milliseconds. */
export const joined = (a: Lost | undefined, b: Lost): Lost =>
  a === undefined
    ? b
    : { count: a.count + b.count, from: sorted(a.from, b.from)[0], to: sorted(a.to, b.to)[1] }

const sorted = (a: string, b: string): [string, string] => (a < b ? [a, b] : [b, a])
