import { Failure } from '../../process/failure.ts'
import {
  between,
  classes,
  controls,
  either,
  isOneOf,
  named,
  not,
  others,
  places,
  type Test,
} from './regexp-classes.ts'

/** A regular expression as parsed. Characters are given by their number, undefined is outside of the text. */
export type Piece =
  | { readonly kind: 'character'; readonly test: (code: number) => boolean }
  | {
      readonly kind: 'place'
      readonly test: (before: number | undefined, after: number | undefined) => boolean
    }
  | { readonly kind: 'sequence' | 'choice'; readonly parts: readonly Piece[] }
  | {
      readonly kind: 'repeat'
      readonly part: Piece
      readonly least: number
      readonly most: number | undefined
    }

/**
 * Of Go's syntax: characters, . [] \d \w \s and their opposites, [[:alpha:]] and such, ^ $ \A \z \b \B, groups, |, * + ? and
 * {n,m}, lazy or not, the flags i, m, s and U. Captures mean nothing here. Throws Failure `invalid`.
 */
export const parseRegexp = (pattern: string): Piece => new Parser(pattern).parse()

interface Flags {
  readonly i: boolean
  readonly m: boolean
  readonly s: boolean
}

class Parser {
  readonly #pattern: string
  readonly #characters: readonly string[]
  #at = 0
  #depth = 0
  #flags: Flags = { i: false, m: false, s: false }

  constructor(pattern: string) {
    this.#pattern = pattern
    this.#characters = [...pattern]
  }

