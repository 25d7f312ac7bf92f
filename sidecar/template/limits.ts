import { Failure } from '../../process/failure.ts'

/** What one rendering may use. */
export interface Limits {
  /** Steps of evaluation: an action, a command, a turn of a loop, 32 characters that a function reads. */
  readonly steps: number
  /** Bytes of the output, and of any string on the way to it. */
  readonly bytes: number
}

export const defaultLimits: Limits = { steps: 100_000, bytes: 64 * 1024 }

/** Counts the steps of one rendering, and throws Failure `invalid` at the end of them. */
export class Budget {
  readonly limits: Limits
  #spent = 0

  constructor(limits: Limits) {
    this.limits = limits
  }

  spend(steps: number): void {
    this.#spent += steps
    if (this.#spent > this.limits.steps)
      throw new Failure(
        'invalid',
        `takes more than ${this.limits.steps} steps: shorten its loops, or what they go over`,
      )
  }

  /** An empty text that stays within the limit. */
  text(): Text {
    return new Text(this.limits.bytes)
  }
}

/** A text that grows up to a limit, beyond which it throws Failure `invalid`. */
export class Text {
  readonly #limit: number
  #bytes = 0
  #parts: string[] = []

  constructor(limit: number) {
    this.#limit = limit
  }

  add(part: string): this {
    this.#bytes += Buffer.byteLength(part)
    if (this.#bytes > this.#limit)
      throw new Failure('invalid', `makes a text of more than ${this.#limit} bytes`)
    this.#parts.push(part)
    return this
  }

  toString(): string {
    return this.#parts.join('')
  }
}
