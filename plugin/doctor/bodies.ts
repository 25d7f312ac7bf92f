import {
  bindSecurity,
  type ContainerSpec,
  mountSecurity,
  noVolume,
  smallLog,
  uuidLabel,
} from '../container-bodies.ts'

/** Create bodies of the doctor's one-shot containers; docs/security.md says why each has what it has. Pure. */

export interface DoctorPlace {
  /** The host's folders: OPENEBS_ROOT, and the one where initiators mount. */
  root: string
  hostMounts: string
  image: string
  /** /info's SecurityOptions. */
  security: readonly string[]
}

/** The Engine's part removes by this label. */
const ofNoVolume = { [uuidLabel]: noVolume }

/** Lists the folders of volumes. `Mounts`, not `Binds`: a look makes no folder. */
export const surveyContainer = ({ root, image, security }: DoctorPlace): ContainerSpec => ({
  name: 'openebs-survey',
  body: {
    Image: image,
    Cmd: ['openebs-survey'],
    Labels: ofNoVolume,
    HostConfig: {
      NetworkMode: 'none',
      Mounts: [{ Type: 'bind', Source: root, Target: '/openebs', ReadOnly: true }],
      LogConfig: smallLog,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges', ...bindSecurity(security)],
    },
  },
})

/** Unmounts what a killed initiator left. */
export const releaseMountContainer = (
  volume: string,
  { hostMounts, image, security }: Omit<DoctorPlace, 'root'>,
): ContainerSpec => ({
  name: 'openebs-release',
  body: {
    Image: image,
    Cmd: ['openebs-release', 'mount', volume],
    Labels: ofNoVolume,
    HostConfig: {
      NetworkMode: 'none',
      Binds: [`${hostMounts}:/mounts:rshared`],
      LogConfig: smallLog,
      CapDrop: ['ALL'],
      CapAdd: ['SYS_ADMIN'],
      SecurityOpt: ['no-new-privileges', ...mountSecurity(security)],
    },
  },
})

/** Detaches a loop device whose file is gone. */
export const releaseLoopContainer = (loop: string, { image }: DoctorPlace): ContainerSpec => ({
  name: 'openebs-release',
  body: {
    Image: image,
    Cmd: ['openebs-release', 'loop', loop],
    Labels: ofNoVolume,
    HostConfig: {
      NetworkMode: 'none',
      LogConfig: smallLog,
      CapDrop: ['ALL'],
      CapAdd: ['MKNOD'],
      DeviceCgroupRules: ['b 7:* rwm'],
      SecurityOpt: ['no-new-privileges'],
    },
  },
})
