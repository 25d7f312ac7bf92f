const minute = 60
const hour = 60 * minute
const units: readonly (readonly [below: number, unit: number, name: string])[] = [
  [48, 1, 'hours'],
  [24 * 14, 24, 'days'],
  [24 * 60, 24 * 7, 'weeks'],
  [24 * 365 * 2, 24 * 30, 'months'],
]

/** How long something has lasted, in the words of Docker's lists ("Up About an hour"): go-units' HumanDuration. */
export const humanDuration = (seconds: number): string => {
  const whole = Math.trunc(seconds)
  if (whole < 1) return 'Less than a second'
  if (whole === 1) return '1 second'
  if (whole < minute) return `${whole} seconds`
  const minutes = Math.trunc(seconds / minute)
  if (minutes === 1) return 'About a minute'
  if (minutes < 60) return `${minutes} minutes`
  const hours = Math.trunc(seconds / hour + 0.5)
  if (hours === 1) return 'About an hour'
  for (const [below, unit, name] of units) if (hours < below) return `${Math.trunc(hours / unit)} ${name}`
  return `${Math.trunc(Math.trunc(seconds / hour) / 24 / 365)} years`
}
