import type { Failure } from '../../process/failure.ts'
import { checkCall, knownFunctions } from './functions.ts'
import { lex, type Token } from './lex.ts'
import { located, wrong } from './place.ts'
import type { Command, Node, Operand, Pipe } from './tree.ts'

/** Deeper ones nobody reads, and the stack ends somewhere. */
const deepest = 50

const actions = 'if, else, end, range, with, break, continue'

/** Of Go's actions these are left out: a template of tags is one line. */
const refused = new Set(['define', 'template', 'block'])

/** The nodes of a template. Throws Failure `invalid`, which says where, what is wrong, and what could stand there. */
export const parse = (template: string): readonly Node[] => new Parser(template).parse()

type Sign = Extract<Token, { kind: 'sign' }>['text']

class Parser {
  readonly #template: string
  readonly #tokens: readonly Token[]
  #next = 0
  #depth = 0
  /** Those in scope, the innermost last. */
  #variables = ['$']
  #loops = 0

  constructor(template: string) {
    this.#template = template
    this.#tokens = lex(template)
  }

  parse(): readonly Node[] {
    const nodes = this.#list()
    const token = this.#peek()
    if (token) throw this.#wrong(`${this.#nameOf(1)} without an if, range or with before it`)
    return nodes
  }

  /** Up to an else, an end, or the end of the template. */
  #list(): Node[] {
    const nodes: Node[] = []
    for (let token = this.#peek(); token && !this.#isWord(1, 'else', 'end'); token = this.#peek()) {
      this.#next += 1
      nodes.push(token.kind === 'text' ? { kind: 'text', at: token.at, text: token.text } : this.#action())
    }
    return nodes
  }

