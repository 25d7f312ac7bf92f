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

  /** Makes the container, has it make the LUN, and waits until the portal takes connections. */
  async provision(volume: Volume, taken: ReadonlySet<number>): Promise<Target> {
    const used = new Set(taken)
    for (;;) {
      const target = await this.#plan(volume, used)
      try {
        const containerId = await this.#engine.ensure(this.#container(volume, target))
        const doing = `make the LUN of volume ${volume.name}`
        await this.#engine.exec(containerId, ['openebs-provision'], doing, await this.#login(volume, target))
        await this.#awaitPortal(target)
        return { ...target, containerId }
      } catch (error) {
        if (!isPortTaken(error)) throw error
        // between our look and the Engine's bind another process took the port
        used.add(Number(splitPortal(target.portal)[1]))
        await this.#engine.remove(this.#container(volume, target))
      }
    }
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

  /** Removes container and data. Data that are not this volume's are not touched: `invalid`. */
  async remove(volume: Volume): Promise<void> {
    const { root, image, security } = this.#settings
    await this.#engine.remove({ name: targetName(volume.name), body: { Labels: labelsOf(volume) } })
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
    const { host, portalAddress, publicAddress, ports } = this.#settings
    // nobody from beyond this host reaches what anybody may log in to
    const address = volume.spec.chap && publicAddress ? publicAddress : portalAddress
    return {
      volume: volume.name,
      host,
      uuid: volume.uuid,
      iqn: targetIqn(volume.name),
      portal: await pickPortal(address, ports, taken),
      epoch: 1,
      phase: 'ready',
      container: targetName(volume.name),
      containerId: '',
    }
  }

  async #awaitPortal({ portal }: Target): Promise<void> {
    const [host, port] = splitPortal(portal)
    const open = await until(() => connects(host, Number(port)), { ms: 10_000 })
    if (!open)
      throw new Failure(
        'unavailable',
        `portal ${portal} takes no connection after 10 s: is a firewall in between?`,
      )
  }
}

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
