import { connect } from 'node:net'
import { until } from '../process/backoff.ts'
import { Failure, isFailure } from '../process/failure.ts'
import type { Target, Volume } from '../registry/records.ts'
import { chapLine, parseChapLine } from '../vsm/chap.ts'
import { targetIqn } from '../vsm/iqn.ts'
import { eraseContainer, splitPortal, targetContainer, targetName } from './container-bodies.ts'
import type { Engine } from './engine.ts'
import { pickPortal } from './portals.ts'

export interface TargetSettings {
  host: string
  portalAddress: string
  /** Where portals of volumes with CHAP are, if they are to be reached from beyond this host. */
  publicAddress?: string | undefined
  ports: { first: number; last: number }
  root: string
  image: string
  /** /info's SecurityOptions. */
  security: readonly string[]
  /** The CHAP password for a new volume; undefined for one without. */
  password: (volume: Volume, epoch: number) => Promise<string | undefined>
}

/** Targets of this host: the container that serves a volume, and the data behind it. Every call can be repeated. */
export class Targets {
  readonly #engine: Engine
  readonly #settings: TargetSettings

  constructor(engine: Engine, settings: TargetSettings) {
    this.#engine = engine
    this.#settings = settings
  }

  /** Has the container of a new target run, on a port that no one has. */
  async start(volume: Volume, taken: ReadonlySet<number>): Promise<Target> {
    const used = new Set(taken)
    for (;;) {
      const target = await this.#plan(volume, used)
      try {
        return { ...target, containerId: await this.#engine.ensure(this.#container(volume, target)) }
      } catch (error) {
        if (!isPortTaken(error)) throw error
        // between our look and the Engine's bind another process took the port
        used.add(Number(splitPortal(target.portal)[1]))
        await this.#engine.remove(this.#container(volume, target))
      }
    }
  }

  async makeLun(volume: Volume, target: Target): Promise<void> {
    const doing = `make the LUN of volume ${volume.name}`
    const login = await this.#login(volume, target)
    await this.#engine.exec(target.containerId, ['openebs-provision'], doing, login)
  }

  /** Rejects with `invalid` where the disk has no space for a LUN of so many bytes, or it is larger already. */
  async checkGrowth(volume: Volume, target: Target, size: number): Promise<void> {
    await this.#grow(volume, target, '--check', String(size))
  }

  /** Has the LUN be served with so many bytes. Rejects with `invalid` where that cannot be, and then it is as it was. */
  async growLun(volume: Volume, target: Target, size: number): Promise<void> {
    await this.#grow(volume, target, String(size))
  }

  async #grow({ name }: Volume, { containerId }: Target, ...args: string[]): Promise<void> {
    await this.#engine.exec(containerId, ['openebs-grow', ...args], `grow the LUN of volume ${name}`)
  }

  /** Has the container of a ready target exist and run; returns the record as it is now. */
  async ensure(volume: Volume, target: Target): Promise<Target> {
    const containerId = await this.#engine.ensure(this.#container(volume, target))
    return containerId === target.containerId ? target : { ...target, containerId }
  }

  /** The CHAP password that the target has on its disk, for the epoch of the record. */
  async password({ container, epoch, volume }: Target): Promise<string | undefined> {
    const doing = `look for the CHAP password of volume ${volume}`
    try {
      const kept = parseChapLine(await this.#engine.exec(container, ['cat', '/lun/chap'], doing))
      return kept?.epoch === epoch ? kept.password : undefined
    } catch (error) {
      if (isFailure(error, 'invalid')) return undefined // there is no such file
      throw error
    }
  }

  async #login(volume: Volume, { epoch }: Target): Promise<string | undefined> {
    const password = await this.#settings.password(volume, epoch)
    return password === undefined ? undefined : chapLine(epoch, password)
  }

  /** Removes the container. */
  async remove(volume: Volume): Promise<void> {
    await this.#engine.remove({ name: targetName(volume.name), body: { Labels: labelsOf(volume) } })
  }

  /** Removes the data. Those that are not this volume's are not touched: `invalid`. */
  async erase(volume: Volume): Promise<void> {
    const { root, image, security } = this.#settings
    await this.#engine.runOnce(
      eraseContainer(volume, root, image, security),
      `erase the data of volume ${volume.name}`,
    )
  }

  #container(volume: Volume, target: Target) {
    const { root, image, security } = this.#settings
    return targetContainer(volume, target, root, image, security)
  }

  async #plan(volume: Volume, taken: ReadonlySet<number>): Promise<Target> {
    const { host, ports } = this.#settings
    return {
      volume: volume.name,
      host,
      uuid: volume.uuid,
      iqn: targetIqn(volume.name),
      portal: await pickPortal(addressFor(volume, this.#settings), ports, taken),
      epoch: 1,
      phase: 'ready',
      container: targetName(volume.name),
      containerId: '',
    }
  }

  /** Waits until the portal takes connections. */
  async awaitPortal({ portal }: Target): Promise<void> {
    const [host, port] = splitPortal(portal)
    const open = await until(() => connects(host, Number(port)), { ms: 10_000 })
    if (!open)
      throw new Failure(
        'unavailable',
        `portal ${portal} takes no connection after 10 s: is a firewall in between?`,
      )
  }
}

/** Nobody from beyond this host reaches what anybody may log in to. */
export const addressFor = (
  { spec }: Pick<Volume, 'spec'>,
  { portalAddress, publicAddress }: Pick<TargetSettings, 'portalAddress' | 'publicAddress'>,
): string => (spec.chap && publicAddress ? publicAddress : portalAddress)

const labelsOf = (volume: Volume) => ({ 'openebs.uuid': volume.uuid })

const isPortTaken = (error: unknown): boolean =>
  isFailure(error) &&
  /port is already allocated|address already in use/i.test(
    String((error.cause as Error | undefined)?.message),
  )

const connects = (host: string, port: number): Promise<true | undefined> =>
  new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1_000 })
    const end = (result: true | undefined) => {
      socket.destroy()
      resolve(result)
    }
    socket
      .once('connect', () => end(true))
      .once('error', () => end(undefined))
      .once('timeout', () => end(undefined))
  })
