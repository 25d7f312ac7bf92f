import { Failure } from '../../process/failure.ts'
import { serviceId } from '../keys.ts'
import type { Service } from '../records.ts'
import { isDomain, reversed } from './dns-label.ts'
import type { View } from './view.ts'

/** gliderlabs/registrator's layout in etcd: <service>/<id> -> ip:port, below a prefix of the user's. */
export const registratorView = (): View => ({
  instance: (service) => [[placeOf(service), endpoint(service)]],
  owns,
})

/** Its layout for SkyDNS, below /skydns: <labels of the domain, reversed>/<service>/<id> -> {"host":…,"port":…}. */
export const skydns2View = (domain: string): View => {
  if (!isDomain(domain))
    throw new Failure(
      'invalid',
      `expected a domain, as in skydns2://127.0.0.1:2379/example.org, not "${domain}"`,
    )
  const zone = reversed(domain)
  return {
    instance: (service) => [
      [`${zone}/${placeOf(service)}`, JSON.stringify({ host: service.address, port: service.port })],
    ],
    owns,
  }
}

/** By its form, a key is of the host that its ID begins with. */
const owns = (key: string, host: string): boolean =>
  key.slice(key.lastIndexOf('/') + 1).startsWith(`${host}:`)

const endpoint = ({ address, port }: Service): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}`

const placeOf = (service: Service): string =>
  `${path('SERVICE_NAME', service.service)}/${path('SERVICE_ID', service.attributes.id || serviceId(service))}`

/**
 * A name as part of a key, as the peer's client wrote it: a "/" in it makes folders, and a space is "+". Refused (`invalid`) where that
 * leads out of its folder, or is nothing to print.
 */
const path = (what: string, name: string): string => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(name))
    throw new Failure('invalid', `${what} ${JSON.stringify(name)} has control characters`)
  const parts = name.split('/').filter((part) => part !== '')
  if (parts.length === 0 || parts.some((part) => part === '.' || part === '..'))
    throw new Failure('invalid', `${what} ${JSON.stringify(name)} is no path below its folder`)
  return parts.map((part) => part.replaceAll(' ', '+')).join('/')
}
