import { Failure } from '../../process/failure.ts'
import type { Budget } from './limits.ts'
import { type Piece, parseRegexp } from './regexp-parse.ts'

/**
 * Go's regular expressions, as far as whether one matches: no backtracking, so the time is at most the length of the
 * pattern times that of the text. JavaScript's own differ in syntax, and some patterns of a line take them hours.
 */
export interface Regexp {
  readonly program: readonly Step[]
}

type Step =
  | { readonly kind: 'character'; readonly test: (code: number) => boolean }
  | {
      readonly kind: 'place'
      readonly test: (before: number | undefined, after: number | undefined) => boolean
    }
  /** On at all of these. */
  | { readonly kind: 'fork'; to: number[] }
  | { readonly kind: 'end' }

/** Repetitions are written out; a longer program is refused. */
const longest = 5000

/** Throws Failure `invalid`, which says what is wrong or not supported. */
export const compileRegexp = (pattern: string): Regexp => {
  const program: Step[] = []
  write(parseRegexp(pattern), program)
  program.push({ kind: 'end' })
  return { program }
}

/** Appends the steps of a piece; it goes on at the step after them. */
const write = (piece: Piece, program: Step[]): void => {
  if (program.length > longest)
    throw new Failure('invalid', `a regular expression that is too long, its repetitions written out`)
  switch (piece.kind) {
    case 'character':
    case 'place':
      program.push(piece)
      return
    case 'sequence':
      for (const part of piece.parts) write(part, program)
      return
    case 'choice':
      writeChoice(piece.parts, program)
      return
    case 'repeat':
      for (let i = 0; i < piece.least; i += 1) write(piece.part, program)
      if (piece.most === undefined) writeLoop(piece.part, program)
      else writeOptions(piece, piece.most, program)
  }
}

const fork = (program: Step[]): number[] => {
  const to: number[] = []
  program.push({ kind: 'fork', to })
  return to
}

const writeChoice = (parts: readonly Piece[], program: Step[]): void => {
  const start = fork(program)
  const ends: number[][] = []
  for (const part of parts) {
    start.push(program.length)
    write(part, program)
    ends.push(fork(program))
  }
  for (const end of ends) end.push(program.length)
}

const writeLoop = (part: Piece, program: Step[]): void => {
  const at = program.length
  const start = fork(program)
  start.push(program.length)
  write(part, program)
  fork(program).push(at)
  start.push(program.length)
}

const writeOptions = (
  { part, least }: { part: Piece; least: number },
  most: number,
  program: Step[],
): void => {
  const starts: number[][] = []
  for (let i = least; i < most; i += 1) {
    const start = fork(program)
    start.push(program.length)
    starts.push(start)
    write(part, program)
  }
  for (const start of starts) start.push(program.length)
}

/** Whether a text has the pattern anywhere. 32 steps of its program cost one of the budget. */
export const matches = ({ program }: Regexp, text: string, budget: Budget): boolean => {
  const codes = Array.from(text, (one) => one.codePointAt(0) ?? 0)
  let current = new Set<number>()
  for (let at = 0; at <= codes.length; at += 1) {
    // it may begin at each place
    current.add(0)
    // a set is gone through with what is added to it on the way
    for (const step of current) follow(program[step], step, current, codes[at - 1], codes[at])
    budget.spend(current.size / 32)
    if (current.has(program.length - 1)) return true
    const next = new Set<number>()
    for (const step of current) {
      const one = program[step]
      const code = codes[at]
      if (one?.kind === 'character' && code !== undefined && one.test(code)) next.add(step + 1)
    }
    current = next
  }
  return false
}

/** Adds the steps that are reached without a character. */
const follow = (
  one: Step | undefined,
  step: number,
  current: Set<number>,
  before: number | undefined,
  after: number | undefined,
): void => {
  if (one?.kind === 'fork') for (const to of one.to) current.add(to)
  if (one?.kind === 'place' && one.test(before, after)) current.add(step + 1)
}
