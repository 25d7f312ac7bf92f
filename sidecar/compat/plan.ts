import { existsSync } from 'node:fs'
import { Failure } from '../../process/failure.ts'
import { readSettings } from '../../process/settings.ts'
import { serviceRules } from '../options.ts'
import type { ServiceRules } from '../services.ts'
import { type Settings, settings } from '../settings.ts'
import type { CompatOptions } from './options.ts'

/** Where the peer's users mount the Engine's socket. */
const peersSocket = '/tmp/docker.sock'
/** A lease of etcd below this ends at every hiccup. */
const leastTtl = 5

/** Settings as the options say, and the environment where they say nothing. Errors: `invalid`. */
export const compatSettings = (
  { ip, internal, useIpFromLabel, ttl, resync }: CompatOptions,
  given: Record<string, string | undefined>,
): Settings => {
  // an empty value counts as not given
  const environment = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== ''))
  for (const name of ['OPENEBS_VIEWS', 'OPENEBS_PROMETHEUS_FILE'])
    if (environment[name])
      throw new Failure('invalid', `${name}: it needs the registry of OpenEBS, which registrator run keeps`)
  const socket =
    environment.DOCKER_HOST || !existsSync(peersSocket) ? {} : { DOCKER_HOST: `unix://${peersSocket}` }
  return readSettings(settings, {
    ...socket,
    // ip:port alone cannot say that nobody answers there
    OPENEBS_UNHEALTHY: 'withdraw',
    ...environment,
    // the URI names the registry
    OPENEBS_STORE: undefined,
    ...(ip && { OPENEBS_ADDRESS: ip }),
    ...(internal && { OPENEBS_SERVICES: 'internal' }),
    ...(useIpFromLabel && { OPENEBS_ADDRESS_LABEL: useIpFromLabel }),
    ...(ttl && { OPENEBS_TTL: String(Math.max(ttl, leastTtl)) }),
    ...(resync && { OPENEBS_RESYNC: String(resync) }),
  })
}

/** How services are made of containers, as the options say. */
export const compatRules = ({ ip, explicit }: CompatOptions, own: Settings): ServiceRules => ({
  ...serviceRules(own),
  explicit,
  ...(ip && { publishedAddress: ip }),
})
