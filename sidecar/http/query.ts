import type { Request } from 'express'
import { Failure } from '../../process/failure.ts'

/** The named parameters of a request, each given once at most. Errors: `invalid`, also for one that is not known. */
export const query = <N extends string>(
  request: Request,
  ...known: readonly N[]
): Partial<Record<N, string>> => {
  const found: Partial<Record<N, string>> = {}
  for (const [name, value] of Object.entries(request.query)) {
    if (!known.includes(name as N))
      throw new Failure(
        'invalid',
        `no parameter "${name}" here${known.length > 0 ? `: only ${known.join(', ')}` : ''}`,
      )
    if (typeof value !== 'string') throw new Failure('invalid', `parameter "${name}" is given more than once`)
    found[name as N] = value
  }
  return found
}
