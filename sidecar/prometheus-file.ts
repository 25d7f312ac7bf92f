import { readFile } from 'node:fs/promises'
import writeFileAtomic from 'write-file-atomic'
import { pause } from '../process/backoff.ts'
import { explain, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import { shown } from '../registry/collections.ts'
import { observe, type Step } from '../registry/observe.ts'
import type { Service } from '../registry/records.ts'
import type { Entry, Store } from '../registry/store.ts'
import { targetGroups, targetsText } from '../registry/views/prometheus.ts'

const prefix = 'services/'

/** ms between two writes at least. */
const pace = 1000

/** ms after which the file is looked at, whatever happened: another hand may have changed or removed it. */
const lookEvery = 60_000

/** ms until what failed is tried again. */
const retryEvery = 5000

/**
 * A file for Prometheus' file SD, kept equal to the answer of /v1/prometheus/targets: replaced as a whole, when it would
 * change, once a second at most. While the store is away it stays as it is. What is wrong is a warning: the registry does
 * not depend on this file.
 */
export class PrometheusFile {
  readonly #path: string
  readonly #log: Pick<Log, 'info' | 'warn'>
  readonly #wake = new Wake()
  readonly #services = new Map<string, Service>()
  /** Whether the services are all that there are. */
  #whole = false
  readonly #wrong = new Map<'read' | 'write', string>()

  constructor(path: string, log: Pick<Log, 'info' | 'warn'>) {
    this.#path = path
    this.#log = log
  }

  /** What an operator is to know, a sentence each. */
  get warnings(): readonly string[] {
    return [...this.#wrong.values()]
  }

  /** Runs until the signal fires; `store` is undefined as long as there is none. */
  async run(store: () => Store | undefined, signal: AbortSignal): Promise<void> {
    await Promise.all([this.#follow(store, signal), this.#keep(signal)])
  }

  async #follow(store: () => Store | undefined, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const open = store()
      try {
        if (open) for await (const step of observe(open, prefix, undefined, signal)) this.#take(step)
      } catch (error) {
        if (!isFailure(error)) throw error
        this.#say('read', `the services for ${this.#path} cannot be read: ${explain(error)}`)
      }
      await pause(open ? retryEvery : 200, signal)
    }
  }

  #take(step: Step): void {
    switch (step.kind) {
      case 'snapshot':
        this.#services.clear()
        for (const entry of step.entries) this.#put(entry)
        this.#whole = true
        this.#say('read', undefined)
        break
      case 'changes':
        for (const event of step.events)
          if (event.kind === 'put') this.#put(event.entry)
          else this.#services.delete(event.key)
        break
      case 'reset':
        this.#whole = false
        return
      case 'waiting':
        return // readiness tells
    }
    this.#wake.wake()
  }

  #put(entry: Entry): void {
    const one = shown('services', entry)
    if ('record' in one) this.#services.set(entry.key, one.record)
    else this.#services.delete(entry.key)
  }

  async #keep(signal: AbortSignal): Promise<void> {
    for (let wait = lookEvery; !signal.aborted; ) {
      await this.#wake.next(wait, signal)
      if (signal.aborted) return
      wait = !this.#whole || (await this.#write()) ? lookEvery : retryEvery
      await pause(pace, signal)
    }
  }

  /** Returns whether the file is as it should be. */
  async #write(): Promise<boolean> {
    const text = targetsText(targetGroups([...this.#services.values()]))
    try {
      // readable for whatever user Prometheus runs as; a temporary file ends in digits, which no *.json finds
      if ((await present(this.#path)) !== text) await writeFileAtomic(this.#path, text, { mode: 0o644 })
      this.#say('write', undefined)
      return true
    } catch (error) {
      // of the file system: no folder, no right, no space
      this.#say('write', `${this.#path} cannot be written for Prometheus: ${explain(error)}`)
      return false
    }
  }

  #say(doing: 'read' | 'write', wrong: string | undefined): void {
    if (wrong === this.#wrong.get(doing)) return
    if (wrong === undefined) {
      this.#wrong.delete(doing)
      this.#log.info({ file: this.#path }, `what was wrong with the file for Prometheus is over (${doing})`)
    } else {
      this.#wrong.set(doing, wrong)
      this.#log.warn({ file: this.#path, reason: wrong }, 'the file for Prometheus is not kept')
    }
  }
}

/** Undefined where there is none, or none that can be read: it is then written. */
const present = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined)
