import { type Counts, type Happened, type Published, SyntheticEngine } from './synthetic-engine.ts'

/** A process with synthetic engines, one for each socket that it is started with; its parent commands them. */
export type Command =
  | { readonly do: 'fill' | 'run'; readonly count: number }
  | { readonly do: 'churn'; readonly seconds: number; readonly every: number }
  | { readonly do: 'counts' }
export interface Request {
  readonly number: number
  readonly engine: number
  readonly command: Command
}
export interface Answer {
  readonly number: number
  readonly result: Published | Counts | readonly Happened[] | null
}

const engines = process.argv.slice(2).map((socket) => ({ socket, engine: new SyntheticEngine() }))
await Promise.all(engines.map(({ socket, engine }) => engine.listen(socket)))

const obey = async (engine: SyntheticEngine, command: Command): Promise<Answer['result']> => {
  switch (command.do) {
    case 'fill':
      engine.fill(command.count)
      return null
    case 'run':
      return engine.run(command.count)
    case 'churn':
      return engine.churn(command.seconds, command.every)
    case 'counts':
      return engine.counts()
  }
}

process.on('message', async ({ number, engine: index, command }: Request) => {
  const one = engines[index]
  if (!one) throw new Error(`there is no engine ${index}`)
  process.send?.({ number, result: await obey(one.engine, command) } satisfies Answer)
})
process.on('disconnect', () => process.exit())
process.send?.({ number: -1, result: null } satisfies Answer)
