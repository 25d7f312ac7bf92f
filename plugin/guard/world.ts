import type { EffectivePolicy } from '../../registry/policy.ts'
import type { ReadLink } from './host-links.ts'

/** What a container of ours is for. */
export type Role = 'target' | 'initiator' | 'iscsid' | 'etcd' | 'registrator'

/** A container that is guarded. `id` is empty while it is not known. */
export interface Guarded {
  readonly id: string
  readonly name: string
  readonly role: Role
  /** Of a target or an initiator. */
  readonly volume?: string
}

/** A folder of the host. */
export interface Held {
  /** Absolute, without a slash at the end. */
  readonly path: string
  readonly holds: 'volumes' | 'the registry'
}

/** What of the host holds storage. */
export interface Ground {
  /** The folder of the volumes, the plugin's own, etcd's. */
  readonly paths: readonly Held[]
  /** Names of Docker volumes that belong to us alone, such as etcd's. */
  readonly volumes: readonly string[]
}

/** What decisions rest on. All of it is in memory, but for what the Engine alone can tell. */
export interface World {
  readonly host: string
  /** As of now: how far the guard of containers that are made reaches, and what is excepted; see reach.ts. */
  policy: () => Pick<EffectivePolicy, 'reach' | 'exceptions'>
  /** Where its links lead is part of it, as of some seconds ago. */
  ground: () => Promise<Ground>
  /** The plugin: names that it has wherever it was installed as the documents say, and its ID. */
  readonly plugin: { readonly names: readonly string[]; readonly id: string }
  /** Image of the VSMs. */
  readonly image: string
  guarded: () => readonly Guarded[]
  /** Volumes of this host that are placed here. */
  volumes: () => readonly string[]
  /** The other host that a volume is placed on, as far as is known here. */
  elsewhere: (volume: string) => string | undefined
  /** Whether a container of this host uses the volume now; every volume, if none is named. */
  isUsed: (volume?: string) => boolean
  /** Names of the containers that use a volume: for a message, asked of the Engine. */
  users: (volume: string) => Promise<readonly string[]>
  /** ID of the container that a reference means: asked of the Engine. Undefined where there is none. */
  resolve: (reference: string) => Promise<string | undefined>
  /** ID of the image that a reference means: asked of the Engine. Undefined where there is none. */
  imageOf: (reference: string) => Promise<string | undefined>
  /** ID of the plugin that a reference means: asked of the Engine. Undefined where there is none. */
  pluginOf: (reference: string) => Promise<string | undefined>
  /** ID of the container that an exec instance is of; undefined where there is none. */
  execOf: (exec: string) => Promise<string | undefined>
  /** Symbolic links of the host. */
  readLink: ReadLink
  /** What a Docker volume is made of: asked of the Engine. Undefined where there is none of that name. */
  volumeOf: (name: string) => Promise<{ driver: string; options: unknown } | undefined>
  /** IDs of containers that do not run, and so would go by a prune. */
  stopped: () => Promise<readonly string[]>
}
