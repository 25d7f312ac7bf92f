import { spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pause, until } from '../process/backoff.ts'
import { explain, Failure, isFailure } from '../process/failure.ts'
import { aborted } from '../process/lifecycle.ts'
import type { Target, Volume } from '../registry/records.ts'
import { targetIqn } from '../vsm/iqn.ts'
import type { Way } from './attach.ts'
import { initiatorContainer, initiatorName, uuidLabel } from './container-bodies.ts'
import type { Engine } from './engine.ts'
import type { Iscsid } from './iscsid.ts'
import { askToMountAgain, type Served, served } from './mount-table.ts'

/** For how long after our start the Engine may still unmount what it had, in ms. */
const settling = 3000

/**
 * Whether containers can be given a mount, at `at`, by a plugin that was `started` then (ms since 1970). An Engine that disables a
 * plugin unmounts its folder after it has said so: where it is enabled at once, that may take the mount of an initiator that ran
 * all the time away again, between our answer and the container's start. Pure.
 */
export const canBeGiven = (
  { visible, since }: Pick<Served, 'visible' | 'since'>,
  { started, at }: { started: number; at: number },
): boolean => visible && (since >= started || at - started >= settling)

/** For how long after our start an Engine may give us up if we end, in ms. */
const givenUpWithin = 10_000

/**
 * Whether a plugin that was `started` then (ms since 1970) has to be started anew: an initiator that began later mounts in the
 * host's folder, and ours is another. So it is for good where the Engine unmounts the folder of the former plugin so late that
 * it is about to start this one. Pure.
 */
export const isCutOff = (
  { elsewhere }: Pick<Served, 'elsewhere'>,
  { started, at }: { started: number; at: number },
): boolean => elsewhere !== undefined && elsewhere.began > started && at - started >= givenUpWithin

export interface InitiatorSettings {
  host: string
  /** Folder of the mounts as the plugin sees it, and as the host does. */
  mounts: string
  hostMounts: string
  /** The host's folder that holds a folder with the CHAP passwords of each volume. */
  hostSecrets: string
  image: string
  security: readonly string[]
  /** Has the volume's password stand there. */
  secret: (volume: Volume, target: Target) => Promise<unknown>
  iscsid: Iscsid
  /** Told the id of every initiator that was made or found. */
  learned: (volume: string, id: string) => void
  /** Has the plugin started anew, as it cannot see where this volume is mounted. */
  cutOff: (volume: string) => void
}

/** Attaches and mounts volumes on this host, through a container of its own per volume. Every call can be repeated. */
export class Initiators {
  readonly #engine: Engine
  readonly #settings: InitiatorSettings

  constructor(engine: Engine, settings: InitiatorSettings) {
    this.#engine = engine
    this.#settings = settings
  }

