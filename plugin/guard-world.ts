import type { Docker } from '../docker/client.ts'
import { pause } from '../process/backoff.ts'
import { explain } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import type { Engine } from './engine.ts'
import { EngineQuestions } from './engine-questions.ts'
import type { World } from './guard/world.ts'
import type { LocalCopy } from './local-copy.ts'
import { isReferenced } from './references.ts'
import type { StorageContainers } from './storage-containers.ts'

/** ms between two looks at the names that containers have. */
const lookEvery = 60_000

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
  const own = /^(?<folder>.+\/plugins\/(?<id>[0-9a-f]{64}))\/propagated-mount$/.exec(parts.data)?.groups
  const isUsed = (volume?: string) =>
    local.all().some((entry) => (volume ?? entry.volume.name) === entry.volume.name && isReferenced(entry))
  return {
    host: parts.host,
    policy: parts.policy,
    image: parts.image,
    ground: { paths: [parts.root, ...(own?.folder ? [own.folder] : [])], volumes: ['openebs-etcd'] },
    plugin: { id: own?.id ?? '', names: ['openebs', 'openebs:latest'] },
    guarded: () => containers.all(),
    volumes: () => local.all().flatMap(({ volume, target }) => (target ? [volume.name] : [])),
    isUsed,
    // a message without them is better than none
    users: async (volume) => (await engine.holders(volume).catch(() => [])).map(({ name }) => name),
    resolve: (reference) => ask.resolve(reference),
    imageOf: (reference) => ask.imageOf(reference),
    execOf: (exec) => ask.execOf(exec),
    stopped: () => ask.stopped(),
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
