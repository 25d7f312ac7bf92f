import { parseArgs } from 'node:util'
import type { Teardown } from '../../test/support/etcd.ts'
import { type Row, showRows } from './rows.ts'

/** A number that a flag changes: its default, and what it is. */
export type Options = Record<string, readonly [standard: number, about: string]>
export type Values<O extends Options> = { readonly [name in keyof O]: number }

/**
 * The main program of a bench: parses flags, runs it, prints its rows, cleans up. Exit status: 0, 1 where a must is not
 * held, 2 for wrong flags, 3 where it could not measure.
 */
export const runBench = async <O extends Options>(
  about: string,
  options: O,
  measure: (t: Teardown, values: Values<O>) => Promise<readonly Row[]>,
): Promise<never> => {
  const { values, json } = readFlags(about, options)
  let status = 3
  try {
    const rows = await within((t) => measure(t, values))
    print(json ? JSON.stringify(rows) : showRows(rows))
    status = rows.every(({ holds }) => holds) ? 0 : 1
  } catch (error) {
    await ending // what fails then fails because of it
    say(error instanceof Error ? (error.stack ?? error.message) : String(error))
  }
  await ending // a bench that counts failures does not fail
  process.exit(status)
}

/** For people who wait; the rows alone go to the standard output. */
export const say = (text: string): void => void process.stderr.write(`  ${text}\n`)
const print = (text: string): void => void process.stdout.write(`${text}\n`)

const readFlags = <O extends Options>(about: string, options: O): { values: Values<O>; json: boolean } => {
  const numbers = Object.entries(options)
  const help = [
    about,
    '',
    ...numbers.map(([name, [standard, what]]) => `  --${name.padEnd(12)} ${what} (${standard})`),
    `  --${'json'.padEnd(12)} the rows as JSON`,
  ].join('\n')
  try {
    const flags: Record<string, { type: 'boolean' | 'string' }> = {
      help: { type: 'boolean' },
      json: { type: 'boolean' },
    }
    for (const [name] of numbers) flags[name] = { type: 'string' }
    const { values } = parseArgs({ options: flags })
    if (values.help) {
      print(help)
      process.exit(0)
    }
    const read = numbers.map(([name, [standard]]) => [name, numberOf(name, values[name], standard)])
    return { values: Object.fromEntries(read) as Values<O>, json: values.json === true }
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n\n${help}\n`)
    process.exit(2)
  }
}

const numberOf = (name: string, text: unknown, standard: number): number => {
  if (text === undefined) return standard
  const value = Number(text)
  if (Number.isInteger(value) && value >= 0) return value
  throw new Error(`--${name} is ${text}: expected a whole number`)
}

/** What is open: a program that is told to end closes it first, the newest first. */
const open: AsyncDisposableStack[] = []
const endEarly = async (): Promise<void> => {
  try {
    for (const stack of open.toReversed()) await stack.disposeAsync()
  } finally {
    process.exit(130)
  }
}
let ending: Promise<void> | undefined
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    ending = endEarly()
  })

/** Work that cleans up after itself as soon as it is done, not only at the end of the program. */
export const within = async <T>(work: (t: Teardown) => Promise<T>): Promise<T> => {
  await using stack = new AsyncDisposableStack()
  open.push(stack)
  stack.defer(() => void open.splice(open.indexOf(stack), 1))
  return await work({ teardown: (end: () => unknown) => stack.defer(async () => void (await end())) })
}

/** One after another, so that none disturbs the other. */
export const inTurn = async <A, B>(all: readonly A[], work: (one: A) => Promise<B>): Promise<B[]> => {
  const done: B[] = []
  for (const one of all) done.push(await work(one))
  return done
}
