import type { ContainerCreateOptions } from 'dockerode'
import { sizeOf, type Target, type Volume, type VolumeSpec } from '../registry/records.ts'
import { initiatorIqn } from '../vsm/iqn.ts'
import { initiatorLabels, labels, targetLabels } from '../vsm/labels.ts'
import type { Way } from './attach.ts'
import { extraOptions, showOptions } from './volume-options.ts'

/**
 * Create bodies of the containers of a volume. Pure; vsm/README.md says why each capability and device is there, and
 * docs/security.md tells the operator.
 */
export interface ContainerSpec {
  name: string
  body: ContainerCreateOptions
}

export const targetName = (volume: string): string => `vsm-${volume}`
export const initiatorName = (volume: string): string => `initiator-${volume}`

/** Label that ties a container to one life of a volume: a name can be used again, a uuid not. */
export const uuidLabel = 'openebs.uuid'

/** Stands in `uuidLabel` of a container that is of no volume: one of that name without it is another's. */
export const noVolume = '00000000-0000-0000-0000-000000000000'

/** Label with the way in which an initiator attaches. One that runs is left alone though it is another than the chosen one. */
export const wayLabel = 'openebs.attach'

/**
 * Label with what a container was made for and cannot be changed in it. When it differs the container is made anew;
 * nothing else is compared, so that a newer plugin leaves running containers alone.
 */
export const madeForLabel = 'openebs.made-for'

/** Seconds the Engine waits after SIGTERM: the initiator longer than its consumers, the target longer than the initiator. */
const stopTimeout = { initiator: 120, target: 150 } as const

/** The Engine takes nanoseconds. */
const second = 1_000_000_000

const restartAlways = { Name: 'always' } as const
export const smallLog = { Type: 'json-file', Config: { 'max-size': '1m', 'max-file': '2' } }

/** `root` is the host's folder that holds a folder per volume, `security` /info's SecurityOptions. */
export const targetContainer = (
  volume: Volume,
  target: Target,
  root: string,
  image: string,
  security: readonly string[] = [],
): ContainerSpec => {
  const [address, port] = splitPortal(target.portal)
  return {
    name: targetName(volume.name),
    body: {
      Image: volume.spec.image ?? image,
      Cmd: ['openebs-target'],
      Labels: {
        ...targetLabels({
          volume: volume.name,
          portals: [target.portal],
          size: sizeOf(volume),
          epoch: target.epoch,
        }),
        [uuidLabel]: volume.uuid,
        [madeForLabel]: madeFor(volume, `${target.portal} epoch ${target.epoch}`),
      },
      Env: environment({
        VOLUME: volume.name,
        UUID: volume.uuid,
        SIZE: String(sizeOf(volume)),
        FS: volume.spec.fs,
        IQN: target.iqn,
        EPOCH: String(target.epoch),
        INITIATOR: initiatorIqn(target.host),
        ...chap(volume),
        STOP_WAIT: String(stopTimeout.target - 15),
        MKFS: volume.spec.mkfs,
        PROVISION: volume.spec.provision,
      }),
      ExposedPorts: { '3260/tcp': {} },
      Healthcheck: {
        Test: ['CMD', 'openebs-target-health'],
        Interval: 10 * second,
        Timeout: 5 * second,
        Retries: 3,
      },
      StopTimeout: stopTimeout.target,
      HostConfig: {
        Binds: [`${root}/${volume.name}:/lun`],
        PortBindings: { '3260/tcp': [{ HostIp: address, HostPort: port }] },
        RestartPolicy: restartAlways,
        LogConfig: smallLog,
        CapDrop: ['ALL'],
        SecurityOpt: ['no-new-privileges', ...bindSecurity(security)],
        ...limits(volume.spec),
      },
    },
  }
}

/** Of the target alone: an initiator that is short of memory or time holds up the kernel (vsm/README.md). */
const limits = ({ memory, cpus }: VolumeSpec) => ({
  ...(memory !== undefined && { Memory: memory }),
  ...(cpus !== undefined && { NanoCpus: Math.round(cpus * second) }),
})

/** Folders of the host, below the plugin's propagated mount. */
export interface InitiatorFolders {
  mounts: string
  /** Holds a folder per volume, by its UUID, with the volume's CHAP passwords. */
  secrets: string
}

