import { backoff, pause } from '../process/backoff.ts'
import { explain } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import type { Convergence } from './convergence.ts'
import type { Engine } from './engine.ts'
import type { KnownRegistry } from './known-registry.ts'
import type { VolumeRecords } from './volume-records.ts'

const resyncEvery = 60_000

/**
 * Keeps volumes, store and Engine in line: a change here, a change in the store and a timer all just wake it. One
 * pass reads the intent, takes over what concerns other hosts, and has each volume of this host converge.
 */
export class Reconciler {
  readonly #convergence: Convergence
  readonly #records: VolumeRecords
  readonly #registry: KnownRegistry
  readonly #engine: Engine
  readonly #host: string
  readonly #log: Log
  readonly #wake = new Wake()
  readonly #first = Promise.withResolvers<void>()
  #complaint = ''
  #unread = ''
  #wasOther = false

  constructor(parts: {
    convergence: Convergence
    records: VolumeRecords
    registry: KnownRegistry
    engine: Engine
    host: string
    log: Log
  }) {
    this.#convergence = parts.convergence
    this.#records = parts.records
    this.#registry = parts.registry
    this.#engine = parts.engine
    this.#host = parts.host
    this.#log = parts.log
  }

  wake(): void {
    this.#wake.wake()
  }

  /** Resolves when the store's records were taken over for the first time. */
  get first(): Promise<void> {
    return this.#first.promise
  }

  /** Runs until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    this.wake()
    let failures = 0
    let watching = false
    while (!signal.aborted) {
      if (!(await this.#wake.next(resyncEvery, signal)) && signal.aborted) return
      const { revision, problems } = await this.#pass()
      this.#complain(problems)
      if (problems.length === 0) this.#first.resolve()
      if (revision !== undefined && !watching) {
        watching = true
        void this.#watch(revision, signal).then(() => {
          watching = false
          this.wake()
        })
      }
      failures = problems.length > 0 ? failures + 1 : 0
      if (failures === 0) continue
      await pause(backoff(failures), signal)
      this.wake()
    }
  }

  /** What is left to do again stands in `problems`; without a revision the store could not be read. */
  async #pass(): Promise<{ revision?: string; problems: string[] }> {
    try {
      await this.#lookAtRegistry()
      const { volumes, unreadable, revision } = await this.#records.readAll()
      await this.#convergence.follow(volumes, unreadable)
      // not while the Engine restores containers: a volume's Mount would wait for the lock that this holds
      if (!(await this.#engine.answers())) return { revision, problems: ['the Docker Engine serves no API'] }
      const ours = new Set(
        volumes.filter(({ placement }) => placement.host === this.#host).map(({ name }) => name),
      )
      for (const name of this.#convergence.here()) ours.add(name)
      const results = await Promise.all([...ours].map((name) => this.#converge(name)))
      const unread = unreadable.join(', ')
      if (unread && unread !== this.#unread)
        this.#log.warn({ keys: unreadable }, 'records that this version cannot read are left alone')
      this.#unread = unread
      return { revision, problems: results.filter((problem) => problem !== undefined) }
    } catch (error) {
      return { problems: [explain(error)] }
    }
  }

  async #lookAtRegistry(): Promise<void> {
    const isOther = !(await this.#registry.look())
    if (isOther && !this.#wasOther)
      this.#log.error(
        {},
        'the store is not the registry that this host knows: volumes are served on, none is made until registrator doctor --adopt',
      )
    this.#wasOther = isOther
  }

  async #converge(name: string): Promise<string | undefined> {
    try {
      await this.#convergence.converge(name)
      return undefined
    } catch (error) {
      return `volume ${name}: ${explain(error)}`
    }
  }

  async #watch(from: string, signal: AbortSignal): Promise<void> {
    try {
      for await (const _ of this.#records.watch(from, signal)) this.wake()
    } catch (error) {
      this.#log.debug({ reason: explain(error) }, 'the watch ended: reading anew')
    }
  }

  /** Says lasting problems once, not at every pass. */
  #complain(problems: readonly string[]): void {
    const complaint = problems.join('; ')
    if (complaint && complaint !== this.#complaint) this.#log.warn({ problems }, 'not in line yet')
    this.#complaint = complaint
  }
}
