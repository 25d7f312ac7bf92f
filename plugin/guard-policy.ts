import { open, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { backoff } from '../process/backoff.ts'
import { explain, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { Wake } from '../process/wake.ts'
import { follow } from '../registry/follow.ts'
import { keys } from '../registry/keys.ts'
import { type EffectivePolicy, effective, type Policy, parsePolicy } from '../registry/policy.ts'
import type { GuardState } from '../registry/records.ts'
import type { Revision, Store } from '../registry/store.ts'
import { readPolicy } from '../registry/stored-policy.ts'

/** ms between two looks at the policy where no watch tells of a change. */
const lookEvery = 60_000

export interface GuardPolicyParts {
  /** Where the last good policy is kept. */
  readonly file: string
  readonly settings: EffectivePolicy
  readonly log: Pick<Log, 'debug' | 'info' | 'warn' | 'error'>
}

/**
 * What the guard goes by: the plugin's settings, and over them the registry's policy as it stands there now. Decisions read
 * it from memory. A policy that is refused changes nothing, nor does a store that is away, or that is not this host's
 * registry: the last good one stays, and is kept on the disk for the next start.
 */
export class GuardPolicy {
  readonly #parts: GuardPolicyParts
  readonly #wake = new Wake()
  readonly #listeners = new Set<() => void>()
  #effective: EffectivePolicy
  #status: Pick<GuardState, 'policy' | 'reason'> = { policy: 'none' }
  /** Text of the policy in force, and what of it is on the disk. */
  #good: string | undefined
  #kept: string | undefined
  /** What was found at the last look. */
  #seen: { readonly text: string | undefined } | undefined
  #revision: Revision | undefined
  #complaint: string | undefined

  constructor(parts: GuardPolicyParts) {
    this.#parts = parts
    this.#effective = parts.settings
  }

  /** What decisions are made by. */
  current = (): EffectivePolicy => this.#effective

  state(): GuardState {
    const { mode, reach } = this.#effective
    return { mode, reach, ...this.#status }
  }

  /** Calls `listener` whenever `state()` may have changed. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener)
  }

  /** Takes the last good one from the disk. Never rejects: a file that cannot be read is none. */
  async load(): Promise<void> {
    const { file, log } = this.#parts
    try {
      const text = await readFile(file, 'utf8')
      this.#kept = text
      this.#take(text, parsePolicy(text))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      log.error({ file, reason: explain(error) }, 'the kept policy cannot be read: the settings count')
    }
  }

  /**
   * Follows the policy until the signal fires. `isKnown`: whether the store is the registry of this host; a wiped one has no
   * policy, which must not be taken for its removal.
   */
  async run(store: Store, isKnown: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
    const following = follow(store, keys.policy(), {
      from: () => this.#revision,
      heard: () => this.#wake.wake(),
      lost: () => {
        this.#revision = undefined
        this.#wake.wake()
      },
      signal,
    })
    const looking = async () => {
      for (let failures = 0; !signal.aborted; ) {
        failures = (await this.#look(store, isKnown)) ? 0 : failures + 1
        await this.#wake.next(failures > 0 ? backoff(failures) : lookEvery, signal)
      }
    }
    await Promise.all([following, looking()])
  }

  /** Returns whether the store could be asked. */
  async #look(store: Store, isKnown: () => Promise<boolean>): Promise<boolean> {
    try {
      const { text, revision } = await readPolicy(store)
      // asked after it: a store that is replaced in between then counts as another one
      if (await isKnown()) {
        if (!this.#seen || this.#seen.text !== text) this.#judge(text)
        this.#seen = { text }
        await this.#keep()
      }
      this.#revision = revision
      this.#complaint = undefined
      return true
    } catch (error) {
      const reason = explain(error)
      if (reason !== this.#complaint)
        this.#parts.log.debug({ reason }, 'the policy cannot be looked at: the last one stays')
      this.#complaint = reason
      return false
    }
  }

  #judge(text: string | undefined): void {
    const { log } = this.#parts
    try {
      const isNew = text !== this.#good
      this.#take(text, text === undefined ? undefined : parsePolicy(text))
      const { mode, reach, operators, exceptions } = this.#effective
      if (isNew)
        log.info(
          { mode, reach, operators, exceptions: exceptions.map(({ path }) => path) },
          text === undefined ? 'there is no policy now: the settings count' : 'the policy is in force',
        )
    } catch (error) {
      if (!isFailure(error, 'invalid')) throw error
      const reason = error.message.replaceAll(/\s+/g, ' ').slice(0, 500)
      this.#status = { policy: 'refused', reason }
      log.error(
        { reason },
        this.#good === undefined
          ? 'the policy in the registry is refused: the settings count'
          : 'the policy in the registry is refused: the last good one stays',
      )
    }
    for (const listener of this.#listeners) listener()
  }

  #take(text: string | undefined, policy: Policy | undefined): void {
    this.#good = text
    this.#effective = effective(this.#parts.settings, policy)
    this.#status = { policy: policy ? 'in force' : 'none' }
  }

  /** It is in force all the same where this fails, as on a full disk, and is tried again at the next look. */
  async #keep(): Promise<void> {
    const { file, log } = this.#parts
    if (this.#kept === this.#good) return
    try {
      if (this.#good === undefined) await rm(file, { force: true })
      else await writeFileAtomic(file, this.#good)
      await using folder = await open(dirname(file), 'r')
      await folder.sync()
      this.#kept = this.#good
    } catch (error) {
      log.warn(
        { file, reason: explain(error) },
        'the policy could not be kept: a start without a store would not know it',
      )
    }
  }
}
