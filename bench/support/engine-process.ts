import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, get, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
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
  /**
   * Has it answered what a sidecar asks at its start, until its code is compiled: a real Engine's is so from the start, and
   * what compiling takes of the two cores is not the sidecar's time.
   */
  async warm(requests = 3000, engine = 0): Promise<void> {
    const list = (await ask(this.#sockets[engine], '/containers/json?all=1')) as { Id: string }[]
    const ids = list.slice(0, 100).map(({ Id }) => Id)
    for (let n = 0; n < requests; n += ids.length)
      for (const id of ids) await ask(this.#sockets[engine], `/containers/${id}/json`)
    await this.counts(engine)
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

const ask = async (socketPath: string | undefined, path: string): Promise<unknown> => {
  const request = get({ socketPath, path, agent })
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return json(response)
}
const agent = new Agent({ keepAlive: true })
