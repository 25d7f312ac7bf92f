import type { ServiceRules } from './services.ts'
import type { Settings } from './settings.ts'
import type { SidecarOptions } from './sidecar.ts'

/** What the settings say, and what stands beside them, as a sidecar takes it. Pure. */
export const sidecarOptions = (
  own: Settings,
  parts: Pick<SidecarOptions, 'docker' | 'openStore' | 'outlets' | 'run' | 'log'>,
): SidecarOptions => ({
  ...parts,
  endpoint: own.DOCKER_HOST,
  host: own.OPENEBS_HOST,
  addresses: own.OPENEBS_ADDRESS,
  rules: serviceRules(own),
  labels: own.OPENEBS_LABELS,
  onExit: own.OPENEBS_ON_EXIT,
  journal: { ttl: own.OPENEBS_EVENTS_TTL, most: own.OPENEBS_EVENTS_MOST },
  swarmPoll: own.OPENEBS_SWARM_POLL * 1000,
  ttl: own.OPENEBS_TTL,
  resyncEvery: own.OPENEBS_RESYNC * 1000,
})

export const serviceRules = (own: Settings): ServiceRules => ({
  from: own.OPENEBS_SERVICES,
  networks: own.OPENEBS_NETWORKS,
  addressLabel: own.OPENEBS_ADDRESS_LABEL,
  unhealthy: own.OPENEBS_UNHEALTHY,
  paused: own.OPENEBS_PAUSED,
})
