/**
 * iSCSI names of OpenEBS (RFC 3720, 3.2.6.3.1): the domain openebs.com, which was held in September 2016. A volume's
 * name is used as it is, in its own case: tgt, libiscsi and open-iscsi compare names byte by byte.
 */
export const authority = 'iqn.2016-09.com.openebs'

/** Longest iSCSI name that RFC 3720 allows, in bytes. */
export const longestIqn = 223

/**
 * Name of the target that serves a volume: "iqn.2016-09.com.openebs:demo". Volume names hold no ":", and iSCSI names no "_"
 * (tgt refuses it, and docker-compose puts one into the name of each of its volumes): "app_data" is "…:app::data".
 */
export const targetIqn = (volume: string): string => `${authority}:${volume.replaceAll('_', '::')}`

/** The volume behind a target's name, or undefined where the target is none of ours. */
export const volumeOfIqn = (iqn: string): string | undefined => {
  const volume = iqn.startsWith(`${authority}:`) ? iqn.slice(authority.length + 1).replaceAll('::', '_') : ''
  return volume && !volume.includes(':') ? volume : undefined
}

/**
 * Name of a host as an initiator: "iqn.2016-09.com.openebs:initiator:h1". The second ":" keeps it apart from every
 * volume. Characters that an iSCSI name must not hold become "-".
 */
export const initiatorIqn = (host: string): string =>
  `${authority}:initiator:${host.toLowerCase().replaceAll(/[^a-z0-9.:-]/g, '-')}`.slice(0, longestIqn)
