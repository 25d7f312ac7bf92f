import { z } from 'zod'
import { labels } from '../vsm/labels.ts'
import type { AuditEntry } from './audit/entry.ts'
import { peerName } from './audit/peer.ts'
import { auditUri } from './audit/uri.ts'
import type { AuthzAnswer, AuthzRequest } from './protocol.ts'

/** A container of ours: what serves or attaches a volume. */
export interface StorageContainer {
  id: string
  name: string
  role: 'target' | 'initiator'
  volume: string
}

/** The container that a name, an id or a prefix of an id means; undefined for one that is not ours. */
export type FindContainer = (reference: string) => StorageContainer | undefined

/** A container's call by method and path; `reference` is absent at create. */
interface ContainerCall {
  action: string
  reference?: string
  name?: string
}

const shortestId = 12
const mostCreated = 1000

/** Reads "/v1.41/containers/<reference>/<action>?name=…"; undefined where the call is none on a container or only reads. */
export const containerCall = (method: string, uri: string): ContainerCall | undefined => {
  if (method === 'GET' || method === 'HEAD') return undefined
  const url = URL.parse(uri, 'http://engine')
  const match = /^(?:\/v\d+(?:\.\d+)?)?\/containers\/(?<reference>[^/]+)(?:\/(?<action>[^/]+))?\/?$/.exec(
    url?.pathname ?? '',
  )
  if (!match?.groups || !url) return undefined
  const { reference = '', action } = match.groups
  const name = url.searchParams.get('name') ?? undefined
  if (method === 'POST' && reference === 'create' && !action)
    return { action: 'create', ...(name ? { name } : {}) }
  return {
    action: action ?? (method === 'DELETE' ? 'remove' : method.toLowerCase()),
    reference: decoded(reference),
  }
}

const Created = z.object({ Id: z.string() })
const Creation = z.object({ Labels: z.record(z.string(), z.string()).nullish() })

/**
 * The authorization half. It allows everything for now, but for requests without a method or path: the Engine repeats
 * a call with an empty body when the plugin dies in it, and allowing that would make a crash a way past the guard.
 * Answers come from memory, at once.
 */
export class Authz {
  readonly #find: FindContainer
  readonly #journal: (entry: AuditEntry) => void
  /** Containers whose creation passed here: id -> what it was created as. */
  readonly #created = new Map<string, StorageContainer>()
  #asked = 0

  constructor(find: FindContainer, journal: (entry: AuditEntry) => void) {
    this.#find = find
    this.#journal = journal
  }

  /** How often the Engine has asked: that it asks at all nothing else tells for sure. */
  get asked(): number {
    return this.#asked
  }

  request(call: AuthzRequest): AuthzAnswer {
    this.#asked++
    if (call.RequestMethod && call.RequestUri) return { Allow: true, Msg: '' }
    return { Allow: false, Msg: 'openebs: denied, as the request came without its method or path: repeat it' }
  }

  /** Journals calls on containers of volumes, once the Engine has done them. It can undo nothing. */
  response(call: AuthzRequest, now: Date): AuthzAnswer {
    const parsed = containerCall(call.RequestMethod, call.RequestUri)
    const subject = parsed && this.#subject(parsed, call)
    const peer = subject && peerName(call.RequestPeerCertificates)
    if (subject)
      this.#journal({
        time: now.toISOString(),
        user: call.User,
        ...(call.UserAuthNMethod && { auth: call.UserAuthNMethod }),
        ...(peer && { peer }),
        method: call.RequestMethod,
        uri: auditUri(call.RequestUri),
        status: call.ResponseStatusCode,
        verdict: 'allow',
        action: parsed.action,
        object: { kind: 'container', name: subject.name, id: subject.id },
        subject: {
          container: subject.name,
          containerId: subject.id,
          role: subject.role,
          volume: subject.volume,
        },
        volume: subject.volume,
      })
    return { Allow: true, Msg: '' }
  }

  #subject({ action, reference, name }: ContainerCall, call: AuthzRequest): StorageContainer | undefined {
    if (action === 'create') return this.#creation(name ?? '', call)
    if (reference === undefined) return undefined
    const found = this.#find(reference) ?? [...this.#created.values()].find((made) => means(reference, made))
    if (found && action === 'remove' && call.ResponseStatusCode < 300) this.#created.delete(found.id)
    return found
  }

  #creation(name: string, call: AuthzRequest): StorageContainer | undefined {
    const asked = Creation.safeParse(json(call.RequestBody)).data?.Labels
    const role = asked?.[labels.role]
    if (role !== 'target' && role !== 'initiator') return undefined
    const id = Created.safeParse(json(call.ResponseBody)).data?.Id ?? ''
    const made: StorageContainer = { id, name, role, volume: asked?.[labels.volume] ?? '' }
    if (id) this.#created.set(id, made)
    // what goes by --rm or a prune passes no DELETE here
    for (const oldest of this.#created.keys())
      if (this.#created.size > mostCreated) this.#created.delete(oldest)
    return made
  }
}

/** The Engine itself refuses an escape that is none. */
const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch (error) {
    if (error instanceof URIError) return text
    throw error
  }
}

/** As the Engine understands a reference: whole name, whole id, or the beginning of an id. */
export const means = (reference: string, { id, name }: Pick<StorageContainer, 'id' | 'name'>): boolean =>
  reference === name ||
  reference === `/${name}` ||
  (reference.length >= shortestId && id.startsWith(reference))

const json = (base64: string | null | undefined): unknown => {
  if (!base64) return undefined
  try {
    return JSON.parse(Buffer.from(base64, 'base64').toString('utf8'))
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
