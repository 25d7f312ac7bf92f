import { isFailure } from '../../../process/failure.ts'
import { inParallel } from '../../../process/in-parallel.ts'
import { Wake } from '../../../process/wake.ts'
import { type Beat, checkId } from '../../views/consul-registration.ts'
import { read, type StoodCheck, StoodChecks } from './answers.ts'
import { type ConsulClient, pathPart } from './client.ts'

interface Kept {
  readonly beat: Beat
  /** performance.now of the next one. */
  due: number
  /** We have said something since it was registered. */
  spoken: boolean
  /** Somebody else speaks for it. */
  foreign: boolean
}

/** What our beats say, by which they are told from others'. */
const mark = 'by registrator'
const notes = {
  passing: `kept ${mark}: the container runs`,
  critical: `failed ${mark}: Docker says that the container is unhealthy, or paused`,
}
/** ms until what could not be said is tried again. */
const retry = 1000

/**
 * Says of checks with a TTL what is to be said, every third of it. registrator leaves that to the service itself, and some do it:
 * whoever passes or fails such a check is left to it, until it is registered anew or the container is no good.
 */
export class Beats {
  readonly #client: ConsulClient
  readonly #signal: AbortSignal
  readonly #vanished: () => void
  readonly #kept = new Map<string, Kept>()
  readonly #wake = new Wake()

  /** `vanished` is told when a check that is kept is not there. */
  constructor(client: ConsulClient, signal: AbortSignal, vanished: () => void) {
    this.#client = client
    this.#signal = signal
    this.#vanished = vanished
  }

  /** From now on, and at once, by the service's ID; undefined ends it. */
  set(id: string, beat: Beat | undefined): void {
    if (!beat) this.#kept.delete(id)
    else {
      this.#kept.set(id, { beat, due: performance.now(), spoken: false, foreign: false })
      this.#wake.wake()
    }
  }

  /** What is said of a service; undefined where we know nothing of it. */
  statusOf(id: string): Beat['Status'] | undefined {
    return this.#kept.get(id)?.beat.Status
  }

  /** Until the signal fires. */
  async run(): Promise<void> {
    while (!this.#signal.aborted) {
      const first = Math.min(...[...this.#kept.values()].map(({ due }) => due))
      await this.#wake.next(Math.max(0, Math.min(first - performance.now(), 2 ** 31 - 1)), this.#signal)
      const now = performance.now()
      const due = [...this.#kept].filter(([, one]) => one.due <= now)
      if (due.length === 0 || this.#signal.aborted) continue
      try {
        await this.#say(due)
      } catch (error) {
        // denied and invalid: whoever registers it is told the same
        if (!isFailure(error)) throw error
        for (const [, one] of due) one.due = Math.max(one.due, now + retry)
      }
    }
  }

  async #say(due: readonly [string, Kept][]): Promise<void> {
    const signal = this.#signal
    const checks = read(StoodChecks, await this.#client.call('GET', '/v1/agent/checks', { signal }), 'checks')
    await inParallel(due, 8, async ([id, kept]) => {
      const check = checks[checkId(id)]
      // registered anew, or no more, while we asked
      if (this.#kept.get(id) !== kept) return
      if (!check) {
        this.#vanished()
        return
      }
      kept.foreign ||= isForeign(check, kept.spoken)
      const { Status, Every } = kept.beat
      if (!kept.foreign || Status === 'critical') {
        const how = Status === 'passing' ? 'pass' : 'fail'
        const path = `/v1/agent/check/${how}/${pathPart(checkId(id))}?note=${pathPart(notes[Status])}`
        await this.#client.call('PUT', path, { signal })
        kept.spoken = true
      }
      kept.due = performance.now() + Every
    })
  }
}

/** Whether what a check says is not ours, nor Consul's own words of one that nobody passed. */
const isForeign = ({ Status, Output }: StoodCheck, spoken: boolean): boolean => {
  if (Output.includes(mark) || Output === 'TTL expired') return false
  return Output !== '' || (spoken && Status !== 'critical')
}