  parse(): Piece {
    const piece = this.#choice()
    if (this.#at < this.#characters.length) throw this.#wrong('a ) without its (')
    return piece
  }

  #choice(): Piece {
    this.#depth += 1
    if (this.#depth > 50) throw this.#wrong('nested more than 50 levels deep')
    const parts = [this.#sequence()]
    while (this.#take('|')) parts.push(this.#sequence())
    this.#depth -= 1
    return parts.length === 1 && parts[0] ? parts[0] : { kind: 'choice', parts }
  }

  #sequence(): Piece {
    const parts: Piece[] = []
    for (let next = this.#peek(); next !== undefined && next !== '|' && next !== ')'; next = this.#peek())
      parts.push(this.#repeated())
    return { kind: 'sequence', parts }
  }

  #repeated(): Piece {
    if (this.#count()) throw this.#wrong('a repetition of nothing')
    const flags = this.#flagsOnly()
    const part = flags ?? this.#atom()
    const count = this.#count()
    if (!count) return part
    if (flags) throw this.#wrong('a repetition of nothing')
    // lazy or not, it matches the same texts
    this.#take('?')
    if (this.#count()) throw this.#wrong('a repetition of a repetition')
    return { kind: 'repeat', part, ...count }
  }

  #count(): { least: number; most: number | undefined } | undefined {
    if (this.#take('*')) return { least: 0, most: undefined }
    if (this.#take('+')) return { least: 1, most: undefined }
    if (this.#take('?')) return { least: 0, most: 1 }
    const found = /^\{(\d+)(,(\d*))?\}/.exec(this.#ahead(12))
    if (!found) return undefined
    const [whole, from, comma, to] = found
    const least = Number(from)
    const most = comma === undefined ? least : to ? Number(to) : undefined
    if (least > 1000 || (most ?? 0) > 1000 || least > (most ?? least))
      throw this.#wrong(`no repetition: ${whole}`)
    this.#at += whole.length
    return { least, most }
  }

  #atom(): Piece {
    const one = this.#next()
    const { m, s } = this.#flags
    switch (one) {
      case '(':
        return this.#group()
      case '[':
        return this.#character(this.#class())
      case '.':
        return { kind: 'character', test: s ? () => true : not(isOneOf('\n')) }
      case '^':
        return { kind: 'place', test: m ? places.beginLine : places.begin }
      case '$':
        return { kind: 'place', test: m ? places.endLine : places.end }
      case '\\':
        return this.#place() ?? this.#character(this.#escape())
      default:
        return this.#character(isOneOf(one))
    }
  }

  #place(): Piece | undefined {
    const test = { A: places.begin, z: places.end, b: places.edge, B: places.noEdge }[this.#peek() ?? '']
    if (test) this.#at += 1
    return test && { kind: 'place', test }
  }

  /** In the case that the flags ask for. */
  #character(test: Test): Piece {
    if (!this.#flags.i) return { kind: 'character', test }
    const folded = (code: number): boolean => {
      const small = String.fromCodePoint(code).toUpperCase().toLowerCase()
      const forms = [small, small.toUpperCase(), others[small] ?? small]
      return test(code) || forms.some((one) => test(one.codePointAt(0) ?? code))
    }
    return { kind: 'character', test: folded }
  }

  /** "(?i)": they count for the rest of the group that they stand in. */
  #flagsOnly(): Piece | undefined {
    const [whole, on, off] = /^\(\?([imsU]*)(?:-([imsU]+))?\)/.exec(this.#ahead(16)) ?? []
    if (whole === undefined || whole === '(?)') return undefined
    this.#at += whole.length
    this.#set(on, off)
    return { kind: 'sequence', parts: [] }
  }

  #group(): Piece {
    const outer = this.#flags
    if (this.#take('?') && !this.#name()) {
      const [whole, on, off] = /^([imsU]*)(?:-([imsU]+))?:/.exec(this.#ahead(16)) ?? []
      if (whole === undefined) throw this.#wrong('expected flags after (?, of i, m, s and U, or a :')
      this.#at += whole.length
      this.#set(on, off)
    }
    const piece = this.#choice()
    if (!this.#take(')')) throw this.#wrong('a ( without its )')
    this.#flags = outer
    return piece
  }

  /** "P<name>" or "<name>": what it captures is not asked for. */
  #name(): boolean {
    const rest = this.#characters.slice(this.#at).join('')
    const found = /^P?<\w+>/.exec(rest)
    if (!found && /^<|^[=!P]/.test(rest))
      throw this.#wrong('look-around and named references are not supported, as in Go')
    this.#at += found?.[0].length ?? 0
    return Boolean(found)
  }

  #set(on = '', off = ''): void {
    const flag = (name: keyof Flags) => !off.includes(name) && (on.includes(name) || this.#flags[name])
    this.#flags = { i: flag('i'), m: flag('m'), s: flag('s') }
  }

  /** After the [, and with the ]. */
  #class(): Test {
    const negated = this.#take('^')
    const tests: Test[] = []
    do tests.push(this.#classPart())
    while (!this.#take(']'))
    return negated ? not(either(...tests)) : either(...tests)
  }

  #classPart(): Test {
    const posix = /^\[:(\^?)(\w+):\]/.exec(this.#ahead(16))
    if (posix) {
      const [whole, opposite, name = ''] = posix
      const test = Object.hasOwn(named, name) ? named[name] : undefined
      if (!test) throw this.#wrong(`no class ${whole}: there are ${Object.keys(named).join(', ')}`)
      this.#at += whole.length
      return opposite ? not(test) : test
    }
    const from = this.#classCharacter()
    if (typeof from !== 'number') return from
    if (this.#peek() !== '-' || this.#peek(1) === ']') return between(from, from)
    this.#at += 1
    const to = this.#classCharacter()
    if (typeof to !== 'number' || to < from) throw this.#wrong('no range of characters in [ ]')
    return between(from, to)
  }

  #classCharacter(): number | Test {
    const one = this.#next('a [ without its ]')
    return one === '\\' ? this.#escaped() : (one.codePointAt(0) ?? 0)
  }

  #escape(): Test {
    const escaped = this.#escaped()
    return typeof escaped === 'number' ? between(escaped, escaped) : escaped
  }

  /** After the \: a class, or the number of a character. */
  #escaped(): number | Test {
    const one = this.#next('a \\ at the end')
    if (Object.hasOwn(classes, one) && classes[one]) return classes[one]
    if (Object.hasOwn(controls, one)) return controls[one] ?? 0
    if (one === 'x') return this.#hex()
    if (/[\p{L}\p{N}]/u.test(one))
      throw this.#wrong(
        `\\${one} is not supported: expected one of \\d \\w \\s \\b \\n \\t \\x41 or a sign such as \\.`,
      )
    return one.codePointAt(0) ?? 0
  }

  #hex(): number {
    const found = /^(?:\{([\da-fA-F]{1,6})\}|([\da-fA-F]{2}))/.exec(this.#ahead(8))
    const code = Number.parseInt(found?.[1] ?? found?.[2] ?? '', 16)
    if (!found || code > 0x10ffff)
      throw this.#wrong('expected two hexadecimal digits after \\x, or up to six in { }')
    this.#at += found[0].length
    return code
  }

  #ahead(count: number): string {
    return this.#characters.slice(this.#at, this.#at + count).join('')
  }

  #peek(ahead = 0): string | undefined {
    return this.#characters[this.#at + ahead]
  }

  #next(missing = 'an end where more was expected'): string {
    const one = this.#peek()
    if (one === undefined) throw this.#wrong(missing)
    this.#at += 1
    return one
  }

  #take(one: string): boolean {
    const found = this.#peek() === one
    if (found) this.#at += 1
    return found
  }

  #wrong(what: string): Failure {
    return new Failure('invalid', `regular expression ${JSON.stringify(this.#pattern)}: ${what}`)
  }
}
