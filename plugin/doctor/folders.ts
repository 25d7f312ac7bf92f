import { z } from 'zod'
import type { FoundFolder } from './facts.ts'

/** A line of openebs-survey: name, marker, UUID and volume of the marker ("-" where they cannot be read), KiB, seconds. */
const Line = z.tuple([
  z.string(),
  z.enum(['volume', 'provisioning', 'erasing', 'none']),
  z.string(),
  z.string(),
  z.coerce.number().int(),
  z.coerce.number().int(),
])

/** What openebs-survey printed. A line that is not as expected throws: its words are ours. */
export const parseSurvey = (text: string): FoundFolder[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [name, marker, uuid, volume, used, changed] = Line.parse(line.split(' '))
      return {
        name,
        marker,
        ...(uuid !== '-' && { uuid }),
        ...(volume !== '-' && { volume }),
        used: used * 1024,
        changed: changed * 1000,
      }
    })
