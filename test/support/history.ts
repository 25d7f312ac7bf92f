/** One change of a key, as a watch of etcd shows it. A key that was deleted has no value. */
export interface Seen {
  readonly key: string
  readonly value?: string
  readonly revision: number
}

interface Life {
  /** When the container was last started, in ms; undefined where it never was. */
  started: number | undefined
  state: string
  /** Deleted by itself, not along with the host's lease. */
  removed: boolean
}

const over = ['exited', 'dead', 'removing']

/**
 * Judges the history of one host's keys, and of the whole prefix: no value ever goes backward, nothing of another host is
 * touched. It knows nothing of the code under test. Keys come without the prefix.
 *
 * - A container's record never returns to an earlier start; of the same start, an ended container never runs again. One
 *   whose record was removed never comes back: Docker gives no ID twice. A lease that ends takes all records along, which
 *   is no removal.
 * - hosts/<host> never shows a run again that another one had followed.
 * - A journal's entry never changes.
 */
export class History {
  /** In the order in which they were found; empty when all is well. */
  readonly wrong: string[] = []
  /** How many changes of this host's keys were seen. */
  count = 0
  readonly #host: string
  readonly #mayChange: (key: string) => boolean
  readonly #lives = new Map<string, Life>()
  readonly #runs: string[] = []
  readonly #journal = new Map<string, string>()

  /** `mayChange` says of keys that are not of this host whether the test itself changes them. */
  constructor(host: string, mayChange: (key: string) => boolean = () => false) {
    this.#host = host
    this.#mayChange = mayChange
  }

  /** All changes of one revision. */
  take(changes: readonly Seen[]): void {
    const leaseEnded = changes.some(({ key, value }) => key === `hosts/${this.#host}` && value === undefined)
    for (const change of changes) {
      if (!this.#isOwn(change.key)) {
        if (!this.#mayChange(change.key)) this.#say(change, "is not this host's, and was changed")
        continue
      }
      this.count += 1
      const [kind, , type, id] = change.key.split('/')
      if (kind === 'hosts' && change.value !== undefined) this.#run(change, change.value)
      if (kind === 'events' && change.value !== undefined) this.#entry(change, change.value)
      if (kind === 'inventory' && type === 'container' && id) this.#container(change, id, leaseEnded)
    }
  }

  /** Everything in the store has been lost: what comes anew is no return of what was removed. */
  wiped(): void {
    for (const life of this.#lives.values()) life.removed = false
  }

  #isOwn(key: string): boolean {
    const host = this.#host
    const parts = key.split('/')
    return (
      key === `hosts/${host}` ||
      (['inventory', 'events'].includes(parts[0] ?? '') && parts[1] === host) ||
      (parts[0] === 'services' && parts[2]?.startsWith(`${host}:`) === true) ||
      (parts[0] === 'vsms' && parts[2] === host) ||
      // its own, and that of each of its views
      new RegExp(`^fences/sidecar(?:/|%2F)${host}(?:$|/|%2F)`).test(key)
    )
  }

  #run(change: Seen, value: string): void {
    const { instance } = JSON.parse(value) as { instance: string }
    if (this.#runs.at(-1) === instance) return
    if (this.#runs.includes(instance))
      this.#say(change, `shows run ${instance} again, after ${this.#runs.at(-1)}`)
    this.#runs.push(instance)
  }

  #entry(change: Seen, value: string): void {
    const before = this.#journal.get(change.key)
    if (before !== undefined && before !== value) this.#say(change, `was ${before}, and became ${value}`)
    this.#journal.set(change.key, value)
  }

  #container(change: Seen, id: string, leaseEnded: boolean): void {
    const before = this.#lives.get(id)
    if (change.value === undefined) {
      if (before && !leaseEnded) before.removed = true
      return
    }
    const record = JSON.parse(change.value) as { state: string; started?: string }
    const started = record.started === undefined ? undefined : Date.parse(record.started)
    if (before?.removed) this.#say(change, `came back ${record.state} after it had been removed`)
    if (before?.started !== undefined) {
      if (started === undefined || started < before.started)
        this.#say(change, `was started ${iso(before.started)}, and returned to ${iso(started)}`)
      else if (started === before.started && over.includes(before.state) && isLive(record.state))
        this.#say(change, `was ${before.state}, and became ${record.state} without a start`)
    }
    this.#lives.set(id, { started, state: record.state, removed: false })
  }

  #say({ key, revision }: Seen, what: string): void {
    this.wrong.push(`revision ${revision}: ${key} ${what}`)
  }
}

const isLive = (state: string): boolean => state === 'running' || state === 'paused'
const iso = (ms: number | undefined): string => (ms === undefined ? 'never' : new Date(ms).toISOString())
