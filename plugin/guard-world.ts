import { readlink } from 'node:fs/promises'
import type { Docker } from '../docker/client.ts'
import { pause } from '../process/backoff.ts'
import { explain } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import type { Engine } from './engine.ts'
import { EngineQuestions } from './engine-questions.ts'
import type { ReadLink } from './guard/host-links.ts'
import { withLinks } from './guard/on-host.ts'
import type { Ground, World } from './guard/world.ts'
import type { LocalCopy } from './local-copy.ts'
import { isReferenced } from './references.ts'
import type { StorageContainers } from './storage-containers.ts'

/** ms between two looks at the names that containers have. */
const lookEvery = 60_000

/** ms for which it is remembered where the folders of storage are: each create would look for all of them. */
const groundFor = 10_000
/** Where config.json mounts the host's root file system. */
const hostFolder = '/run/host'
/** As `make up` calls it. */
const etcdVolume = 'openebs-etcd'

export interface WorldParts {
  host: string
  /** Host path of the plugin's propagated mount: <data root>/plugins/<id>/propagated-mount. */
  data: string
  root: string
  image: string
  policy: World['policy']
  local: LocalCopy
  containers: StorageContainers
  engine: Engine
  docker: Docker
}

/** What the guard knows of this host. */
export const storageWorld = ({ local, containers, engine, docker, ...parts }: WorldParts): World => {
  const ask = new EngineQuestions(docker)
  const own = /^(?<dataRoot>.+)\/plugins\/(?<id>[0-9a-f]{64})\/propagated-mount$/.exec(parts.data)?.groups
  const isUsed = (volume?: string) =>
    local.all().some((entry) => (volume ?? entry.volume.name) === entry.volume.name && isReferenced(entry))
  const ground: Ground = {
    paths: [
      { path: parts.root, holds: 'volumes' },
      ...(own
        ? [
            { path: `${own.dataRoot}/plugins/${own.id}`, holds: 'volumes' } as const,
            { path: `${own.dataRoot}/volumes/${etcdVolume}`, holds: 'the registry' } as const,
          ]
        : []),
    ],
    volumes: [etcdVolume],
  }
  return {
    host: parts.host,
    policy: parts.policy,
    image: parts.image,
    ground: recent(() => withLinks(ground, readLinkOfHost), groundFor),
    plugin: { id: own?.id ?? '', names: ['openebs', 'openebs:latest'] },
    guarded: () => containers.all(),
    volumes: () => local.all().flatMap(({ volume, target }) => (target ? [volume.name] : [])),
    elsewhere: (volume) => {
      const entry = local.all().find((one) => one.volume.name === volume)
      return entry && entry.volume.placement.host !== parts.host ? entry.volume.placement.host : undefined
    },
    isUsed,
    // a message without them is better than none
    users: async (volume) => (await engine.holders(volume).catch(() => [])).map(({ name }) => name),
    resolve: (reference) => ask.resolve(reference),
    imageOf: (reference) => ask.imageOf(reference),
    pluginOf: (reference) => ask.pluginOf(reference),
    execOf: (exec) => ask.execOf(exec),
    readLink: readLinkOfHost,
    volumeOf: (name) => ask.volumeOf(name),
    stopped: () => ask.stopped(),
  }
}

/** Undefined also where the host is not to be seen, as its mount has another source. */
const readLinkOfHost: ReadLink = async (path) => {
  try {
    return await readlink(`${hostFolder}${path}`)
  } catch (error) {
    // no link, not there, below a file, or too long to be there
    if (['EINVAL', 'ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return undefined
    throw error
  }
}

/** Asks again when the last answer is `ms` old, or was an error. */
const recent = <T>(ask: () => Promise<T>, ms: number): (() => Promise<T>) => {
  let last: { readonly at: number; readonly answer: Promise<T> } | undefined
  return async () => {
    if (!last || performance.now() - last.at >= ms) last = { at: performance.now(), answer: ask() }
    try {
      return await last.answer
    } catch (error) {
      last = undefined
      throw error
    }
  }
}

/** Keeps the names and IDs of containers of ours known, until the signal fires. */
export const followNames = async (
  docker: Docker,
  containers: StorageContainers,
  log: Log,
  signal: AbortSignal,
): Promise<void> => {
  const ask = new EngineQuestions(docker)
  while (!signal.aborted) {
    try {
      containers.learn(await ask.names())
    } catch (error) {
      log.debug({ reason: explain(error) }, 'could not look at the names of containers')
    }
    await pause(lookEvery, signal)
  }
}
