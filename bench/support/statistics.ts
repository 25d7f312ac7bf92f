/** The value below which `share` (0 to 1) of all lie; of few values the highest for 0.99. */
export const quantile = (values: readonly number[], share: number): number => {
  if (values.length === 0) throw new Error('there is nothing to take a quantile of')
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

/** Of an even number of values the mean of the two in the middle. */
export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const upper = sorted.length >> 1
  const lower = (sorted.length - 1) >> 1
  return ((sorted[lower] ?? Number.NaN) + (sorted[upper] ?? Number.NaN)) / 2
}

export const round = (value: number, digits = 1): number => Number(value.toFixed(digits))
