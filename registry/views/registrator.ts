import { serviceId } from '../keys.ts'
import type { Service } from '../records.ts'
import type { View } from './view.ts'

const idOf = (s: Service): string => s.attributes.id || serviceId(s)
export const registratorView = (): View => ({
  instance: (s) => [
    [`${s.service}/${idOf(s)}`, `${s.address.includes(':') ? `[${s.address}]` : s.address}:${s.port}`],
  ],
  owns: (key, host) => key.slice(key.lastIndexOf('/') + 1).startsWith(`${host}:`),
})
export const skydns2View = (domain: string): View => ({
  instance: (s) => [
    [
      `${domain.split('.').reverse().join('/')}/${s.service}/${idOf(s)}`,
      JSON.stringify({ host: s.address, port: s.port }),
    ],
  ],
  owns: (key, host) => key.slice(key.lastIndexOf('/') + 1).startsWith(`${host}:`),
})
