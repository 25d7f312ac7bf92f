import { z } from 'zod'
import { pause } from '../process/backoff.ts'
import { parseJson } from '../process/json.ts'
import type { EffectivePolicy } from '../registry/policy.ts'
import { labels } from '../vsm/labels.ts'
import type { AuditEntry } from './audit/entry.ts'
import { objectOf } from './audit/object.ts'
import { peerName } from './audit/peer.ts'
import { auditUri } from './audit/uri.ts'
import type { ApiCall } from './guard/api-call.ts'
import type { Guard } from './guard/guard.ts'
import { outcome, type Verdict } from './guard/verdict.ts'
import type { Guarded } from './guard/world.ts'
import type { AuthzAnswer, AuthzRequest } from './protocol.ts'

/** Kinds of calls between the Engine's two questions; of more the oldest are taken for ended. */
const mostOpen = 1000
/** Calls that are alike, of which the same holds. */
const mostAlike = 100
const mostMade = 100
/** ms that the second question is waited for, longer than any of our containers takes to stop, and those between two looks. */
const patience = 200_000
const sweepEvery = 10_000

const Created = z.object({ Id: z.string() })
const Named = z.object({ Name: z.string().min(1) })

/** A call that was asked about, until it is done. */
interface Open {
  readonly asked: AuthzRequest
  readonly at: number
  readonly call: ApiCall | undefined
  readonly verdict: Verdict
  readonly outcome: ReturnType<typeof outcome>
  readonly container: Guarded | undefined
}

export interface AuthzParts {
  readonly guard: Guard
  /** As of now; by its mode what is denied is refused, or only recorded. */
  readonly policy: () => Pick<EffectivePolicy, 'mode'>
  readonly guarded: () => readonly Guarded[]
  readonly record: (entry: AuditEntry) => void
  readonly clock?: () => number
}

/** The authorization half: asks the guard before a call, and has the audit trail know of it after. */
export class Authz {
  readonly #parts: AuthzParts
  readonly #clock: () => number
  readonly #open = new Map<string, Open[]>()
  /** Containers whose creation as a target or initiator passed here, by ID: before a record names them. */
  readonly #made = new Map<string, Guarded>()
  #asked = 0

  constructor(parts: AuthzParts) {
    this.#parts = parts
    this.#clock = parts.clock ?? (() => Date.now())
  }

  /** How often the Engine has asked: that it asks at all nothing else tells for sure. */
  get asked(): number {
    return this.#asked
  }

