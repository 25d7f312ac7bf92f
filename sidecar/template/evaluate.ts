import { Failure } from '../../process/failure.ts'
import { callFunction, knownFunctions } from './functions.ts'
import type { Budget, Text } from './limits.ts'
import { located, wrong } from './place.ts'
import { printResult } from './print.ts'
import type { Command, Node, Operand, Pipe } from './tree.ts'
import { Dictionary, isList, isTrue, Struct, typeOf, type Value } from './values.ts'

/** What goes on after a node: the next one, or what a break or a continue says. */
type Next = 'next' | 'break' | 'continue'

type Variable = { readonly name: string; value: Value }

/** Renders nodes, whose offsets are those of `source`. Throws Failure `invalid`, which says where, and what was wrong. */
export const evaluate = (nodes: readonly Node[], source: string, data: Value, budget: Budget): string => {
  const text = budget.text()
  new Evaluator(source, budget, text, data).walk(nodes, data)
  return text.toString()
}

class Evaluator {
  readonly #source: string
  readonly #budget: Budget
  readonly #text: Text
  /** The innermost last. */
  readonly #variables: Variable[]

  constructor(source: string, budget: Budget, text: Text, data: Value) {
    this.#source = source
    this.#budget = budget
    this.#text = text
    this.#variables = [{ name: '$', value: data }]
  }

  walk(nodes: readonly Node[], dot: Value): Next {
    for (const node of nodes) {
      const next = this.#node(node, dot)
      if (next !== 'next') return next
    }
    return 'next'
  }

  #node(node: Node, dot: Value): Next {
    located(this.#source, node.at, () => this.#budget.spend(1))
    switch (node.kind) {
      case 'text':
        located(this.#source, node.at, () => this.#text.add(node.text))
        return 'next'
      case 'action':
        this.#action(node.pipe, dot)
        return 'next'
      case 'break':
      case 'continue':
        return node.kind
      case 'range':
        return this.#scoped(() => this.#range(node, dot))
      case 'if':
      case 'with':
        return this.#scoped(() => {
          const value = this.#pipe(node.pipe, dot)
          this.#set(node.pipe, [value])
          if (!isTrue(value)) return this.walk(node.otherwise, dot)
          return this.walk(node.body, node.kind === 'with' ? value : dot)
        })
    }
  }

  /** Prints what it gives, unless it sets a variable. */
  #action(pipe: Pipe, dot: Value): void {
    const value = this.#pipe(pipe, dot)
    if (pipe.variables.length > 0) this.#set(pipe, [value])
    else located(this.#source, pipe.at, () => printResult(value, this.#text))
  }

  #range({ pipe, body, otherwise }: Extract<Node, { pipe: Pipe; body: unknown }>, dot: Value): Next {
    const value = this.#pipe(pipe, dot)
    if (value !== undefined && value !== null && !isList(value) && !(value instanceof Dictionary))
      throw wrong(
        this.#source,
        pipe.at,
        `range over a value of type ${typeOf(value)}: expected a list or a map`,
      )
    if (!value || !isTrue(value)) {
      this.#set(pipe, pipe.assigns ? [] : [value, value])
      return this.walk(otherwise, dot)
    }
    for (const [key, element] of turnsOf(value)) {
      located(this.#source, pipe.at, () => this.#budget.spend(1))
      const next = this.#scoped(() => {
        this.#set(pipe, pipe.variables.length === 2 ? [key, element] : [element])
        return this.walk(body, element)
      })
      if (next === 'break') break
    }
    return 'next'
  }

  #scoped<T>(step: () => T): T {
    const length = this.#variables.length
    const result = step()
    this.#variables.length = length
    return result
  }

  #set({ variables, assigns }: Pipe, values: readonly Value[]): void {
    for (const [i, name] of variables.entries()) {
      if (!assigns) this.#variables.push({ name, value: values[i] })
      else if (i < values.length) this.#variable(name).value = values[i]
    }
  }

  #variable(name: string): Variable {
    const found = this.#variables.findLast((one) => one.name === name)
    if (!found) throw new Failure('invalid', `there is no variable ${name}`)
    return found
  }

  #pipe({ commands }: Pipe, dot: Value): Value {
    let piped: readonly Value[] = []
    for (const command of commands) piped = [this.#command(command, dot, piped)]
    return piped[0]
  }

  /** `piped`: nothing, or the value of the command before it. */
  #command(command: Command, dot: Value, piped: readonly Value[]): Value {
    if (command.kind === 'operand') return this.#operand(command.operand, dot)
    const { name, at } = command
    const args: Value[] = []
    const { stops } = knownFunctions(name)
    for (const arg of command.args) {
      const value = this.#operand(arg, dot)
      if (stops?.(value)) return value
      args.push(value)
    }
    return located(this.#source, at, () => {
      this.#budget.spend(1)
      return callFunction(name, [...args, ...piped], this.#budget)
    })
  }

  #operand(operand: Operand, dot: Value): Value {
    const start = this.#start(operand, dot)
    return located(this.#source, operand.at, () => operand.fields.reduce(fieldOf, start))
  }

  #start(operand: Operand, dot: Value): Value {
    switch (operand.kind) {
      case 'dot':
        return dot
      case 'nil':
        return null
      case 'literal':
        return operand.value
      case 'variable':
        return this.#variable(operand.name).value
      case 'pipe':
        return this.#pipe(operand.pipe, dot)
    }
  }
}

/** A key that a map has not is no value, and so are the fields of that; a field that an object has not is an error. */
const fieldOf = (value: Value, name: string): Value => {
  if (value === undefined) return undefined
  if (value instanceof Dictionary) return value.entries.get(name)
  if (!(value instanceof Struct))
    throw new Failure('invalid', `a value of type ${typeOf(value)} has no field ${name}`)
  if (!value.fields.has(name))
    throw new Failure(
      'invalid',
      `there is no field ${name} here: there are ${[...value.fields.keys()].join(', ')}`,
    )
  return value.fields.get(name)
}

/** The turns of a range, made one by one as a break may end them: index or key, and element. */
function* turnsOf(value: readonly Value[] | Dictionary): Iterable<readonly [Value, Value]> {
  if (value instanceof Dictionary) yield* value.sorted()
  else for (const [i, element] of value.entries()) yield [BigInt(i), element]
}