  /** What containers of the Engine get: a folder inside the file system, so that a lost mount is a missing path. */
  mountpoint(volume: string): string {
    return join(this.#settings.mounts, volume, 'data')
  }

  /** In ms since 1970; undefined where no initiator serves the mount now. */
  async servedSince(volume: string): Promise<number | undefined> {
    return (await this.now(volume))?.since
  }

  /** How it is served; undefined where no initiator does now. */
  async now(volume: string): Promise<Served | undefined> {
    const now = await served(this.#settings.mounts, volume)
    if (now && isCutOff(now, { started: performance.timeOrigin, at: Date.now() }))
      this.#settings.cutOff(volume)
    return now
  }

  /** Whether containers can be given the mount. */
  async #isServed(volume: string): Promise<boolean> {
    const now = await this.now(volume)
    return now !== undefined && canBeGiven(now, { started: performance.timeOrigin, at: Date.now() })
  }

  /**
   * Has a mount shown again that is served, but not seen here: an Engine that disables the plugin or restarts unmounts it in
   * the plugin's folder, and a container that uses it goes on. Does nothing where it is seen, or where none is served.
   */
  async showAgain(volume: string): Promise<void> {
    const at = Date.now()
    const now = await this.now(volume)
    if (now && !now.visible) await askToMountAgain(this.#settings.mounts, volume, at)
  }

  /**
   * Has the containers of a volume made, by `makeTarget` and by us, as soon as the Engine serves its API. While the Engine
   * restores containers it does not, and waits for this very call: then both come up by themselves, by their restart
   * policy, and this only watches until the volume is served, or `end` has come. Nothing of it goes on when it has ended.
   * Resolves with what stood in the way; rejects with `denied` where the way to attach that was asked for cannot be had.
   */
  async make(volume: Volume, end: number, makeTarget: () => Promise<Target>): Promise<unknown> {
    if (await this.#isServed(volume.name)) return undefined
    const done = new AbortController()
    let obstacle: unknown
    const making = this.#make(volume, makeTarget, done.signal, (error) => {
      obstacle = error
    })
    const served = this.#served(volume.name, end, done.signal)
    try {
      await Promise.race([making, served])
    } finally {
      done.abort()
      await Promise.allSettled([making, served])
    }
    if (isFailure(obstacle, 'denied')) throw obstacle
    return obstacle
  }

  /**
   * Waits until the volume is mounted here. Rejects with `unavailable` when that does not come until `end`, `ms` after the
   * call began, saying what stood in the way.
   */
  async awaitServed(
    volume: Volume,
    { ms, end, obstacle }: { ms: number; end: number; obstacle?: unknown },
  ): Promise<void> {
    if (await this.#served(volume.name, end)) return
    const reason = obstacle ? explain(obstacle) : await this.#said(volume.name)
    throw new Failure(
      'unavailable',
      `volume ${volume.name} is not mounted after ${Math.round(ms / 1000)} s: ${reason}`,
    )
  }

  #served(volume: string, end: number, signal?: AbortSignal): Promise<true | undefined> {
    const probe = async () => ((await this.#isServed(volume)) ? true : undefined)
    return until(probe, { ms: end - performance.now(), ...(signal && { signal }) })
  }

  /** Has the id of a running initiator known, whoever started it. */
  async learn(volume: string): Promise<void> {
    const found = await this.#engine.find(initiatorName(volume))
    if (found) this.#settings.learned(volume, found.Id)
  }

  /** Has what keeps the volume attached run, beside the initiator, whoever ended it. */
  async tend({ name }: Volume): Promise<void> {
    await this.#settings.iscsid.tend(targetIqn(name))
  }

  async #make(
    volume: Volume,
    makeTarget: () => Promise<Target>,
    signal: AbortSignal,
    onError: (error: unknown) => void,
  ): Promise<void> {
    const ended = aborted(signal).then(() => false)
    while (!signal.aborted)
      try {
        // also while the Engine restores containers
        await this.showAgain(volume.name)
        if (await Promise.race([this.#engine.answers(), ended])) {
          const current = await makeTarget()
          if (signal.aborted) return
          await this.#settings.secret(volume, current)
          await this.#makeMountpoint(volume.name)
          const way = await this.#settings.iscsid.wayFor(current.iqn)
          if (way === 'kernel') await this.#settings.iscsid.ensure()
          const id = await this.#engine.ensure(this.#container(volume, current, way))
          this.#settings.learned(volume.name, id)
          await this.showAgain(volume.name)
          return
        }
        onError(new Failure('unavailable', 'the Docker Engine serves no API yet'))
        await pause(500, signal)
      } catch (error) {
        onError(error)
        if (!isFailure(error, 'unavailable')) return
        await pause(500, signal)
      }
  }

  /** One that is there is not looked at: what a killed initiator left on it, an XFS say, answers nothing but errors. */
  async #makeMountpoint(volume: string): Promise<void> {
    const { mounts } = this.#settings
    await mkdir(mounts, { recursive: true })
    await mkdir(join(mounts, volume)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  }

  async #said(volume: string): Promise<string> {
    try {
      const now = await this.now(volume)
      if (now) return unseen(volume, now)
      return (
        (await this.#engine.lastError(initiatorName(volume))) ?? `see: docker logs ${initiatorName(volume)}`
      )
    } catch (error) {
      return explain(error)
    }
  }

  /**
   * Unmounts, logs out and removes the container, which waits until nothing holds the file system any more. One that was
   * killed could not log out.
   */
  async remove(volume: Volume): Promise<void> {
    await this.#engine.remove({
      name: initiatorName(volume.name),
      body: { Labels: { [uuidLabel]: volume.uuid } },
    })
    await this.#settings.iscsid.forget(volume, targetIqn(volume.name), this.#settings.hostMounts)
  }

  /**
   * Has a LUN that has grown taken over by what is mounted. Resolves with undefined when the file system has grown, and with
   * the reason where that has to wait for the next attach.
   */
  async resize(volume: string, size: number): Promise<string | undefined> {
    const doing = `grow the mounted volume ${volume}`
    const said = await this.#engine.exec(initiatorName(volume), ['openebs-resize', String(size)], doing)
    if (/^grown$/m.test(said)) return undefined
    return /^at the next attach: (.*)$/m.exec(said)?.[1] ?? said.trim()
  }

  /** Writes what is in memory of this volume's file system to the target: syncfs(2) by sync(1), as Node has none. */
  async flush(volume: string): Promise<void> {
    await run('sync', '--file-system', this.mountpoint(volume))
  }

  /**
   * Bytes that the file system of a served mount has in use: statfs(2), by stat(1). A mount whose target is gone may hang,
   * and then this does not end: in a process of its own it holds none of the few threads that Node has for files.
   * `unavailable` where the mount is not seen here.
   */
  async used(volume: string): Promise<number> {
    if (!(await this.#isServed(volume))) throw new Failure('unavailable', `volume ${volume} is not mounted`)
    const root = join(this.#settings.mounts, volume)
    const [size = 0, all = 0, free = 0] = (await run('stat', '--file-system', '--format=%S %b %f', root))
      .split(' ')
      .map(Number)
    return (all - free) * size
  }

  #container(volume: Volume, target: Target, way: Way) {
    const { host, hostMounts, hostSecrets, image, security } = this.#settings
    return initiatorContainer(
      volume,
      target,
      host,
      { mounts: hostMounts, secrets: hostSecrets },
      image,
      security,
      way,
    )
  }
}

/** Why a mount that is served is not seen here. */
const unseen = (volume: string, { visible, elsewhere }: Served): string => {
  if (visible) return 'it was, a moment later: try again'
  if (elsewhere && elsewhere.began > performance.timeOrigin)
    return `it is by ${initiatorName(volume)}, and the plugin, which is cut off from the folder for it, is about to be started anew: try again`
  const folder = elsewhere
    ? `, which mounts it in another folder than the plugin's (peer group ${elsewhere.group})`
    : ''
  return `it is by ${initiatorName(volume)}${folder}, and the plugin does not see it: docker restart ${initiatorName(volume)} when no container uses the volume`
}

/** What a program prints. Rejects with `unavailable` when it ends with a status other than 0. */
const run = (program: string, ...args: string[]): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] })
    let printed = ''
    child.stdout.on('data', (chunk: Buffer) => (printed += chunk))
    child.once('error', reject).once('close', (code) => {
      if (code === 0) resolve(printed)
      else reject(new Failure('unavailable', `${program} ${args.at(-1)} ended with status ${code}`))
    })
  })
