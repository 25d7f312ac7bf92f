import { Failure } from '../../process/failure.ts'
import { serviceId } from '../keys.ts'
import type { Service } from '../records.ts'
import { isDomain, longestLabel, longestName, reversed } from './dns-label.ts'
import type { View } from './view.ts'

/**
 * What gliderlabs/registrator writes into etcd, below a root such as /services: <service>/<id> -> "<address>:<port>". The id is
 * SERVICE_ID, else <host>:<container>:<exposed port>[:udp|:sctp]. Names are as they were given: "team/api" has a folder more. `invalid`
 * for a name that is no path.
 */
export const registratorView = (): View => ({
  instance: (service) => [[pathOf(service), hostPort(service)]],
  // with a root of nothing the registry's own records stand below it, too
  owns: (key, host) => !key.startsWith('openebs/v1/') && owns(key, host),
})

/**
 * Its messages for SkyDNS and CoreDNS, below the root /skydns: <domain's labels from the root on>/<service>/<id> ->
 * {"host":"10.1.2.3","port":80}. `invalid` for a domain that is none, and for a name that DNS cannot have.
 */
export const skydns2View = (domain: string): View => {
  if (!isDomain(domain))
    throw new Failure(
      'invalid',
      `expected a domain, as in skydns2://127.0.0.1:2379/example.org, not "${domain}"`,
    )
  const zone = reversed(domain)
  return {
    instance: (service) => {
      const names = labelsOf(path('SERVICE_NAME', service.service))
      const ids = labelsOf(path('SERVICE_ID', idOf(service)))
      const name = [...names.toReversed(), domain].join('.')
      if (names.some(isNoLabel) || Buffer.byteLength(name) > longestName)
        throw new Failure(
          'invalid',
          `"${shown(service.service)}" is no name in DNS: it may have ${longestLabel} octets between dots, ${longestName} in all, and no "\\"`,
        )
      const fits = !ids.some(isNoLabel) && Buffer.byteLength([...ids, name].join('.')) <= longestName
      const message = { host: service.address, port: service.port }
      // CoreDNS makes an SRV's target of the key; if one cannot be sent, no SRV of the service is. Without the id it can.
      const sent = fits ? message : { ...message, targetstrip: ids.length }
      return [[`${zone}/${pathOf(service)}`, JSON.stringify(sent)]]
    },
    // others may have domains of their own there
    owns: (key, host) => key.startsWith(`${zone}/`) && owns(key, host),
  }
}

const labelsOf = (text: string): string[] => text.split(/[/.]/)

const isNoLabel = (text: string): boolean =>
  text === '' || Buffer.byteLength(text) > longestLabel || /[\\\s/]/.test(text)

const idOf = (service: Service): string => service.attributes.id || serviceId(service)

const hostPort = ({ address, port }: Service): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}`

const pathOf = (service: Service): string =>
  `${path('SERVICE_NAME', service.service)}/${path('SERVICE_ID', idOf(service))}`

/**
 * A name as part of a key, as the peer's client wrote it: a "/" in it makes folders, and a space is "+". Refused (`invalid`) where that
 * leads out of its folder, or is nothing to print.
 */
const path = (what: string, name: string): string => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(name))
    throw new Failure('invalid', `${what} ${JSON.stringify(shown(name))} has control characters`)
  const parts = name.split('/').filter((part) => part !== '')
  if (parts.length === 0 || parts.some((part) => part === '.' || part === '..'))
    throw new Failure('invalid', `${what} ${JSON.stringify(shown(name))} is no path below its folder`)
  return parts.map((part) => part.replaceAll(' ', '+')).join('/')
}

const shown = (text: string): string => (text.length > 60 ? `${text.slice(0, 60)}…` : text)

/** Keys whose id is made by this host's name, as registrator tells those that it cleans up. One with a SERVICE_ID tells nothing. */
const owns = (key: string, host: string): boolean => {
  const [of, container = '', port = '', protocol, ...more] = key.slice(key.lastIndexOf('/') + 1).split(':')
  if (of !== host || more.length > 0 || container === '' || !/^\d+$/.test(port)) return false
  return protocol === undefined || protocol === 'udp' || protocol === 'sctp'
}
