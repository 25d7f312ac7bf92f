import type { Container, Port } from '../docker/inspect.ts'
import type { Vsm } from '../registry/records.ts'
import { parseServedSize, parseSessions } from '../vsm/health.ts'
import { targetIqn } from '../vsm/iqn.ts'
import { labels, readTargetLabels, roleOf } from '../vsm/labels.ts'
import type { Probe } from '../vsm/probe.ts'
import { isWildcard, joinHostPort } from './addresses.ts'
import { compareBindings } from './services.ts'

export const iscsiPort = 3260

/**
 * A VSM is a container that says so by its label, or that serves 3260/tcp. One that claims another role of ours is
 * none, whatever its image exposes.
 */
export const isVsm = (container: Container): boolean => {
  const role = roleOf(container.labels)
  if (role) return role === 'target'
  return container.exposed.some(isIscsi) || container.bindings.some(isIscsi)
}

const isIscsi = ({ port, protocol }: Port): boolean => port === iscsiPort && protocol === 'tcp'

/** The volume of a VSM that the plugin made, by its labels; undefined for anybody else's. */
export const volumeOf = (container: Container): string | undefined =>
  roleOf(container.labels) === 'target' ? container.labels[labels.volume] || undefined : undefined

/** <address>:<port> where the running container answers: its published bindings, else its own addresses. Pure. */
export const portalsOf = (container: Container, hostAddress: string): string[] => {
  if (container.networkMode === 'host') return [joinHostPort(hostAddress, iscsiPort)]
  const published = container.bindings
    .filter(isIscsi)
    .sort(compareBindings)
    .map((at) => joinHostPort(isWildcard(at.hostAddress) ? hostAddress : at.hostAddress, at.hostPort))
  if (published.length > 0) return [...new Set(published)]
  return container.networks
    .toSorted((a, b) => a.name.localeCompare(b.name))
    .flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])
    .flatMap((address) => (address ? [joinHostPort(address, iscsiPort)] : []))
}

/** Which portal to ask, and under which key; undefined where the container is judged without (or cannot answer). */
export const portalToAsk = (
  container: Container,
  hostAddress: string,
): [key: string, portal: string] | undefined => {
  if (!isVsm(container) || container.state !== 'running') return undefined
  if (volumeOf(container) && container.health !== 'none') return undefined
  const portal = portalsOf(container, hostAddress)[0]
  return portal ? [probeKey(container), portal] : undefined
}

/**
 * Whether a container's health check tells who is logged in: a change of that gives no event, so the container is to be
 * looked at every now and then.
 */
export const tellsSessions = (container: Container): boolean =>
  volumeOf(container) !== undefined && container.state === 'running' && container.health === 'healthy'

export const probeKey = (container: Container): string => `${container.id} ${container.startedAt}`

/**
 * The record of a VSM. It stands as long as its container exists: a stopped one is unhealthy, with the reason, not
 * gone. Ours are judged by their container's health check and described by their labels, others by what their portal
 * answered. Pure.
 */
export const vsmOf = (
  container: Container,
  host: { host: string; address: string },
  probe: Probe | undefined,
): Vsm => {
  const volume = volumeOf(container)
  const claimed = readTargetLabels(container.labels)
  const running = container.state === 'running' || container.state === 'paused'
  const sessions = tellsSessions(container) ? parseSessions(container.healthOutput) : undefined
  // its label has the size that it was made for
  const size = (volume !== undefined && parseServedSize(container.healthOutput)) || claimed.size
  return {
    vsm: volume ?? container.name,
    host: host.host,
    container: container.name,
    containerId: container.id,
    volume,
    portals: running ? portalsOf(container, host.address) : [...(claimed.portals ?? [])],
    targets:
      volume === undefined
        ? (probe?.targets ?? []).map(({ iqn, luns }) => ({ iqn, luns: luns.map((lun) => ({ ...lun })) }))
        : [
            {
              iqn: claimed.iqn ?? targetIqn(volume),
              luns: size === undefined ? [] : [{ lun: 1, size }],
            },
          ],
    ...(sessions && { sessions: sessions.map((session) => ({ ...session })) }),
    ...judge(container, volume, probe),
  }
}

const judge = (
  container: Container,
  volume: string | undefined,
  probe: Probe | undefined,
): Pick<Vsm, 'health' | 'reason'> => {
  const { state, health, exitCode, healthOutput } = container
  if (state !== 'running') {
    const code = state === 'exited' ? ` with status ${exitCode}` : ''
    return { health: 'unhealthy', reason: `its container is ${state}${code}` }
  }
  if (volume !== undefined && health !== 'none') {
    if (health === 'healthy') return { health }
    const said = healthOutput.slice(0, 200)
    const reason = health === 'starting' ? 'its health check has not passed yet' : 'its health check fails'
    return { health, reason: said ? `${reason}: ${said}` : reason }
  }
  if (!probe) return { health: 'starting', reason: 'its portal has not been asked yet' }
  return { health: probe.health, ...(probe.reason !== undefined && { reason: probe.reason }) }
}

/** Negative where `a` has the better right to a VSM's name: ours first, then the running one, then the older one. */
export const compareClaims = (a: Container, b: Container): number =>
  Number(volumeOf(b) !== undefined) - Number(volumeOf(a) !== undefined) ||
  Number(b.state === 'running') - Number(a.state === 'running') ||
  a.created.localeCompare(b.created) ||
  a.id.localeCompare(b.id)
