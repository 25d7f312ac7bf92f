import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../process/failure.ts'

/** Where a Docker Engine answers. */
export type Endpoint =
  | { kind: 'unix'; socket: string }
  | { kind: 'tcp'; host: string; port: number; tls?: { ca: string; cert: string; key: string } }

export interface EndpointSettings {
  /** unix:///path, tcp://host:port or https://host:port. Default: unix:///var/run/docker.sock. */
  DOCKER_HOST?: string | undefined
  /** Any value but "", "0" and "false" switches TLS on, as in Docker's own client. */
  DOCKER_TLS_VERIFY?: string | undefined
  /** Folder with ca.pem, cert.pem and key.pem. */
  DOCKER_CERT_PATH?: string | undefined
}

/**
 * Parses the settings that Docker's client has. dockerode's own reading of them is not used: there
 * DOCKER_TLS_VERIFY=true means plain HTTP, and DOCKER_HOST beats an explicit socket.
 */
export const parseEndpoint = (settings: EndpointSettings): Endpoint => {
  const text = settings.DOCKER_HOST || 'unix:///var/run/docker.sock'
  const match = /^(?<scheme>[a-z]+):\/\/(?<rest>.+)$/.exec(text)
  const scheme = match?.groups?.scheme
  const rest = match?.groups?.rest ?? ''
  if (scheme === 'unix') return { kind: 'unix', socket: rest }
  if (scheme !== 'tcp' && scheme !== 'http' && scheme !== 'https')
    throw new Failure(
      'invalid',
      `DOCKER_HOST is ${text}: expected unix:///path/to/docker.sock or tcp://host:port${scheme === 'ssh' ? ' (forward the socket with: ssh -L /tmp/docker.sock:/var/run/docker.sock)' : ''}`,
    )
  const url = URL.parse(`http://${rest}`)
  if (!url?.hostname) throw new Failure('invalid', `DOCKER_HOST is ${text}: expected tcp://host:port`)
  const verify = !['', '0', 'false'].includes((settings.DOCKER_TLS_VERIFY ?? '').toLowerCase())
  const secure = verify || scheme === 'https'
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const port = Number(url.port || (secure ? 2376 : 2375))
  return secure
    ? { kind: 'tcp', host, port, tls: readCertificates(settings.DOCKER_CERT_PATH) }
    : { kind: 'tcp', host, port }
}

const readCertificates = (folder: string | undefined) => {
  if (!folder)
    throw new Failure(
      'invalid',
      'TLS to Docker is on but DOCKER_CERT_PATH is not set: it names the folder of ca.pem, cert.pem and key.pem',
    )
  try {
    const [ca, cert, key] = ['ca.pem', 'cert.pem', 'key.pem'].map((file) =>
      readFileSync(join(folder, file), 'utf8'),
    )
    return { ca: ca ?? '', cert: cert ?? '', key: key ?? '' }
  } catch (error) {
    throw new Failure(
      'invalid',
      `DOCKER_CERT_PATH is ${folder}: cannot read its ca.pem, cert.pem and key.pem`,
      error,
    )
  }
}
