import { Failure } from '../../process/failure.ts'
import type { Service } from '../records.ts'
import { type Beat, type Check, checkId, stateCheckId } from './consul-registration.ts'

/** Checks of a service, and what we say of the one with a TTL. */
export interface Checks {
  readonly checks: readonly Check[]
  readonly beat?: Beat
}

/**
 * The checks of a service by registrator's rules: of check_http, check_https, check_cmd, check_script, check_ttl, check_tcp and
 * check_grpc the first that is given counts, "" is not given. Beyond those rules:
 * - check_script is run by a shell, as registrator's manual has it ("nc $SERVICE_IP $SERVICE_PORT | grep OK").
 * - IPv6 addresses stand in brackets, and a path that does not begin with a "/" gets one.
 * - A check with a TTL is passed by us while the container is fine, unless its initial status says that another does that.
 * - While Docker says that the container is unhealthy, or paused, a check with a TTL fails; others get a second check, which is
 *   critical and goes when the container is fine again.
 * Pure. Errors: `invalid` for what Consul would refuse, naming the variable.
 */
export const checksOf = (service: Service, id: string): Checks => {
  const check = ownCheck(service, id)
  const trouble = troubleOf(service)
  if (check?.TTL !== undefined) {
    const every = Math.max(100, Math.floor(readDuration('check_ttl', check.TTL) / 3))
    const initial = trouble ? 'critical' : (check.Status ?? 'passing')
    const said: Check = { ...check, Status: initial }
    return trouble || initial === 'passing'
      ? { checks: [said], beat: { Every: every, Status: trouble ? 'critical' : 'passing' } }
      : { checks: [said] }
  }
  const checks = check ? [check] : []
  if (trouble) checks.push(stateCheck(id, trouble))
  return { checks }
}

const troubleOf = ({ health, state }: Service): string | undefined => {
  if (state === 'paused') return 'the container is paused'
  return health === 'unhealthy' ? 'Docker says that the container is unhealthy' : undefined
}

/** Nobody ever passes it: it is there, and critical, or it is not there. */
const stateCheck = (id: string, trouble: string): Check => ({
  CheckID: stateCheckId(id),
  Name: "The container's state in Docker",
  Notes: trouble,
  TTL: '87600h',
  Status: 'critical',
})

/** What is asked for beside the kind of check. Of some kinds registrator passes no time-out on. */
type Kind = { readonly fields: Partial<Check>; readonly interval: boolean; readonly timeout: boolean }

const ownCheck = (service: Service, id: string): Check | undefined => {
  const { attributes } = service
  const kind = kindOf(service)
  if (!kind) return undefined
  const status = attributes.check_initial_status
  if (status && !['passing', 'warning', 'critical'].includes(status))
    throw bad('check_initial_status', status, 'passing, warning or critical')
  return {
    CheckID: checkId(id),
    ...kind.fields,
    ...(kind.interval && { Interval: duration(attributes, 'check_interval') ?? '10s' }),
    ...(kind.timeout && attributes.check_timeout && { Timeout: duration(attributes, 'check_timeout') }),
    ...(status && { Status: status }),
    ...(attributes.check_deregister_after && {
      DeregisterCriticalServiceAfter: duration(attributes, 'check_deregister_after'),
    }),
  } as Check
}

const kindOf = (service: Service): Kind | undefined => {
  const { attributes, address, port, containerId, exposedPort } = service
  const host = address.includes(':') ? `[${address}]` : address
  const at = `${host}:${port}`
  const url = (scheme: string, path: string) => `${scheme}://${at}${path.startsWith('/') ? '' : '/'}${path}`
  const http = (scheme: string, path: string, method: string | undefined): Kind => ({
    fields: { HTTP: url(scheme, path), ...(method && { Method: method }) },
    interval: true,
    timeout: true,
  })
  const script = (...args: string[]): Kind => ({ fields: { Args: args }, interval: true, timeout: false })
  const { check_http, check_https, check_cmd, check_script, check_ttl, check_tcp, check_grpc } = attributes
  if (check_http) return http('http', check_http, attributes.check_http_method)
  if (check_https) return http('https', check_https, attributes.check_https_method)
  if (check_cmd) return script('check-cmd', containerId.slice(0, 12), String(exposedPort), check_cmd)
  if (check_script) {
    const text = check_script
      .replaceAll('$SERVICE_IP', () => address)
      .replaceAll('$SERVICE_PORT', () => String(port))
    return script('/bin/sh', '-c', text)
  }
  if (check_ttl)
    return { fields: { TTL: duration(attributes, 'check_ttl') ?? '' }, interval: false, timeout: false }
  if (check_tcp) return { fields: { TCP: at }, interval: true, timeout: true }
  if (!check_grpc) return undefined
  const tls = attributes.check_grpc_use_tls
    ? { GRPCUseTLS: true, ...(attributes.check_tls_skip_verify && { TLSSkipVerify: true }) }
    : {}
  return { fields: { GRPC: at, ...tls }, interval: true, timeout: true }
}

/** A duration as it was given, once it is known to be one; undefined where none is given. */
const duration = (attributes: Service['attributes'], name: string): string | undefined => {
  const text = attributes[name]
  if (!text) return undefined
  const ms = readDuration(name, text)
  // for the others nothing means that Consul chooses
  if (ms === 0 && ['check_ttl', 'check_interval'].includes(name))
    throw bad(name, text, 'a duration longer than nothing')
  return text
}

/** ms of each unit of Go's. */
const units: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}
const part = /(?<number>\d+\.?\d*|\.\d+)(?<unit>ns|us|µs|μs|ms|s|m|h)/g
const whole = new RegExp(`^(?:${part.source.replaceAll(/\?<\w+>/g, '?:')})+$`)

/** ms of a duration such as "1m30s". */
const readDuration = (name: string, text: string): number => {
  if (text === '0') return 0
  if (!whole.test(text)) throw bad(name, text, 'a duration such as 10s or 1m30s')
  return [...text.matchAll(part)].reduce(
    (sum, { groups }) => sum + Number(groups?.number) * (units[groups?.unit ?? ''] ?? 0),
    0,
  )
}

const bad = (name: string, text: string, expected: string): Failure =>
  new Failure(
    'invalid',
    `SERVICE_${name.toUpperCase()}: expected ${expected}, not ${JSON.stringify(text.slice(0, 60))}`,
  )
