import type { Log } from '../process/log.ts'

/** So many repairs are done at once, and from then on one in so many ms. */
const allowance = { burst: 10, every: 2000 }
/** ms without a repair after which the next one is told again. */
const quiet = 60_000
/** From so many suspects on, reading the whole range is cheaper: a lease has ended, most likely. */
const many = 1000

interface RepairsOptions {
  readonly hooks?: { conflicted?(keys: readonly string[]): void }
  readonly log?: Pick<Log, 'warn'>
}

/**
 * What another hand did to records of ours, and how soon it is put right: at once, unless it goes on and on. Two writers
 * who fight over a key would else write as fast as the store can. Calls `look` when it is time to read what `take` then
 * returns.
 */
export class Repairs {
  readonly #look: (depth: 'suspects' | 'resync') => void
  readonly #options: RepairsOptions
  readonly #suspects = new Set<string>()
  /** Found changed, not yet put right. */
  readonly #found = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  /** Repairs that count against the allowance at the time of the last one. */
  #spent = 0
  #last = Number.NEGATIVE_INFINITY

  constructor(look: (depth: 'suspects' | 'resync') => void, options: RepairsOptions) {
    this.#look = look
    this.#options = options
  }

  /** A write found that these keys stand otherwise: they are looked at before anything else is written. */
  doubt(keys: readonly string[]): void {
    for (const key of keys) this.#suspects.add(key)
  }

  /** A watch says so: they are looked at as soon as it is time. */
  suspect(keys: readonly string[]): void {
    this.doubt(keys)
    if (this.#timer !== undefined) return
    const wait = (this.#charged() + 1 - allowance.burst) * allowance.every
    const due = () => {
      this.#timer = undefined
      if (this.#suspects.size > 0) this.#look(this.#suspects.size > many ? 'resync' : 'suspects')
    }
    if (wait <= 0) due()
    else this.#timer = setTimeout(due, wait)
  }

  /** What is to be looked at, from now on no longer suspect. */
  take(): string[] {
    const keys = [...this.#suspects]
    this.#suspects.clear()
    return keys
  }

  /** These were changed by another hand, and are going to be put right. */
  found(keys: readonly string[]): void {
    for (const key of keys) this.#found.add(key)
  }

  /** All is as it should be. */
  done(): void {
    const keys = [...this.#found]
    this.#found.clear()
    if (keys.length === 0) return
    this.#options.hooks?.conflicted?.(keys)
    const now = performance.now()
    const told = now - this.#last < quiet
    this.#spent = this.#charged() + 1
    this.#last = now
    if (told) return
    const shown = keys.slice(0, 3)
    this.#options.log?.warn({ keys: shown, count: keys.length }, 'put right what another hand had changed')
  }

  /** With the lease all its keys go: that was no other hand. */
  forget(): void {
    this.#found.clear()
    this.#suspects.clear()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #charged(): number {
    return Math.max(0, this.#spent - (performance.now() - this.#last) / allowance.every)
  }
}
