import type { HostFinding } from '../../registry/finding.ts'
import type { Volume } from '../../registry/records.ts'
import type { LocalVolume } from '../local-copy.ts'
import type { Facts } from './facts.ts'

/** What mends a finding. Each is done under the lock of its volume, where it has one, after another look. */
export type Remedy =
  | {
      readonly kind: 'remove-container'
      readonly volume: string
      readonly name: string
      readonly uuid: string
    }
  | { readonly kind: 'make-target'; readonly volume: string }
  | { readonly kind: 'make-initiator'; readonly volume: string }
  | { readonly kind: 'release-mount'; readonly volume: string }
  | { readonly kind: 'detach-loop'; readonly loop: string }
  | { readonly kind: 'register'; readonly volume: string }
  | { readonly kind: 'adopt-registry' }

export interface Found extends HostFinding {
  readonly remedy?: Remedy
  /** ms since 1970, where it is known since when it stands so. */
  readonly since?: number
}

export const wrong = (
  check: string,
  subject: string,
  text: string,
  rest: Pick<Found, 'action' | 'by' | 'remedy' | 'since'> = {},
): Found => ({ id: `${check} ${subject}: ${text}`, check, subject, state: 'wrong', text, ...rest })

export const note = (check: string, subject: string, text: string): Found => ({
  ...wrong(check, subject, text),
  state: 'note',
})

export const isHere = ({ host }: Facts, { volume }: LocalVolume): boolean => volume.placement.host === host

/** Whether a record with this uuid, or of this name, may exist anywhere. */
export const mayBeKnown = (
  { damaged, volumes: local, registered }: Facts,
  { name, uuid }: { name?: string; uuid: string },
): boolean => {
  const isIt = (volume: Volume) => volume.name === name || volume.uuid === uuid
  if (damaged.length > 0 || local.some(({ volume }) => isIt(volume))) return true
  if (typeof registered === 'string' || registered.isOther || registered.unreadable.length > 0) return true
  return registered.volumes.some(isIt)
}

export const runs = (facts: Facts, name: string): boolean =>
  facts.containers.some(
    (one) => one.name === name && ['running', 'restarting', 'paused', 'removing'].includes(one.state),
  )
