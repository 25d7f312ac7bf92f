import { createReadStream } from 'node:fs'
import { access } from 'node:fs/promises'
import { PassThrough } from 'node:stream'
import { finished } from 'node:stream/promises'
import { z } from 'zod'
import { bounded, callDocker, type Docker, statusOf } from '../docker/client.ts'
import { Failure, isFailure } from '../process/failure.ts'
import { type ContainerSpec, madeForLabel, uuidLabel, wayLabel } from './container-bodies.ts'
import {
  Bridge,
  failureOf,
  firstAddress,
  Info,
  Inspected,
  Listed,
  printed,
  Stopped,
} from './engine-answers.ts'
import type { StoppedContainer } from './revival.ts'
import type { Holder } from './volume-health.ts'

/** Limits in ms. A quick call that takes longer means that the Engine is not serving. */
const quick = 5_000
const patient = 20_000

/**
 * The Docker Engine as the plugin needs it: containers of ours, made and removed so that each call can be repeated.
 * All calls end in time and reject with a Failure.
 */
export class Engine {
  readonly #docker: Docker

  constructor(docker: Docker) {
    this.#docker = docker
  }

  /** False while the Engine restores containers at its start (no API then), hangs or is away. */
  async answers(ms = 1_000): Promise<boolean> {
    try {
      // ended with its limit: what hangs would hold one of few connections
      await callDocker('ping', ms, (signal) => bounded(this.#docker.ping, this.#docker, signal))
      return true
    } catch (error) {
      if (isFailure(error)) return false
      throw error
    }
  }

  async info(): Promise<Info> {
    const doing = 'ask the Engine for its name'
    const info = Info.safeParse(
      await callDocker(doing, quick, (signal) => bounded(this.#docker.info, this.#docker, signal)),
    )
    if (info.success) return info.data
    throw new Failure('invalid', `${doing}: its answer cannot be read`, info.error)
  }

  /** Address of the default bridge on this host, where only this host reaches a published port; undefined without one. */
  async bridgeAddress(): Promise<string | undefined> {
    try {
      const bridge: unknown = await callDocker('inspect the default bridge', quick, () =>
        this.#docker.getNetwork('bridge').inspect(),
      )
      const { IPAM } = Bridge.parse(bridge)
      const config = IPAM.Config?.find(({ Subnet }) => Subnet.includes('.'))
      return config && (config.Gateway ?? firstAddress(config.Subnet))
    } catch (error) {
      if (isFailure(error, 'not-found')) return undefined
      throw error
    }
  }

  async find(name: string): Promise<Inspected | undefined> {
    try {
      const found: unknown = await callDocker(`inspect container ${name}`, quick, (abortSignal) =>
        this.#docker.getContainer(name).inspect({ abortSignal }),
      )
      return Inspected.parse(found)
    } catch (error) {
      if (isFailure(error, 'not-found')) return undefined
      throw error
    }
  }

  /**
   * Makes the container exist, belong to this volume and run; returns its id. One of the same name that is another's
   * is not touched: `in-use`. One of ours that was made for other settings is replaced; one that attaches in another way, when
   * it does not run.
   */
  async ensure(spec: ContainerSpec): Promise<string> {
    const found = await this.find(spec.name)
    if (found) {
      if (!isOurs(spec, found))
        throw new Failure(
          'in-use',
          `a container named ${spec.name} exists that this volume did not make: rename or remove it`,
        )
      const mine = isMadeFor(spec, found) && (isAtWork(found) || isSameWay(spec, found))
      if (mine && found.State.Running) return found.Id
      if (mine) {
        await this.#start(spec.name, found.Id)
        return found.Id
      }
      await this.remove(spec)
    }
    const id = await this.#create(spec)
    await this.#start(spec.name, id)
    return id
  }

  /**
   * Ends and removes the container, giving it its own stop timeout. Gone already is fine, and so is another's of that
   * name: it is not ours to remove.
   */
  async remove(spec: ContainerSpec, ms = patient): Promise<void> {
    const found = await this.find(spec.name)
    if (!found || !isOurs(spec, found)) return
    const container = this.#docker.getContainer(found.Id)
    const gone = (error: unknown) => {
      if (!isFailure(error, 'not-found')) throw error
    }
    if (found.State.Running)
      await callDocker(`stop container ${spec.name}`, ms, (abortSignal) =>
        container.stop({ abortSignal }),
      ).catch((error: unknown) => {
        // 304: it had stopped already
        if ((error as { cause?: { statusCode?: number } }).cause?.statusCode !== 304) gone(error)
      })
    await callDocker(`remove container ${spec.name}`, ms, (abortSignal) =>
      container.remove({ force: true, v: true, abortSignal }),
    ).catch(gone)
  }

  /**
   * Runs a command in a running container and returns what it printed. `input` comes on its standard input: in arguments and
   * environment anybody could read it. A status other than 0 is `invalid` with what it said of the error, or `unavailable` where
   * it is to be repeated.
   */
  async exec(id: string, command: string[], doing: string, input?: string): Promise<string> {
    const hasInput = input !== undefined
    const exec = await callDocker(doing, quick, (abortSignal) =>
      this.#docker.getContainer(id).exec({
        Cmd: command,
        AttachStdin: hasInput,
        AttachStdout: true,
        AttachStderr: true,
        abortSignal,
      }),
    )
    const said = await callDocker(doing, patient, async (abortSignal) => {
      const how = { Detach: false, Tty: false, hijack: hasInput, stdin: hasInput, abortSignal }
      const stream = await exec.start(how)
      if (hasInput) stream.end(input)
      return this.#collect(stream)
    })
    const { ExitCode } = await callDocker(doing, quick, (abortSignal) => exec.inspect({ abortSignal }))
    const kind = failureOf(ExitCode)
    if (kind) throw new Failure(kind, errorLine(said) ?? `${doing}: ended with status ${ExitCode}`)
    return said
  }

  /** Runs a one-shot container to its end and removes it. */
  async runOnce(spec: ContainerSpec, doing: string): Promise<void> {
    await this.#runOnce(spec, doing, async () => {})
  }

  /** The same, and returns what it printed: its log must be one that can be read. */
  async output(spec: ContainerSpec, doing: string): Promise<string> {
    return this.#runOnce(spec, doing, async (id) =>
      printed(
        await callDocker(doing, quick, (abortSignal) =>
          this.#docker.getContainer(id).logs({ stdout: true, stderr: true, follow: false, abortSignal }),
        ),
      ),
    )
  }

  async #runOnce<T>(spec: ContainerSpec, doing: string, then: (id: string) => Promise<T>): Promise<T> {
    await this.remove(spec)
    const id = await this.#create(spec)
    const container = this.#docker.getContainer(id)
    try {
      await this.#start(spec.name, id)
      const { StatusCode } = z
        .object({ StatusCode: z.number() })
        .parse(await callDocker(doing, patient, (abortSignal) => container.wait({ abortSignal })))
      if (StatusCode !== 0)
        throw new Failure(
          'invalid',
          (await this.lastError(id)) ?? `${doing}: ended with status ${StatusCode}`,
        )
      return await then(id)
    } finally {
      await this.remove(spec)
    }
  }

