import { z } from 'zod'
import { Failure } from '../process/failure.ts'
import { bounded, callDocker, type Docker } from './client.ts'
import * as inspect from './inspect.ts'

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
  const parsed = schema.safeParse(await callDocker(doing, ms, call))
  if (parsed.success) return parsed.data
  throw new Failure('invalid', `${doing}: the Docker Engine's answer cannot be read`, parsed.error)
}

/** Whether the engine answers at all, within `ms`. */
export const pingEngine = async (docker: Docker, ms: number): Promise<void> => {
  await callDocker('ping the Docker Engine', ms, (signal) => bounded(docker.ping, docker, signal))
}

export const engineInfo = (docker: Docker, ms = limit) =>
  ask(
    'ask the Docker Engine about itself',
    inspect.EngineInfo,
    (signal) => bounded(docker.info, docker, signal),
    ms,
  )

/** All containers, running or not. */
export const listContainers = (docker: Docker) =>
  ask('list containers', z.array(inspect.ListedContainer), (abortSignal) =>
    docker.listContainers({ all: true, abortSignal }),
  )

export const inspectContainer = (docker: Docker, id: string) =>
  ask(`inspect container ${id}`, inspect.Container, (abortSignal) =>
    docker.getContainer(id).inspect({ abortSignal }),
  )

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
