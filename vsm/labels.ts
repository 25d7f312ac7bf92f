import { targetIqn } from './iqn.ts'

/** Labels of the containers that belong to OpenEBS. Anyone can set them: they describe, they prove nothing. */
export const labels = {
  /** The volume that the container serves or attaches. */
  volume: 'openebs.volume',
  /** One of `roles`. */
  role: 'openebs.role',
  /** Epoch of the volume's target when the container was made: a whole number from 1, in decimal. */
  epoch: 'openebs.epoch',
  iqn: 'vsm.openebs.io/iqn',
  /** <address>:<port>, several separated by commas. */
  portals: 'vsm.openebs.io/targetportals',
  /** Bytes, in decimal. */
  size: 'vsm.openebs.io/volume-size',
  /** How many copies of the data there are, in decimal. */
  replicas: 'vsm.openebs.io/replica-count',
} as const

export const roles = ['target', 'initiator', 'etcd', 'registrator'] as const
export type Role = (typeof roles)[number]

/** The role a container claims by its label; undefined where it claims none that exists. */
export const roleOf = (of: Readonly<Record<string, string>>): Role | undefined =>
  roles.find((role) => role === of[labels.role])

/** What a target container serves, as its labels say it. */
export interface TargetLabels {
  readonly volume: string
  readonly iqn: string
  /** <address>:<port> of each portal. */
  readonly portals: readonly string[]
  /** Bytes. */
  readonly size: number
  readonly epoch: number
}

/** Labels for the target container of a volume, one copy of its data. `epoch` is the volume's at its making. */
export const targetLabels = (target: Omit<TargetLabels, 'iqn'>): Record<string, string> => ({
  [labels.role]: 'target',
  [labels.volume]: target.volume,
  [labels.epoch]: String(target.epoch),
  [labels.iqn]: targetIqn(target.volume),
  [labels.portals]: target.portals.join(','),
  [labels.size]: String(target.size),
  [labels.replicas]: '1',
})

/** Labels for the initiator container of a volume. */
export const initiatorLabels = (initiator: { volume: string; epoch: number }): Record<string, string> => ({
  [labels.role]: 'initiator',
  [labels.volume]: initiator.volume,
  [labels.epoch]: String(initiator.epoch),
})

/**
 * What a container with role target says about itself. A field that is missing or unreadable is left out: labels
 * come from whoever made the container.
 */
export const readTargetLabels = (of: Readonly<Record<string, string>>): Partial<TargetLabels> => {
  const portals = of[labels.portals]
  const size = wholeNumber(of[labels.size])
  const epoch = wholeNumber(of[labels.epoch])
  return {
    ...(of[labels.volume] && { volume: of[labels.volume] }),
    ...(of[labels.iqn] && { iqn: of[labels.iqn] }),
    ...(portals && { portals: portals.split(',').map((portal) => portal.trim()) }),
    ...(size !== undefined && { size }),
    ...(epoch !== undefined && epoch >= 1 && { epoch }),
  }
}

const wholeNumber = (text: string | undefined): number | undefined => {
  const number = text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(number) ? number : undefined
}
