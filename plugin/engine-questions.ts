import { z } from 'zod'
import { callDocker, type Docker } from '../docker/client.ts'
import { type FailureKind, isFailure } from '../process/failure.ts'
import { Listed } from './engine-answers.ts'

/** ms. The guard has two seconds in all. */
const limit = 1_500
const limitOfVolumes = 1_000

const Identified = z.object({ Id: z.string() })
const Volume = z.object({ Driver: z.string(), Options: z.unknown() })
const ExecInstance = z.object({ ContainerID: z.string() })

/** What the guard asks the Engine where memory does not do. All of it ends in time and rejects with a Failure. */
export class EngineQuestions {
  readonly #docker: Docker

  constructor(docker: Docker) {
    this.#docker = docker
  }

  /** ID of the container that a reference means; undefined where there is none. */
  async resolve(reference: string): Promise<string | undefined> {
    const found = await orNone(
      callDocker(`inspect container ${reference}`, limit, (abortSignal) =>
        this.#docker.getContainer(encodeURIComponent(reference)).inspect({ abortSignal }),
      ),
    )
    return found && Identified.parse(found).Id
  }

  /** ID of the image that a reference means; undefined where there is none. */
  async imageOf(reference: string): Promise<string | undefined> {
    const found = await orNone(
      callDocker(`inspect image ${reference}`, limit, () => this.#docker.getImage(reference).inspect()),
    )
    return found && Identified.parse(found).Id
  }

  /** ID of the plugin that a reference means; undefined where there is none. */
  async pluginOf(reference: string): Promise<string | undefined> {
    const found = await orNone(
      callDocker(`inspect plugin ${reference}`, limit, () =>
        this.#docker.getPlugin(reference, undefined).inspect(),
      ),
    )
    return found && Identified.parse(found).Id
  }

  async execOf(exec: string): Promise<string | undefined> {
    const found = await orNone(
      callDocker(`inspect exec ${exec}`, limit, (abortSignal) =>
        this.#docker.getExec(encodeURIComponent(exec)).inspect({ abortSignal }),
      ),
    )
    return found && ExecInstance.parse(found).ContainerID
  }

  /**
   * What a volume is made of; undefined where there is none. Undefined, too, where the Engine does not tell in time: it has those
   * of its own driver in memory, so what it waits for is another's plugin, and the create that this is about waits for that as well.
   */
  async volumeOf(name: string): Promise<{ driver: string; options: unknown } | undefined> {
    const found = await orNone(
      callDocker(`inspect volume ${name}`, limitOfVolumes, (abortSignal) =>
        this.#docker.getVolume(encodeURIComponent(name)).inspect({ abortSignal }),
      ),
      'unavailable',
    )
    if (!found) return undefined
    const { Driver, Options } = Volume.parse(found)
    return { driver: Driver, options: Options }
  }

  /** IDs of containers that a prune would remove. */
  async stopped(): Promise<string[]> {
    const filters = { status: ['created', 'exited', 'dead'] }
    return (await this.#list(filters)).map(({ Id }) => Id)
  }

  /** All containers, with the names of now. */
  async names(): Promise<{ id: string; name: string }[]> {
    return (await this.#list({})).map(({ Id, Names }) => ({ id: Id, name: (Names[0] ?? '').slice(1) }))
  }

  async #list(filters: Record<string, string[]>): Promise<Listed[]> {
    const listed: unknown = await callDocker('list containers', limit, (abortSignal) =>
      this.#docker.listContainers({ all: true, filters, abortSignal }),
    )
    return z.array(Listed).parse(listed)
  }
}

const orNone = <T>(answer: Promise<T>, ...alsoNone: readonly FailureKind[]): Promise<T | undefined> =>
  answer.catch((error: unknown) => {
    if (isFailure(error) && ['not-found', ...alsoNone].includes(error.kind)) return undefined
    throw error
  })