  /** The last line that a container of ours logged as an error, else its last line. */
  async lastError(nameOrId: string): Promise<string | undefined> {
    const log = await callDocker(`read the log of ${nameOrId}`, quick, (abortSignal) =>
      this.#docker
        .getContainer(nameOrId)
        .logs({ stdout: true, stderr: true, tail: 20, follow: false, abortSignal }),
    )
    const text = log.toString('utf8')
    // each line of a log comes behind a header of eight bytes
    return errorLine(text) ?? text.trim().split('\n').at(-1)?.slice(8)
  }

  async hasImage(image: string): Promise<boolean> {
    try {
      await callDocker(`inspect image ${image}`, quick, () => this.#docker.getImage(image).inspect())
      return true
    } catch (error) {
      if (isFailure(error, 'not-found')) return false
      throw error
    }
  }

  /** Loads an image from a compressed tar when the Engine does not have it. */
  async ensureImage(image: string, tar: string): Promise<'there' | 'loaded'> {
    if (await this.hasImage(image)) return 'there'
    await access(tar).catch((error: unknown) => {
      throw new Failure(
        'not-found',
        `the Engine has no image ${image}, and the plugin brings none: pull or load it`,
        error,
      )
    })
    await callDocker(`load image ${image}`, 120_000, async () => {
      const progress = await this.#docker.loadImage(createReadStream(tar), { quiet: true })
      await finished(progress.resume())
    })
    return 'loaded'
  }

  /** Containers, running or not, one of whose names begins with one of these. */
  async named(beginnings: readonly string[]): Promise<Listed[]> {
    const listed: unknown = await callDocker('list containers by name', patient, (abortSignal) =>
      this.#docker.listContainers({ all: true, filters: { name: [...beginnings] }, abortSignal }),
    )
    return z.array(Listed).parse(listed)
  }

  /** What a plugin is called, as "openebs:latest". */
  async pluginName(id: string): Promise<string> {
    const found: unknown = await callDocker(`inspect plugin ${id}`, quick, () =>
      this.#docker.getPlugin(id, undefined).inspect(),
    )
    return z.object({ Name: z.string() }).parse(found).Name
  }

  /** Running (or paused, restarting) containers that use a volume, and since when each runs. */
  async holders(volume: string): Promise<Holder[]> {
    return Promise.all((await this.users(volume)).map((id) => this.#holder(id))).then((all) => all.flat())
  }

  /** None when it is gone by now. */
  async #holder(id: string): Promise<Holder[]> {
    const found = await this.find(id)
    return found ? [{ name: found.Name.replace(/^\//, ''), started: Date.parse(found.State.StartedAt) }] : []
  }

  /** Ids of running (or paused, restarting) containers that use a volume. */
  async users(volume: string): Promise<string[]> {
    const listed: unknown = await callDocker(
      `list the containers of volume ${volume}`,
      quick,
      (abortSignal) =>
        this.#docker.listContainers({
          filters: { volume: [volume], status: ['running', 'paused', 'restarting'] },
          abortSignal,
        }),
    )
    return z
      .array(z.object({ Id: z.string() }))
      .parse(listed)
      .map(({ Id }) => Id)
  }

  /** Containers that use a volume, do not run, and have not been asked to. */
  async stoppedUsers(volume: string): Promise<StoppedContainer[]> {
    const listed: unknown = await callDocker(
      `list the stopped containers of volume ${volume}`,
      quick,
      (abortSignal) =>
        this.#docker.listContainers({
          all: true,
          filters: { volume: [volume], status: ['exited', 'created'] },
          abortSignal,
        }),
    )
    const ids = z.array(z.object({ Id: z.string() })).parse(listed)
    return Promise.all(ids.map(({ Id }) => this.#stopped(Id)))
  }

  async #stopped(id: string): Promise<StoppedContainer> {
    const found: unknown = await callDocker(`inspect container ${id}`, quick, (abortSignal) =>
      this.#docker.getContainer(id).inspect({ abortSignal }),
    )
    const { Name, HostConfig, State } = Stopped.parse(found)
    return {
      id,
      name: Name.replace(/^\//, ''),
      restartPolicy: HostConfig.RestartPolicy.Name,
      error: State.Error,
    }
  }

  /** Starts a container of the user's: with its Mounts it may take as long as they may. */
  async start(id: string): Promise<void> {
    await this.#start(id, id, 2 * patient)
  }

  async #create(spec: ContainerSpec): Promise<string> {
    const container = await callDocker(`create container ${spec.name}`, patient, (abortSignal) =>
      this.#docker.createContainer({ name: spec.name, ...spec.body, abortSignal }),
    )
    return container.id
  }

  async #start(name: string, id: string, ms = patient): Promise<void> {
    await callDocker(`start container ${name}`, ms, (abortSignal) =>
      this.#docker.getContainer(id).start({ abortSignal }),
    ).catch((error: unknown) => {
      // 304: it runs already
      if (statusOf(error) !== 304) throw error
    })
  }

  async #collect(stream: NodeJS.ReadableStream): Promise<string> {
    const text = new PassThrough()
    const chunks: Buffer[] = []
    text.on('data', (chunk: Buffer) => chunks.push(chunk))
    this.#docker.modem.demuxStream(stream, text, text)
    await finished(stream)
    return Buffer.concat(chunks).toString('utf8')
  }
}

const isOurs = (spec: ContainerSpec, found: Inspected): boolean =>
  found.Config.Labels?.[uuidLabel] === spec.body.Labels?.[uuidLabel]

const isMadeFor = (spec: ContainerSpec, found: Inspected): boolean =>
  found.Config.Labels?.[madeForLabel] === spec.body.Labels?.[madeForLabel]

/** It runs, and is not being restarted over and over. */
const isAtWork = ({ State }: Inspected): boolean => State.Running && State.Status !== 'restarting'

/** A label of before there was a choice is missing, and means userspace. */
const isSameWay = (spec: ContainerSpec, found: Inspected): boolean =>
  (found.Config.Labels?.[wayLabel] ?? 'userspace') === (spec.body.Labels?.[wayLabel] ?? 'userspace')

/** Our entrypoints write what went wrong as "openebs: error: <sentence>". */
export const errorLine = (log: string): string | undefined =>
  log
    .split('\n')
    .findLast((line) => line.includes('openebs: error: '))
    ?.replace(/^.*openebs: error: /, '')
    .trim()
