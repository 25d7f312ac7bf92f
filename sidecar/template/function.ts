import type { Budget } from './limits.ts'
import type { Value } from './values.ts'

/** What a function takes in one place. `strings`: a list of strings, `labels`: a map of strings. */
export type Kind = 'any' | 'string' | 'int' | 'strings' | 'labels'

/** A function of templates. Its arguments are checked against `takes` before it is called. */
export interface Func {
  readonly takes: readonly Kind[]
  /** Of any number of arguments beyond those. */
  readonly rest?: Kind
  /** The arguments after one for which this holds are not evaluated. */
  readonly stops?: (value: Value) => boolean
  /** Throws Failure `invalid`. */
  readonly call: (args: readonly Value[], budget: Budget) => Value
  /** Of a first argument that the template says itself: what is wrong with it shows at the start. Throws Failure `invalid`. */
  readonly check?: (first: Value) => unknown
}
