import { Failure } from '../../process/failure.ts'
import { serviceId } from '../keys.ts'
import type { Service } from '../records.ts'
import { longestLabel, longestName } from './dns-label.ts'
import type { View } from './view.ts'

/**
 * What gliderlabs/registrator writes into etcd, below a root such as /services: <service>/<id> -> "<address>:<port>". The id is
 * SERVICE_ID, else <host>:<container>:<exposed port>[:udp|:sctp]. Names are as they were given: "team/api" has a folder more. `invalid`
 * for a name that is no path.
 */
export const registratorView = (): View => ({
  instance: (service) => [[pathOf(service), hostPort(service)]],
  owns,
})

/**
 * Its messages for SkyDNS and CoreDNS, below the root /skydns: <domain's labels from the root on>/<service>/<id> ->
 * {"host":"10.1.2.3","port":80}. `invalid` for a domain that is none, and for a name that DNS cannot have.
 */
export const skydns2View = (domain: string): View => {
  if (domain.split('.').some(isNoLabel))
    throw new Failure('invalid', `expected a domain such as example.org, not "${domain}"`)
  // as it was given, also in capitals: so does registrator
  const zone = domain.split('.').reverse().join('/')
  return {
    instance: (service) => {
      const path = pathOf(service)
      const name = [...labelsOf(service.service).toReversed(), domain].join('.')
      if (labelsOf(service.service).some(isNoLabel) || Buffer.byteLength(name) > longestName)
        throw new Failure(
          'invalid',
          `"${shown(service.service)}" is no name in DNS: it may have ${longestLabel} octets between dots, ${longestName} in all, and no "\\"`,
        )
      const ids = labelsOf(idOf(service))
      const fits = !ids.some(isNoLabel) && Buffer.byteLength([...ids, name].join('.')) <= longestName
      const message = { host: service.address, port: service.port }
      // CoreDNS makes an SRV's target of the key; if one cannot be sent, no SRV of the service is. Without the id it can.
      const sent = fits ? message : { ...message, targetstrip: ids.length }
      return [[`${zone}/${path}`, JSON.stringify(sent)]]
    },
    owns,
  }
}

const labelsOf = (text: string): string[] => text.replaceAll(' ', '+').split(/[/.]/)

const isNoLabel = (text: string): boolean =>
  text === '' || Buffer.byteLength(text) > longestLabel || /[\\\s/]/.test(text)

const idOf = (service: Service): string => service.attributes.id || serviceId(service)

const hostPort = ({ address, port }: Service): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}`

/**
 * "<service>/<id>". A space is a "+", as registrator writes it. Parts that are empty or that lead elsewhere are refused: a reader, or
 * etcd's own v2 API, would look for another key.
 */
const pathOf = (service: Service): string => {
  const parts = { name: service.service, id: idOf(service) }
  for (const [what, text] of Object.entries(parts)) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
    if (/[\u0000-\u001f\u007f]/.test(text) || text.split('/').some((part) => ['', '.', '..'].includes(part)))
      throw new Failure(
        'invalid',
        `${JSON.stringify(shown(text))} is no ${what} of a service: between "/" it needs parts that are neither empty nor "." or "..", and no control characters`,
      )
  }
  return `${parts.name}/${parts.id}`.replaceAll(' ', '+')
}

const shown = (text: string): string => (text.length > 60 ? `${text.slice(0, 60)}…` : text)

/** Keys whose id is made by this host's name, as registrator tells those that it cleans up. One with a SERVICE_ID tells nothing. */
const owns = (key: string, host: string): boolean => {
  const [of, container = '', port = '', protocol, ...more] = key.slice(key.lastIndexOf('/') + 1).split(':')
  if (of !== host || more.length > 0 || container === '' || !/^\d+$/.test(port)) return false
  return protocol === undefined || protocol === 'udp' || protocol === 'sctp'
}