/** `security` is /info's SecurityOptions. */
export const initiatorContainer = (
  volume: Volume,
  target: Target,
  host: string,
  { mounts, secrets }: InitiatorFolders,
  image: string,
  security: readonly string[],
  way: Way = 'userspace',
): ContainerSpec => ({
  name: initiatorName(volume.name),
  body: {
    Image: volume.spec.image ?? image,
    Cmd: ['openebs-initiator'],
    Labels: {
      ...initiatorLabels({ volume: volume.name, epoch: target.epoch }),
      [uuidLabel]: volume.uuid,
      [madeForLabel]: madeFor(volume, `${target.portal} epoch ${target.epoch} in ${mounts}`),
      [wayLabel]: way,
    },
    Env: environment({
      VOLUME: volume.name,
      UUID: volume.uuid,
      PORTAL: target.portal,
      IQN: target.iqn,
      FS: volume.spec.fs,
      INITIATOR: initiatorIqn(host),
      EPOCH: String(target.epoch),
      ATTACH: way === 'kernel' ? way : undefined,
      ...chap(volume),
      MOUNT: volume.spec.mount,
      ACCESS: volume.spec.access,
      UID: volume.spec.uid?.toString(),
      GID: volume.spec.gid?.toString(),
      MODE: volume.spec.mode,
    }),
    StopTimeout: stopTimeout.initiator,
    HostConfig: {
      NetworkMode: 'host',
      Binds: [
        `${mounts}:/mounts:rshared`,
        ...(volume.spec.chap ? [`${secrets}/${volume.uuid}:/chap:ro`] : []),
      ],
      RestartPolicy: restartAlways,
      LogConfig: smallLog,
      CapDrop: ['ALL'],
      CapAdd: ['SYS_ADMIN', 'MKNOD', ...(givesAway(volume.spec) ? ['CHOWN'] : [])],
      ...devices[way],
      SecurityOpt: ['no-new-privileges', ...mountSecurity(security)],
    },
  },
})

/** Which disk or loop device it will be is not known before; SCSI disks have sixteen major numbers. */
const scsiDisks = [
  8,
  ...Array.from({ length: 7 }, (_, n) => 65 + n),
  ...Array.from({ length: 8 }, (_, n) => 128 + n),
]
const device = (path: string) => ({ PathOnHost: path, PathInContainer: path, CgroupPermissions: 'rwm' })
const devices = {
  userspace: {
    Devices: [device('/dev/fuse'), device('/dev/loop-control')],
    DeviceCgroupRules: ['b 7:* rwm'],
  },
  kernel: { DeviceCgroupRules: scsiDisks.map((major) => `b ${major}:* rwm`) },
} satisfies Record<Way, object>

/** Whether the root folder is made for another than root. */
const givesAway = ({ uid, gid }: VolumeSpec): boolean => uid !== undefined || gid !== undefined

/**
 * Options are fixed for the life of a volume, but an older plugin did not know them: a container that it made is not
 * one with these options.
 */
const madeFor = ({ spec }: Volume, place: string): string => {
  const options = showOptions(extraOptions(spec))
  return options === '' ? place : `${place} with ${options}`
}

/**
 * One-shot container that removes a volume's folder, after it has made sure that it is this volume's. Of the plugin's own
 * image, also where the volume asked for another one: what proves to be no image of a VSM can then be undone.
 */
export const eraseContainer = (
  volume: Volume,
  root: string,
  image: string,
  security: readonly string[] = [],
): ContainerSpec => ({
  name: `openebs-erase-${volume.name}`,
  body: {
    Image: image,
    Cmd: ['openebs-erase', volume.name, volume.uuid],
    Labels: { [uuidLabel]: volume.uuid, [labels.volume]: volume.name },
    HostConfig: {
      NetworkMode: 'none',
      Binds: [`${root}:/openebs`],
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges', ...bindSecurity(security)],
    },
  },
})

/** Names in /info's SecurityOptions, such as "name=apparmor" or "name=seccomp,profile=default". */
const names = (options: readonly string[]): string[] =>
  options.map((option) => /(?:^|,)name=([^,]+)/.exec(option)?.[1] ?? option)

/** SELinux keeps a confined container from a folder of the host. Asked for only where the Engine has it on. */
export const bindSecurity = (options: readonly string[]): string[] =>
  names(options).includes('selinux') ? ['label=disable'] : []

/** Docker's AppArmor profile denies mount(2) even with SYS_ADMIN. Asked for only where the Engine has it on. */
export const mountSecurity = (options: readonly string[]): string[] => [
  ...(names(options).includes('apparmor') ? ['apparmor=unconfined'] : []),
  ...bindSecurity(options),
]

/** "172.17.0.1:23260" -> ["172.17.0.1", "23260"]. */
export const splitPortal = (portal: string): [string, string] => {
  const colon = portal.lastIndexOf(':')
  return [portal.slice(0, colon).replace(/^\[|\]$/g, ''), portal.slice(colon + 1)]
}

/** Whether a login is asked for. The password itself comes by files: whoever may inspect a container sees its environment. */
const chap = ({ spec }: Volume): Record<string, string> => (spec.chap ? { CHAP: 'yes' } : {})

const environment = (variables: Record<string, string | undefined>): string[] =>
  Object.entries(variables).flatMap(([name, value]) =>
    value === undefined ? [] : [`OPENEBS_${name}=${value}`],
  )