  /** What is in {{ }}, the {{ read. */
  #action(): Node {
    const token = this.#peek()
    const at = token?.at ?? 0
    if (token?.kind === 'word') {
      const { text } = token
      if (refused.has(text))
        throw this.#wrong(
          `${text} is not supported: a template of tags has no templates in it; actions are ${actions}`,
        )
      if (text === 'if' || text === 'with' || text === 'range') {
        this.#next += 1
        return this.#deeper(() => this.#control(text, at))
      }
      if (text === 'break' || text === 'continue') {
        if (this.#loops === 0) throw this.#wrong(`${text} outside a range`)
        this.#next += 1
        this.#close(text)
        return { kind: text, at }
      }
    }
    const pipe = this.#pipe('action')
    this.#close('the action')
    return { kind: 'action', at, pipe }
  }

  #control(kind: 'if' | 'with' | 'range', at: number): Node {
    const scope = this.#variables.length
    const pipe = this.#pipe(kind)
    this.#close(kind)
    if (kind === 'range') this.#loops += 1
    const body = this.#list()
    if (kind === 'range') this.#loops -= 1
    const otherwise = this.#otherwise(kind, at)
    this.#variables.length = scope
    return { kind, at, pipe, body, otherwise }
  }

  /** What follows an else, and the end. */
  #otherwise(kind: 'if' | 'with' | 'range', at: number): Node[] {
    if (!this.#peek()) throw wrong(this.#template, at, `${kind} without its {{end}}`)
    this.#next += 1
    const word = this.#take()
    if (word?.kind === 'word' && word.text === 'end') {
      this.#close('end')
      return []
    }
    if (kind !== 'range' && this.#isWord(0, kind)) {
      const inner = this.#take()
      // one end is of both
      return [this.#deeper(() => this.#control(kind, inner?.at ?? at))]
    }
    this.#close('else')
    const nodes = this.#list()
    if (!this.#peek()) throw wrong(this.#template, at, `${kind} without its {{end}}`)
    if (this.#isWord(1, 'else')) throw this.#wrong(`a second else of one ${kind}: expected {{end}}`)
    this.#next += 2
    this.#close('end')
    return nodes
  }

  #pipe(of: 'action' | 'if' | 'with' | 'range' | 'parentheses'): Pipe {
    const at = this.#peek()?.at ?? 0
    const { variables, assigns } =
      of === 'parentheses' ? { variables: [], assigns: false } : this.#targets(of)
    const commands = [this.#command(false)]
    while (this.#takeSign('|')) commands.push(this.#command(true))
    if (!assigns) this.#variables.push(...variables)
    return { at, variables, assigns, commands }
  }

  /** "$x :=", "$x =", of a range also "$i, $e :=" and "$i, $e =". */
  #targets(of: string): { variables: string[]; assigns: boolean } {
    const sign = (ahead: number, text: Sign) => {
      const token = this.#peek(ahead)
      return token?.kind === 'sign' && token.text === text
    }
    const first = this.#peek()
    if (first?.kind !== 'variable') return { variables: [], assigns: false }
    const second = sign(1, ',') ? this.#peek(2) : undefined
    if (sign(1, ',') && second?.kind !== 'variable')
      throw this.#wrong('expected a second $variable after the comma')
    const names = second?.kind === 'variable' ? [first.text, second.text] : [first.text]
    const after = names.length * 2 - 1
    const assigns = sign(after, '=')
    if (!assigns && !sign(after, ':=')) {
      if (names.length === 1) return { variables: [], assigns }
      throw this.#wrong('expected := after two variables')
    }
    if (names.length === 2 && of !== 'range') throw this.#wrong('two variables at once are for range alone')
    for (const name of names) {
      if (name === '$' && !assigns) throw this.#wrong('$ is the data: expected a name after it, such as $x')
      if (assigns) this.#checkVariable(name)
    }
    this.#next += after + 1
    return { variables: names, assigns }
  }

  /** `piped`: it gets the value of one before it, so it has to be a function. */
  #command(piped: boolean): Command {
    const token = this.#peek()
    if (token?.kind === 'word' && !['true', 'false', 'nil'].includes(token.text)) {
      const { name, at } = this.#function()
      const args = this.#args()
      located(this.#template, at, () => checkCall(name, args, piped))
      return { kind: 'call', at, name, args }
    }
    const operand = this.#operand()
    if (!operand) throw this.#wrong(`expected a value or a function, found ${this.#nameOf(0)}`)
    if (piped)
      throw wrong(this.#template, operand.at, `expected a function after |, which gets the value before it`)
    if (operand.kind === 'nil') throw wrong(this.#template, operand.at, 'nil alone has no value')
    if (this.#args().length > 0)
      throw wrong(this.#template, operand.at, 'only functions take arguments, and this is none')
    return { kind: 'operand', at: operand.at, operand }
  }

  #args(): Operand[] {
    const args: Operand[] = []
    for (let spaced = this.#peek()?.spaced; ; spaced = this.#peek()?.spaced) {
      const operand = this.#operand()
      if (!operand) return args
      if (!spaced) throw wrong(this.#template, operand.at, 'expected a space between two values')
      args.push(operand)
    }
  }

  /** A value, and the fields that are asked of it; undefined where none stands. */
  #operand(): Operand | undefined {
    const start = this.#simple()
    if (!start) return undefined
    const fields = [...start.fields]
    for (let token = this.#peek(); token?.kind === 'field' && !token.spaced; token = this.#peek()) {
      if (start.kind === 'literal' || start.kind === 'nil' || (start.kind === 'dot' && fields.length === 0))
        throw this.#wrong(`.${token.text} of something that has no fields`)
      fields.push(token.text)
      this.#next += 1
    }
    return { ...start, fields }
  }

  #simple(): Operand | undefined {
    const token = this.#peek()
    const base = { at: token?.at ?? 0, fields: [] }
    if (token?.kind === 'sign' && token.text === '(') {
      this.#next += 1
      const pipe = this.#deeper(() => this.#pipe('parentheses'))
      if (!this.#takeSign(')')) throw this.#wrong(`expected ) and found ${this.#nameOf(0)}`)
      return { ...base, kind: 'pipe', pipe }
    }
    switch (token?.kind) {
      case 'dot':
        this.#next += 1
        return { ...base, kind: 'dot' }
      case 'field':
        this.#next += 1
        return { ...base, kind: 'dot', fields: [token.text] }
      case 'literal':
        this.#next += 1
        return { ...base, kind: 'literal', value: token.value }
      case 'variable':
        this.#checkVariable(token.text)
        this.#next += 1
        return { ...base, kind: 'variable', name: token.text }
      case 'word':
        return this.#word(token.text, base)
      default:
        return undefined
    }
  }

  #word(text: string, base: { at: number; fields: string[] }): Operand {
    if (text === 'nil' || text === 'true' || text === 'false') {
      this.#next += 1
      return text === 'nil' ? { ...base, kind: 'nil' } : { ...base, kind: 'literal', value: text === 'true' }
    }
    // among arguments a function is called with none, as in Go
    const { name, at } = this.#function()
    located(this.#template, at, () => checkCall(name, [], false))
    const call = { kind: 'call', at, name, args: [] } as const
    return { ...base, kind: 'pipe', pipe: { at, variables: [], assigns: false, commands: [call] } }
  }

  #function(): { name: string; at: number } {
    const token = this.#peek()
    if (token?.kind !== 'word') throw this.#wrong('expected a function')
    const { text, at } = token
    if (['if', 'else', 'end', 'range', 'with', 'break', 'continue', ...refused].includes(text))
      throw this.#wrong(`${text} cannot stand here: it comes first in its {{ }}`)
    located(this.#template, at, () => knownFunctions(text))
    this.#next += 1
    return { name: text, at }
  }

  #checkVariable(name: string): void {
    if (!this.#variables.includes(name))
      throw this.#wrong(
        `there is no variable ${name} here: there are ${[...new Set(this.#variables)].join(', ')}`,
      )
  }

  #deeper<T>(step: () => T): T {
    this.#depth += 1
    if (this.#depth > deepest) throw this.#wrong(`nested more than ${deepest} levels deep`)
    const result = step()
    this.#depth -= 1
    return result
  }

  #close(after: string): void {
    if (this.#peek()?.kind !== 'close')
      throw this.#wrong(`expected }} after ${after} and found ${this.#nameOf(0)}`)
    this.#next += 1
  }

  #takeSign(text: Sign): boolean {
    const token = this.#peek()
    const found = token?.kind === 'sign' && token.text === text
    if (found) this.#next += 1
    return found
  }

  #take(): Token | undefined {
    this.#next += 1
    return this.#tokens[this.#next - 1]
  }

  #peek(ahead = 0): Token | undefined {
    return this.#tokens[this.#next + ahead]
  }

  #isWord(ahead: number, ...words: string[]): boolean {
    const token = this.#peek(ahead)
    return (
      token?.kind === 'word' && words.includes(token.text) && (ahead === 0 || this.#peek()?.kind === 'open')
    )
  }

  #nameOf(ahead: number): string {
    const token = this.#peek(ahead)
    if (!token) return 'the end'
    if (token.kind === 'close') return '}}'
    const text = 'text' in token ? token.text : this.#template.slice(token.at, token.at + 20)
    return token.kind === 'field' ? `.${text}` : text
  }

  #wrong(what: string): Failure {
    return wrong(this.#template, this.#peek()?.at ?? this.#template.length, what)
  }
}
