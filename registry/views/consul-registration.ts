/**
 * A service as Consul's agent takes it: the body of PUT /v1/agent/service/register, and `Beat`, which is our own and not sent.
 * Addresses and ports as clients use them; durations as Go writes them ("10s").
 */
export interface Registration {
  readonly ID: string
  readonly Name: string
  readonly Address: string
  readonly Port: number
  readonly Tags: readonly string[]
  readonly Meta: Readonly<Record<string, string>>
  readonly Checks: readonly Check[]
  /** What we say of the check with a TTL, every third of it; absent where there is none, or where another says it. */
  readonly Beat?: Beat
}

export interface Beat {
  /** ms between two. */
  readonly Every: number
  readonly Status: 'passing' | 'critical'
}

export interface Check {
  readonly CheckID: string
  readonly Name?: string
  readonly Notes?: string
  readonly HTTP?: string
  readonly Method?: string
  readonly Args?: readonly string[]
  readonly TTL?: string
  readonly TCP?: string
  readonly GRPC?: string
  readonly GRPCUseTLS?: boolean
  readonly TLSSkipVerify?: boolean
  readonly Interval?: string
  readonly Timeout?: string
  readonly Status?: string
  readonly DeregisterCriticalServiceAfter?: string
}

/** Our own keys in Meta. */
export const ownMeta = {
  /** The host that keeps the registration: an ID of the user's does not tell. */
  host: 'openebs-host',
  /** A digest of the check, where Meta does not hold all that it was made of. */
  check: 'openebs-check',
} as const

/** The check that SERVICE_CHECK_… asks for: the ID that Consul gives to a service's only check. */
export const checkId = (service: string): string => `service:${service}`
/** The check that stands only while Docker says that the container is no good. */
export const stateCheckId = (service: string): string => `service:${service}:docker`
