import type { Container } from '../docker/inspect.ts'
import { Failure } from '../process/failure.ts'
import type { Host } from '../registry/records.ts'
import type { View, ViewEntry } from '../registry/views/view.ts'
import type { Probe } from '../vsm/probe.ts'
import { Ledger } from './ledger.ts'
import { type ServiceRules, servicesOf } from './services.ts'
import type { HostSnapshot } from './snapshot.ts'
import { compareClaims, isVsm, probeKey, vsmOf } from './vsms.ts'

/** What a view's layout is to hold of this host. */
export interface ViewEntries {
  readonly desired: ReadonlyMap<string, string>
  /** What the layout cannot carry: a sentence each, which names the container and says why. */
  readonly refused: ReadonlySet<string>
}

export interface ViewRules {
  readonly services: ServiceRules
  /**
   * Whether the services of a container that failed stay (-deregister on-success): it ended by itself, with another status than 0,
   * and is still there.
   */
  readonly keepFailed?: boolean
}

/** The most that one entry may be, in bytes: a store takes some 1.5 MiB at once, of up to a hundred of them. */
const most = 14_000

/**
 * Snapshot -> entries of a view. As createRegistrations: what has not changed is not made again, and the maps are the same each
 * time; apart from that a pure function of its arguments. Of containers that claim the same key the one made first has it.
 */
export const createViewEntries = (view: View, { services, keepFailed = false }: ViewRules) => {
  let ledger = new Ledger(firstMadeLast)
  let madeFor = ''
  const refused = new Map<object, string>()
  const kept = new Map<string, readonly ViewEntry[]>()

  return (
    snapshot: Pick<HostSnapshot, 'containers'>,
    host: Host,
    answer: (probeKey: string) => Probe | undefined,
  ): ViewEntries => {
    const addresses = host.addresses ?? [host.address]
    const identity = [host.host, ...addresses].join(' ')
    if (identity !== madeFor) {
      ledger = new Ledger(firstMadeLast)
      refused.clear()
    }
    madeFor = identity

    const ofContainer = (container: Container): readonly ViewEntry[] => {
      const all = servicesOf(container, { host: host.host, addresses }, services)
      const made = all.flatMap((service) => {
        const ports = all
          .filter(({ protocol }) => protocol === service.protocol)
          .map((one) => one.exposedPort)
        const about = { host, labels: container.labels, ports }
        return attempt(
          refused,
          `container ${container.name}`,
          container,
          () => view.instance?.(service, about) ?? [],
        )
      })
      if (keepFailed && made.length > 0) kept.set(container.id, made)
      return made.length === 0 && hasFailed(container) ? (kept.get(container.id) ?? []) : made
    }
    ledger.begin()
    ledger.keep(host, () =>
      toWrite(attempt(refused, `host ${host.host}`, host, () => view.host?.(host) ?? [])),
    )
    const containers = [...snapshot.containers.values()]
    for (const container of containers) ledger.keep(container, (one) => toWrite(ofContainer(one)))
    const refusedNow = new Map<object, string>()
    const vsms = view.vsm ? containers.filter(isVsm).sort((a, b) => compareClaims(b, a)) : []
    if (vsms.length > 0) {
      const made = vsms.flatMap((container) =>
        attempt(refusedNow, `container ${container.name}`, container, () => {
          const vsm = vsmOf(container, host, answer(probeKey(container)))
          return view.vsm?.(vsm, { host, labels: container.labels }) ?? []
        }),
      )
      ledger.keep(made, () => toWrite(made))
    }
    ledger.end()
    for (const object of refused.keys()) if (!ledger.has(object)) refused.delete(object)
    for (const id of kept.keys()) if (!snapshot.containers.has(id)) kept.delete(id)
    return {
      desired: ledger.desired,
      refused: new Set([...refused.values(), ...refusedNow.values(), ...ledger.lost.flatMap(lostTo)]),
    }
  }
}

const attempt = (
  refused: Map<object, string>,
  name: string,
  object: object,
  make: () => readonly ViewEntry[],
): readonly ViewEntry[] => {
  try {
    return make().map(checked)
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    refused.set(object, `${name}: ${error.message}`)
    return []
  }
}

/** Of two containers that claim a key the one has it that was made first. What is no container comes before both. */
const firstMadeLast = (a: object, b: object): number =>
  isContainer(a) && isContainer(b)
    ? b.created.localeCompare(a.created) || b.id.localeCompare(a.id)
    : Number(isContainer(a)) - Number(isContainer(b))

const isContainer = (object: object): object is Container => 'created' in object && 'id' in object

const lostTo = ({ key, object, to }: Ledger['lost'][number]): string[] =>
  isContainer(object) && isContainer(to)
    ? [
        `container ${object.name}: "${key}" is the key of container ${to.name} already: one of them needs another SERVICE_ID`,
      ]
    : []

const toWrite = (entries: readonly ViewEntry[]) => entries.map(([key, value]) => [key, () => value] as const)

const checked = (entry: ViewEntry): ViewEntry => {
  const [key, value] = entry
  const size = Buffer.byteLength(key) + Buffer.byteLength(value)
  if (size > most)
    throw new Failure(
      'invalid',
      `"${key.slice(0, 60)}${key.length > 60 ? '…' : ''}" and its value are ${size} bytes, at most ${most} are possible: shorten its SERVICE_… values`,
    )
  return entry
}

/** It ended by itself, and not well. Statuses from 128 on tell of a signal. */
const hasFailed = ({ state, exitCode }: Container): boolean =>
  (state === 'exited' || state === 'restarting') && exitCode !== 0 && (exitCode & 0x80) === 0
