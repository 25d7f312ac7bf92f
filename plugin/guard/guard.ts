import { pause } from '../../process/backoff.ts'
import { explain } from '../../process/failure.ts'
import type { EffectivePolicy } from '../../registry/policy.ts'
import { type ApiCall, readCall } from './api-call.ts'
import { header } from './headers.ts'
import { rules } from './rules.ts'
import { denied, type Verdict } from './verdict.ts'
import type { World } from './world.ts'

/** A call as the Engine tells of it before it does it. */
export interface Asked {
  readonly method: string
  readonly uri: string
  readonly user: string
  /** How the Engine knows the user: "TLS", or empty on a unix socket. */
  readonly auth: string
  readonly headers: Readonly<Record<string, string>>
  /** base64 */
  readonly body: string
}

export interface GuardSettings {
  /** Whether a call is the plugin's own. */
  readonly isOwn: (headers: Asked['headers']) => boolean
  /** As of now; its operators may do anything. */
  readonly policy: () => Pick<EffectivePolicy, 'operators'>
  /** ms within which a guarded call is decided. */
  readonly within: number
}

/** Header by which anybody who may call the Engine goes past the guard, with the reason why; see docs/security.md. */
export const pastHeader = 'x-openebs-break-glass'

/**
 * Decides about calls of the Docker API. `world` is undefined until what is protected is known. Never throws, and answers in
 * time: what cannot be decided is denied where it is guarded.
 */
export class Guard {
  readonly #settings: GuardSettings
  readonly #world: () => World | undefined

  constructor(settings: GuardSettings, world: () => World | undefined) {
    this.#settings = settings
    this.#world = world
  }

  async decide(asked: Asked): Promise<{ call?: ApiCall; verdict: Verdict }> {
    // The Engine repeats a call with an empty request when the plugin dies in it: else a crash would be a way past the guard.
    if (asked.method === '' || asked.uri === '')
      return { verdict: denied('empty', 'the request came without its method or path: repeat it') }
    const read = readCall(asked)
    if (read.kind === 'refused') return { verdict: denied('odd-path', read.reason) }
    const { endpoint } = read
    if (!endpoint?.guard) return { call: read, verdict: { allow: true } }
    const past = this.#past(asked)
    if (past) return { call: read, verdict: past }
    const world = this.#world()
    if (!world)
      return { call: read, verdict: denied('starting', 'the plugin is starting: repeat it in a moment') }
    return {
      call: read,
      verdict: await this.#inTime(
        endpoint.guard,
        { call: read, headers: asked.headers, body: asked.body },
        world,
      ),
    }
  }

  #past({ headers, user, auth }: Asked): Verdict | undefined {
    if (this.#settings.isOwn(headers)) return { allow: true, rule: 'own' }
    if (auth === 'TLS' && this.#settings.policy().operators.includes(user))
      return { allow: true, rule: 'operator' }
    const reason = header(headers, pastHeader)?.trim()
    return reason ? { allow: true, rule: 'break-glass', reason } : undefined
  }

  async #inTime(
    guard: keyof typeof rules,
    guarded: Parameters<(typeof rules)['container']>[0],
    world: World,
  ) {
    const done = new AbortController()
    const late = pause(this.#settings.within, done.signal).then(() =>
      denied('late', `it could not be decided within ${this.#settings.within / 1000} s: repeat it`),
    )
    try {
      return await Promise.race([rules[guard](guarded, world), late])
    } catch (error) {
      return denied('undecided', `it could not be decided: ${explain(error)}`)
    } finally {
      done.abort()
    }
  }
}
