import { z } from 'zod'
import { Failure } from '../process/failure.ts'
import { bounded, callDocker, type Docker } from './client.ts'
import { getJson, getText } from './get.ts'
import * as inspect from './inspect.ts'
import { Items } from './items.ts'

/**
 * The questions that we ask an engine: each bounded in time, its answer checked. They reject with a Failure:
 * `not-found`, `unavailable` (no answer, 5xx), `denied` (an authz plugin), or `invalid` for an answer that we cannot
 * read.
 */

/** ms. A question about one object blocks while its volume driver works (Create, Mount): that object's alone. */
const limit = 10_000

export const ask = async <T extends z.ZodType>(
  doing: string,
  schema: T,
  call: (abortSignal: AbortSignal) => Promise<unknown>,
  ms = limit,
): Promise<z.output<T>> => {
  return read(doing, schema, await callDocker(doing, ms, call))
}

const read = <T extends z.ZodType>(doing: string, schema: T, answer: unknown): z.output<T> => {
  const parsed = schema.safeParse(answer)
  if (parsed.success) return parsed.data
  throw new Failure('invalid', `${doing}: the Docker Engine's answer cannot be read`, parsed.error)
}

/** Whether the engine answers at all, within `ms`. */
export const pingEngine = async (docker: Docker, ms: number): Promise<void> => {
  await getText(docker, 'ping the Docker Engine', '/_ping', ms)
}

export const engineInfo = (docker: Docker, ms = limit) =>
  ask(
    'ask the Docker Engine about itself',
    inspect.EngineInfo,
    (signal) => bounded(docker.info, docker, signal),
    ms,
  )

/**
 * All containers, running or not: `each` is given one after the other, as JSON (readListed), and must not keep it. A list
 * of thousands is long, and most of them are known already.
 */
export const listContainers = (docker: Docker, each: (item: Buffer) => void): Promise<void> =>
  callDocker('list containers', limit, async (abortSignal) => {
    const answer = await askStream(docker, '/containers/json?', { all: true }, abortSignal)
    const items = new Items()
    for await (const chunk of answer) items.push(chunk as Buffer).forEach(each)
    if (!items.whole)
      throw new Failure('unavailable', "list containers: the Docker Engine's answer broke off")
  })

/** Rejects as a question does. */
export const readListed = (item: Buffer): inspect.ListedContainer => {
  try {
    return inspect.ListedContainer.parse(JSON.parse(item.toString()))
  } catch (error) {
    throw new Failure('invalid', "list containers: the Docker Engine's answer cannot be read", error)
  }
}

/** The answer to a GET as it comes, for one that is too long to be held as a whole. */
const askStream = (docker: Docker, path: string, options: object, abortSignal: AbortSignal) =>
  new Promise<NodeJS.ReadableStream>((resolve, reject) => {
    const question = { path, method: 'GET', options, abortSignal, isStream: true, statusCodes: { 200: true } }
    docker.modem.dial(question, (error: unknown, answer: unknown) => {
      if (error) reject(error)
      else resolve(answer as NodeJS.ReadableStream)
    })
  })

/** `tagsOf` makes further tags of the Engine's whole answer, of which else only a part is kept. */
export const inspectContainer = async (
  docker: Docker,
  id: string,
  tagsOf?: (answer: unknown) => readonly string[],
): Promise<inspect.Container> => {
  const doing = `inspect container ${id}`
  const answer = await getJson(docker, doing, `/containers/${encodeURIComponent(id)}/json`, limit)
  const tags = tagsOf?.(answer)
  const container = read(doing, inspect.Container, answer)
  return tags ? { ...container, tags } : container
}

export const listImages = (docker: Docker) =>
  ask('list images', z.array(inspect.Image), (abortSignal) => docker.listImages({ abortSignal }))

export const listNetworks = (docker: Docker) =>
  ask('list networks', z.array(inspect.Network), (abortSignal) => docker.listNetworks({ abortSignal }))

export const listPlugins = (docker: Docker) =>
  ask('list plugins', z.array(inspect.Plugin), (abortSignal) => docker.listPlugins({ abortSignal }))

/** Blocks while any volume driver creates a volume. */
export const listVolumes = (docker: Docker) =>
  ask('list volumes', inspect.Volumes, (abortSignal) => docker.listVolumes({ abortSignal }))

export const inspectVolume = (docker: Docker, name: string) =>
  ask(`inspect volume ${name}`, inspect.Volume, (abortSignal) =>
    docker.getVolume(name).inspect({ abortSignal }),
  )
