import { Failure } from '../../process/failure.ts'
import { builtins } from './builtins.ts'
import type { Func, Kind } from './function.ts'
import type { Budget } from './limits.ts'
import { peerFunctions } from './peer.ts'
import type { Operand } from './tree.ts'
import { Dictionary, isList, typeOf, type Value } from './values.ts'

const functions: Readonly<Record<string, Func>> = { ...builtins, ...peerFunctions }

/** Left out on purpose. */
const refused: Readonly<Record<string, string>> = {
  httpGet:
    'it would ask the network for every container at every change, and what is registered would hang on the answer',
  jsonParse: 'it reads what httpGet gives, and nothing else',
  call: 'no data of a container are functions',
  html: 'tags are no web page',
  js: 'tags are no script',
}

/** The function of a name. Throws Failure `invalid`, which names those that there are. */
export const knownFunctions = (name: string): Func => {
  const known = Object.hasOwn(functions, name) ? functions[name] : undefined
  if (known) return known
  const names = Object.keys(functions).join(', ')
  if (Object.hasOwn(refused, name))
    throw new Failure('invalid', `${name} is not supported: ${refused[name]}; there are ${names}`)
  throw new Failure('invalid', `there is no function ${name}: there are ${names}`)
}

/**
 * Whether a call can be right: number of its arguments, and those that are written out. `piped`: one more comes from
 * the command before it. Throws Failure `invalid`.
 */
export const checkCall = (name: string, args: readonly Operand[], piped: boolean): void => {
  const func = knownFunctions(name)
  checkCount(name, func, args.length + (piped ? 1 : 0))
  for (const [i, arg] of args.entries()) {
    if (arg.kind === 'nil') convert(name, func, undefined, i)
    if (arg.kind === 'literal') convert(name, func, arg.value, i)
  }
  if (func.check && args[0]?.kind === 'literal') func.check(args[0].value)
}

/** Calls a function. Throws Failure `invalid` where an argument is not what it takes, or the function fails. */
export const callFunction = (name: string, args: readonly Value[], budget: Budget): Value => {
  const func = knownFunctions(name)
  checkCount(name, func, args.length)
  const converted = args.map((arg, i) => convert(name, func, arg, i))
  budget.spend(converted.reduce<number>((sum, arg) => sum + costOf(arg), 0))
  return func.call(converted, budget)
}

const checkCount = (name: string, { takes, rest }: Func, count: number): void => {
  if (rest === undefined ? count === takes.length : count >= takes.length) return
  const wanted = rest === undefined ? takes.length : `${takes.length} or more`
  throw new Failure('invalid', `${name} takes ${wanted} arguments, and has ${count}`)
}

const convert = (name: string, { takes, rest }: Func, value: Value, at: number): Value => {
  const kind = takes[at] ?? rest ?? 'any'
  if (fits(kind, value)) return value
  const wanted = {
    any: 'a value',
    string: 'a string',
    int: 'an integer',
    strings: 'a list of strings',
    labels: 'a map of strings',
  }[kind]
  throw new Failure('invalid', `${name}: argument ${at + 1} is of type ${typeOf(value)}, expected ${wanted}`)
}

const fits = (kind: Kind, value: Value): boolean => {
  switch (kind) {
    case 'any':
      return true
    case 'string':
      return typeof value === 'string'
    case 'int':
      return typeof value === 'bigint'
    case 'strings':
      return isList(value) && value.every((one) => typeof one === 'string')
    case 'labels':
      return (
        value instanceof Dictionary && [...value.entries.values()].every((one) => typeof one === 'string')
      )
  }
}

/** Steps for reading a value once. */
const costOf = (value: Value): number => {
  if (typeof value === 'string') return Math.ceil(value.length / 32)
  if (isList(value)) return value.reduce<number>((sum, one) => sum + 1 + costOf(one), 0)
  return value instanceof Dictionary ? value.entries.size : 1
}