  async request(asked: AuthzRequest): Promise<AuthzAnswer> {
    this.#asked++
    const at = this.#clock()
    const { call, verdict } = await this.#parts.guard.decide({
      method: asked.RequestMethod,
      uri: asked.RequestUri,
      user: asked.User,
      auth: asked.UserAuthNMethod,
      headers: asked.RequestHeaders ?? {},
      body: asked.RequestBody ?? '',
    })
    const open: Open = {
      // not its body, which can have megabytes and secrets: thousands of calls may wait
      asked: { ...asked, RequestBody: null },
      at,
      call,
      verdict,
      outcome: outcome(verdict, this.#parts.policy().mode),
      container: this.#container(call),
    }
    if (!verdict.allow && open.outcome === 'deny') {
      this.#record(asked, open, 0)
      return { Allow: false, Msg: `openebs: ${verdict.reason}` }
    }
    if (!verdict.allow || (call && isRecorded(call))) this.#remember(open)
    return { Allow: true, Msg: '' }
  }

  /** The Engine has done it: it can only be told of. */
  response(asked: AuthzRequest): AuthzAnswer {
    const open = this.#take(asked)
    if (open) this.#record(asked, open, asked.ResponseStatusCode)
    return { Allow: true, Msg: '' }
  }

  #container(call: ApiCall | undefined): Guarded | undefined {
    const reference = call?.segments[0] === 'containers' ? call.parameters.id : undefined
    if (reference === undefined) return undefined
    const name = reference.replace(/^\//, '')
    return [...this.#parts.guarded(), ...this.#made.values()].find(
      (one) => one.name === name || (reference.length >= 12 && one.id.startsWith(reference)),
    )
  }

  /** Records what has had no answer for minutes: it goes on, or has failed, which the Engine does not tell of. */
  sweep(): void {
    const before = this.#clock() - patience
    for (const [key, calls] of this.#open) {
      const late = calls.filter(({ at }) => at <= before)
      for (const one of late) this.#record(one.asked, one, 0)
      const left = calls.filter(({ at }) => at > before)
      if (left.length > 0) this.#open.set(key, left)
      else this.#open.delete(key)
    }
  }

  /** Sweeps until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(sweepEvery, signal)
      this.sweep()
    }
  }

  #remember(open: Open): void {
    const key = keyOf(open.asked)
    const alike = [...(this.#open.get(key) ?? []), open]
    for (const one of alike.splice(0, Math.max(0, alike.length - mostAlike))) this.#record(one.asked, one, 0)
    this.#open.set(key, alike)
    if (this.#open.size <= mostOpen) return
    for (const [oldest, calls] of this.#open) {
      for (const one of calls) this.#record(one.asked, one, 0)
      this.#open.delete(oldest)
      return
    }
  }

  /** Of calls that are alike the newest: the others may have failed. */
  #take(asked: AuthzRequest): Open | undefined {
    const key = keyOf(asked)
    const calls = [...(this.#open.get(key) ?? [])]
    const newest = calls.pop()
    if (calls.length > 0) this.#open.set(key, calls)
    else this.#open.delete(key)
    return newest
  }

  #record(asked: AuthzRequest, open: Open, status: number): void {
    const { at, call, verdict, container } = open
    const created = call?.endpoint?.action === 'create' ? createdBy(call, asked) : nothing
    if (created.id && created.container) this.#made.set(created.id, created.container)
    for (const oldest of this.#made.keys()) if (this.#made.size > mostMade) this.#made.delete(oldest)
    const subject = container ?? created.container
    const peer = peerName(asked.RequestPeerCertificates)
    const object = {
      ...objectOf(call),
      ...(created.id !== undefined && { id: created.id }),
      ...(created.name !== undefined && { name: created.name }),
    }
    const named = object.kind === 'volume' ? object.name : undefined
    const volume = (verdict.allow ? undefined : verdict.volume) ?? subject?.volume ?? named
    this.#parts.record({
      time: new Date(at).toISOString(),
      user: asked.User,
      ...(asked.UserAuthNMethod !== '' && { auth: asked.UserAuthNMethod }),
      ...(peer !== undefined && { peer }),
      method: asked.RequestMethod,
      uri: auditUri(asked.RequestUri),
      action: call?.endpoint?.action ?? asked.RequestMethod.toLowerCase(),
      object,
      ...(subject && {
        subject: {
          container: subject.name,
          containerId: subject.id,
          role: subject.role,
          ...(subject.volume !== undefined && { volume: subject.volume }),
        },
      }),
      ...(volume !== undefined && { volume }),
      verdict: open.outcome,
      ...(verdict.rule !== undefined && { rule: verdict.rule }),
      ...(verdict.reason !== undefined && { reason: verdict.reason }),
      status,
      ...(status > 0 && { ms: this.#clock() - at }),
    })
  }
}

/** Change nothing, though they are no GET. */
const harmless = ['wait', 'resize']

/** Every call that changes something, and every one that is guarded. */
const isRecorded = ({ method, endpoint }: ApiCall): boolean =>
  endpoint?.guard !== undefined ||
  !(['GET', 'HEAD', 'OPTIONS'].includes(method) || harmless.includes(endpoint?.action ?? ''))

/** The Engine's second question has nothing more than this of the first. */
const keyOf = ({ User, RequestMethod, RequestUri }: AuthzRequest): string =>
  JSON.stringify([User, RequestMethod, RequestUri])

const nothing: ReturnType<typeof createdBy> = {}

/**
 * What a create made, or was to make: its ID, its name where the path has none, and the container of ours that it is by its
 * labels.
 */
const createdBy = (
  { segments }: ApiCall,
  { RequestBody, ResponseBody, RequestUri }: AuthzRequest,
): { id?: string | undefined; name?: string | undefined; container?: Guarded } => {
  if (segments[0] === 'volumes' || segments[0] === 'networks' || segments[0] === 'services')
    return {
      id: Created.safeParse(json(ResponseBody)).data?.Id,
      // the Engine makes up a name of a volume that is given none
      name: Named.safeParse(json(ResponseBody)).data?.Name ?? Named.safeParse(json(RequestBody)).data?.Name,
    }
  const id = Created.safeParse(json(ResponseBody)).data?.Id
  const asked = Creation.safeParse(json(RequestBody)).data?.Labels
  const role = asked?.[labels.role]
  if (role !== 'target' && role !== 'initiator') return { id }
  const name = URL.parse(RequestUri, 'http://engine')?.searchParams.get('name') ?? ''
  const container: Guarded = { id: id ?? '', name, role, volume: asked?.[labels.volume] ?? '' }
  return { id, container }
}

const Creation = z.object({ Labels: z.record(z.string(), z.string()).nullish() })

/** Of base64; undefined where it is no JSON. */
const json = (base64: string | null | undefined): unknown =>
  parseJson(Buffer.from(base64 ?? '', 'base64').toString('utf8'))
