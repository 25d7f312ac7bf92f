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
import { releaseMountContainer } from './doctor/bodies.ts'
import type { Engine } from './engine.ts'

export const iscsidName = 'openebs-iscsid'

/** Seconds that the Engine waits after SIGTERM: longer than an initiator, which logs out by it. */
const stopTimeout = 140

export interface IscsidSettings {
  /** The choice of the operator. */
  choice: AttachChoice
  host: string
  image: string
  /** /info's SecurityOptions. */
  security: readonly string[]
}

/** The container of the one iscsid of this kernel. Pure; docs/security.md says why it has what it has. */
export const iscsidContainer = ({
  host,
  image,
  security,
}: Pick<IscsidSettings, 'host' | 'image' | 'security'>): ContainerSpec => ({
  name: iscsidName,
  body: {
    Image: image,
    Cmd: ['openebs-iscsid'],
    Labels: {
      [labels.role]: 'iscsid',
      [uuidLabel]: noVolume,
      // not the image: its stop waits for the sessions, and nobody is to wait for that because of an upgrade
      [madeForLabel]: initiatorIqn(host),
    },
    Env: [`OPENEBS_INITIATOR=${initiatorIqn(host)}`, `OPENEBS_STOP_WAIT=${stopTimeout - 10}`],
    StopTimeout: stopTimeout,
    HostConfig: {
      NetworkMode: 'host',
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
      // the kernel shows what it logged in with, and its handle for orders, to nobody else, and iscsiadm ends without a word
      CapAdd: ['SYS_ADMIN'],
      SecurityOpt: ['no-new-privileges', ...mountSecurity(security)],
    },
  },
})

/** Attaching by the kernel: who may, and the iscsid that all its sessions share. Every call can be repeated. */
export class Iscsid {
  readonly #engine: Engine
  readonly #settings: IscsidSettings
  readonly #log: Log
  #ensuring: Promise<string> | undefined

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

  /** Has iscsid run. All volumes share it: one at a time makes it. */
  async ensure(): Promise<void> {
    this.#ensuring ??= this.#engine.ensure(iscsidContainer(this.#settings)).finally(() => {
      this.#ensuring = undefined
    })
    await this.#ensuring
  }

  /** Has iscsid run if the kernel is logged in to this target: without it, a session that breaks stays broken. */
  async tend(iqn: string): Promise<void> {
    if ((await loggedIn()).includes(iqn)) await this.ensure()
  }

  /** Unmounts and logs out of what a killed initiator left. What has its file system gets errors from then on. */
  async forget(volume: Pick<Volume, 'name' | 'uuid'>, iqn: string, hostMounts: string): Promise<void> {
    if (!(await loggedIn()).includes(iqn)) return
    this.#log.info({ volume: volume.name, iqn }, 'logging out of what no initiator has any more')
    await this.ensure()
    const { body } = releaseMountContainer(volume.name, { ...this.#settings, hostMounts })
    // a name of its own: another that is made for another volume meanwhile would end it
    const mount = { name: `openebs-release-${volume.name}`, body }
    await this.#engine.runOnce(mount, `unmount what is left of volume ${volume.name}`)
    await this.#engine.runOnce(logoutContainer(volume, iqn, this.#settings), `log out of ${iqn}`)
  }
}
