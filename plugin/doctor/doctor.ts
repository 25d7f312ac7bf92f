import { pause } from '../../process/backoff.ts'
import { explain, isFailure } from '../../process/failure.ts'
import { KeyedLock } from '../../process/keyed-lock.ts'
import type { DoctorMode, HostFinding } from '../../registry/finding.ts'
import { examine, sparesYoung } from './examine.ts'
import type { Facts } from './facts.ts'
import type { Found, Remedy } from './found.ts'
import { type MendParts, mend } from './mend.ts'

/** ms between two looks: what is just changing does not stand the same in both. */
const settling = 2_000

export interface DoctorParts extends MendParts {
  gather: (what?: { folders: boolean }) => Promise<Facts>
  /** Of the volumes, shared with the Engine's calls and convergence. */
  lock: KeyedLock
}

/** Finds on this host what only its plugin can see, says what it would do, and does it where it is told to. */
export class Doctor {
  readonly #parts: DoctorParts
  readonly #one = new KeyedLock()

  constructor(parts: DoctorParts) {
    this.#parts = parts
  }

  /**
   * What is wrong, as two looks saw it the same. `look` changes nothing; `fix` and `adopt` mend what is theirs, one after the
   * other, and each finding tells the outcome. `grace`: ms that what was made must be old; `settle`: ms between the looks.
   * Rejects as the Engine does.
   */
  run(
    mode: DoctorMode,
    {
      grace,
      settle = settling,
      progress = () => {},
    }: { grace: number; settle?: number; progress?: (doing: string) => void },
  ): Promise<HostFinding[]> {
    return this.#one.hold('', async () => {
      progress('looking')
      const before = new Set((await this.#look(grace)).map(({ id }) => id))
      await pause(settle)
      const found = (await this.#look(grace)).filter(({ id }) => before.has(id))
      if (mode === 'look') return found.map(told)
      return (await this.#mendAll(mode, found, grace, progress)).map(told)
    })
  }

  async #look(grace: number, folders = true): Promise<Found[]> {
    const facts = await this.#parts.gather({ folders })
    return sparesYoung(examine(facts), facts.now, grace)
  }

  async #mendAll(
    mode: 'fix' | 'adopt',
    found: readonly Found[],
    grace: number,
    progress: (doing: string) => void,
  ): Promise<Found[]> {
    const results: Found[] = []
    // a registry is the known one when everything stands in it that can
    const last = ({ remedy }: Found) => (remedy?.kind === 'adopt-registry' ? 1 : 0)
    for (const one of found.toSorted((a, b) => last(a) - last(b))) {
      if (one.by !== mode || one.remedy === undefined) {
        results.push(one)
        continue
      }
      progress(`${one.check} ${one.subject}: ${one.action}`)
      results.push({ ...one, outcome: await this.#mendOne(one, one.remedy, grace) })
    }
    if (results.every(({ outcome }) => outcome === undefined)) return results
    const left = new Set((await this.#look(grace)).map(({ id }) => id))
    return results.map((one) =>
      one.outcome?.done && left.has(one.id)
        ? { ...one, outcome: { done: false, reason: 'it was done, and it stands as before' } }
        : one,
    )
  }

  async #mendOne(one: Found, remedy: Remedy, grace: number): Promise<{ done: boolean; reason?: string }> {
    const work = async () => {
      const now = await this.#look(grace, false)
      // somebody else was quicker
      if (!now.some(({ id }) => id === one.id)) return
      await mend(remedy, this.#parts)
    }
    try {
      await ('volume' in remedy ? this.#parts.lock.hold(remedy.volume, work) : work())
      this.#parts.parts.log.info({ finding: one.id, remedy: remedy.kind }, 'mended by order of the doctor')
      return { done: true }
    } catch (error) {
      if (!isFailure(error)) throw error
      return { done: false, reason: explain(error) }
    }
  }
}

/** Without what is only for us. */
const told = ({ remedy: _, since: __, ...finding }: Found): HostFinding => finding
