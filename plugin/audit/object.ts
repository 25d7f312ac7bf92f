import type { ApiCall } from '../guard/api-call.ts'
import type { AuditObject } from './entry.ts'

const kinds: Readonly<Record<string, AuditObject['kind']>> = {
  containers: 'container',
  volumes: 'volume',
  networks: 'network',
  images: 'image',
  plugins: 'plugin',
  services: 'service',
}

/** What a call is about, by its path. */
export const objectOf = (call: ApiCall | undefined): AuditObject => {
  const kind = kinds[call?.segments[0] ?? ''] ?? 'other'
  const name = call?.parameters.id ?? call?.parameters.name ?? call?.query.get('name')
  return { kind, ...(name && { name }) }
}
