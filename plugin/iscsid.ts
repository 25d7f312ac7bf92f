import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '../process/log.ts'
import type { Volume } from '../registry/records.ts'
import { initiatorIqn } from '../vsm/iqn.ts'
import { labels } from '../vsm/labels.ts'
import { type AttachChoice, chooseWay, loggedIn, readKernel, type Way } from './attach.ts'
import {
  type ContainerSpec,
  madeForLabel,
  mountSecurity,
  noVolume,
  smallLog,
  uuidLabel,
} from './container-bodies.ts'
import type { Engine } from './engine.ts'

export const iscsidName = 'openebs-iscsid'

/** Seconds that the Engine waits after SIGTERM: longer than an initiator, which logs out by it. */
const stopTimeout = 140

export interface IscsidSettings {
  /** The choice of the operator. */
  choice: AttachChoice
  host: string
  /** Folder with a folder per volume, by its UUID, of what is needed to log in; as the plugin sees it, and as the host does. */
  records: string
  hostRecords: string
  image: string
  /** /info's SecurityOptions. */
  security: readonly string[]
}

/** The container of the one iscsid of this kernel. Pure; docs/security.md says why it has what it has. */
export const iscsidContainer = ({
  host,
  hostRecords,
  image,
  security,
}: Pick<IscsidSettings, 'host' | 'hostRecords' | 'image' | 'security'>): ContainerSpec => ({
  name: iscsidName,
  body: {
    Image: image,
    Cmd: ['openebs-iscsid'],
    Labels: {
      [labels.role]: 'iscsid',
      [uuidLabel]: noVolume,
      [madeForLabel]: `${initiatorIqn(host)} with ${hostRecords} of ${image}`,
    },
    Env: [`OPENEBS_INITIATOR=${initiatorIqn(host)}`, `OPENEBS_STOP_WAIT=${stopTimeout - 10}`],
    StopTimeout: stopTimeout,
    HostConfig: {
      NetworkMode: 'host',
      Binds: [`${hostRecords}:/records:ro`],
      RestartPolicy: { Name: 'always' },
      LogConfig: smallLog,
      CapDrop: ['ALL'],
      CapAdd: ['SYS_ADMIN', 'NET_ADMIN', 'SETGID', 'SYS_RESOURCE', 'IPC_LOCK'],
      SecurityOpt: ['no-new-privileges', ...mountSecurity(security)],
    },
  },
})

/** One-shot container that has the kernel log out of a target, of which no initiator is left that could. */
export const logoutContainer = (
  volume: Pick<Volume, 'name' | 'uuid'>,
  iqn: string,
  { image, security }: Pick<IscsidSettings, 'image' | 'security'>,
): ContainerSpec => ({
  name: `openebs-logout-${volume.name}`,
  body: {
    Image: image,
    Cmd: ['openebs-release', 'session', iqn],
    Labels: { [uuidLabel]: volume.uuid, [labels.volume]: volume.name },
    HostConfig: {
      NetworkMode: 'host',
      LogConfig: smallLog,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges', ...mountSecurity(security)],
    },
  },
})

/** Attaching by the kernel: who may, and the iscsid that all its sessions share. Every call can be repeated. */
export class Iscsid {
  readonly #engine: Engine
  readonly #settings: IscsidSettings
  readonly #log: Log

  constructor(engine: Engine, settings: IscsidSettings, log: Log) {
    this.#engine = engine
    this.#settings = settings
    this.#log = log
  }

  /** The way in which a volume is attached that is not now. Rejects with `denied` where the chosen one cannot be had. */
  async wayFor(iqn: string): Promise<Way> {
    const kernel = await readKernel(iqn)
    const mayMatter = kernel.hasTransport && this.#settings.choice !== 'userspace'
    const hasOwnIscsid = mayMatter && (await this.#engine.find(iscsidName)) !== undefined
    return chooseWay(this.#settings.choice, { ...kernel, hasOwnIscsid })
  }

  /** Has iscsid run, and the folder be there in which the volume's initiator puts what is needed to log in. */
  async prepare({ uuid }: Pick<Volume, 'uuid'>): Promise<void> {
    await mkdir(join(this.#settings.records, uuid), { recursive: true, mode: 0o700 })
    await this.#engine.ensure(iscsidContainer(this.#settings))
  }

  /** Has iscsid run if the kernel is logged in to this target: without it, a session that breaks stays broken. */
  async tend(iqn: string): Promise<void> {
    if ((await loggedIn()).includes(iqn)) await this.#engine.ensure(iscsidContainer(this.#settings))
  }

  /** Logs out of what a killed initiator left, and removes the record. What has its file system gets errors from then on. */
  async forget(volume: Pick<Volume, 'name' | 'uuid'>, iqn: string): Promise<void> {
    if ((await loggedIn()).includes(iqn)) {
      this.#log.info({ volume: volume.name, iqn }, 'logging out of what no initiator has any more')
      await this.#engine.ensure(iscsidContainer(this.#settings))
      await this.#engine.runOnce(logoutContainer(volume, iqn, this.#settings), `log out of ${iqn}`)
    }
    await rm(join(this.#settings.records, volume.uuid), { recursive: true, force: true })
  }
}
