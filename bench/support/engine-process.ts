import { type ChildProcess, fork } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Teardown } from '../../test/support/etcd.ts'
import type { Answer, Command, Request } from './engine-main.ts'
import type { Counts, Happened, Published } from './synthetic-engine.ts'

/** Synthetic engines in a process of their own, so that their work is not counted as anybody else's. */
export class EngineProcess {
  #sockets: readonly string[]
  #child: ChildProcess
  #number = 0
  #waiting = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>()

  private constructor(child: ChildProcess, sockets: readonly string[]) {
    this.#child = child
    this.#sockets = sockets
    child.on('message', (answer: Answer) => {
      this.#waiting.get(answer.number)?.resolve(answer)
      this.#waiting.delete(answer.number)
    })
    child.on('exit', (code) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`the synthetic engine ended with status ${code}`))
    })
  }

  static async start(t: Teardown, engines = 1): Promise<EngineProcess> {
    const folder = await mkdtemp(join(tmpdir(), 'synth-'))
    t.teardown(() => rm(folder, { recursive: true, force: true }))
    const sockets = Array.from({ length: engines }, (_, index) => join(folder, `${index}.sock`))
    const child = fork(join(import.meta.dirname, 'engine-main.ts'), sockets)
    const process = new EngineProcess(child, sockets)
    t.teardown(() => child.disconnect())
    await process.#answer(-1)
    return process
  }

  endpoint(engine = 0): string {
    return `unix://${this.#sockets[engine]}`
  }

  async fill(count: number, engine = 0): Promise<void> {
    await this.#ask(engine, { do: 'fill', count })
  }
  run = (count: number, engine = 0) => this.#ask(engine, { do: 'run', count }) as Promise<Published>
  churn = (seconds: number, every: number, engine = 0) =>
    this.#ask(engine, { do: 'churn', seconds, every }) as Promise<readonly Happened[]>
  /** What was counted since the last time. */
  counts = (engine = 0) => this.#ask(engine, { do: 'counts' }) as Promise<Counts>

  async #ask(engine: number, command: Command): Promise<Answer['result']> {
    const number = this.#number++
    const answer = this.#answer(number)
    this.#child.send({ number, engine, command } satisfies Request)
    return (await answer).result
  }

  #answer(number: number): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    this.#waiting.set(number, { resolve, reject })
    return promise
  }
}
