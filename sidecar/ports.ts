import type { Binding, Container, Port } from '../docker/inspect.ts'

/** A port of a container that may be a service. */
export interface Candidate extends Port {
  /** It is reached at the container's own address, not by its bindings. */
  readonly own: boolean
  readonly bindings: readonly Binding[]
}

/** Whether it has no network of its own: its ports are the host's. */
export const isOnHost = ({ networkMode }: Pick<Container, 'networkMode'>): boolean => networkMode === 'host'

/**
 * The ports of a container that count, each once, by number: the published ones, or (`internal`, and on the host's
 * network) all that it exposes or publishes, at its own address; and those that `more` names. Pure.
 */
export const candidatesOf = (
  container: Container,
  from: 'published' | 'internal',
  more: string | undefined,
): Candidate[] => {
  const candidates = new Map<string, Candidate>()
  const add = ({ port, protocol }: Port, own: boolean, bindings: readonly Binding[]) => {
    const key = `${port}/${protocol}`
    const other = candidates.get(key)
    if (!other) candidates.set(key, { port, protocol, own, bindings })
    else if (bindings.length > 0)
      candidates.set(key, { ...other, bindings: [...other.bindings, ...bindings] })
  }
  const own = from === 'internal' || isOnHost(container)
  for (const binding of container.bindings) add(binding, own, [binding])
  if (own) for (const port of container.exposed) add(port, own, [])
  for (const port of readPorts(more ?? '')) add(port, true, [])
  return [...candidates.values()].sort((a, b) => a.port - b.port || a.protocol.localeCompare(b.protocol))
}

/** "8080, 53/udp"; what is no port is left out. */
const readPorts = (text: string): Port[] =>
  text.split(',').flatMap((one) => {
    const match = /^\s*(?<port>\d{1,5})(?:\/(?<protocol>tcp|udp|sctp))?\s*$/i.exec(one)?.groups
    const port = Number(match?.port)
    return port >= 1 && port <= 65_535 ? [{ port, protocol: match?.protocol?.toLowerCase() ?? 'tcp' }] : []
  })
