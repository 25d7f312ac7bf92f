import type { Volume } from '../../registry/records.ts'
import type { LocalVolume } from '../local-copy.ts'

/** Names of containers that are ours to make: "vsm-data" is the target of volume "data". */
export const ownName = /^(?<kind>vsm|initiator|openebs-erase)-(?<volume>[a-zA-Z0-9][a-zA-Z0-9_.-]{1,63})$/

/** A container that has a name as ours have; whose it is its labels say, which anybody can set. */
export interface FoundContainer {
  id: string
  name: string
  labels: Readonly<Record<string, string>>
  /** created, running, paused, restarting, removing, exited or dead. */
  state: string
  /** ms since 1970. */
  created: number
}

/** A mount in the folder where initiators mount. */
export interface FoundMount {
  volume: string
  type: string
  source: string
  /** An initiator holds its status file. */
  served: boolean
}

/** A loop device of this kernel. */
export interface FoundLoop {
  /** "loop3". */
  name: string
  /** As the kernel shows it; "/" where it was the root of a mount that is gone, as an initiator's FUSE file is. */
  file: string
  /** It detaches itself after its last user. */
  autoclear: boolean
  /** Requests are under way, which may never end. */
  busy: boolean
}

/** A folder below OPENEBS_ROOT with a marker of ours, or of a volume's name. */
export interface FoundFolder {
  name: string
  /** `none`: there is no file of ours in it. */
  marker: 'volume' | 'provisioning' | 'erasing' | 'none'
  /** What the marker says; undefined where that cannot be read. */
  uuid?: string | undefined
  volume?: string | undefined
  /** Bytes on the disk. */
  used: number
  /** ms since 1970. */
  changed: number
}

/** What the store says of volumes; `isOther` as in KnownRegistry. */
export interface Registered {
  isOther: boolean
  volumes: readonly Volume[]
  /** Keys below volumes/ that this version cannot read. */
  unreadable: readonly string[]
}

/** Everything that a doctor goes by, as of one look. */
export interface Facts {
  host: string
  /** OPENEBS_ROOT. */
  root: string
  /** ms since 1970. */
  now: number
  volumes: readonly LocalVolume[]
  /** Names of those whose local record is damaged. */
  damaged: readonly string[]
  /** Or why the store cannot be read. */
  registered: Registered | string
  containers: readonly FoundContainer[]
  mounts: readonly FoundMount[]
  loops: readonly FoundLoop[]
  /** Or why they cannot be read; undefined where nobody looked. */
  folders: readonly FoundFolder[] | string | undefined
  /** Running containers by the volume that they use, of volumes that containers or mounts above name. */
  users: ReadonlyMap<string, readonly string[]>
  guard: {
    /** Our name as the Engine has it among its authorization plugins at its start; undefined where it has not. */
    listed: string | undefined
    /** The Engine asked us about a call that we made just now. */
    asked: boolean
  }
}
