import { Failure, isFailure } from '../../process/failure.ts'

/** "column 7", or "line 2, column 7": where an offset lies in a template, counted from 1. */
export const placeOf = (template: string, at: number): string => {
  const before = template.slice(0, at).split('\n')
  const column = `column ${[...(before.at(-1) ?? '')].length + 1}`
  return template.includes('\n') ? `line ${before.length}, ${column}` : column
}

/** What is wrong at an offset of a template. */
export const wrong = (template: string, at: number, what: string): Failure =>
  new Failure('invalid', `template, ${placeOf(template, at)}: ${what}`)

/** Runs a step, and says of its Failure where in the template that was. */
export const located = <T>(template: string, at: number, step: () => T): T => {
  try {
    return step()
  } catch (error) {
    if (!isFailure(error) || error.message.startsWith('template, ')) throw error
    throw wrong(template, at, error.message)
  }
}
