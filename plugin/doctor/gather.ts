import { dirname, join } from 'node:path'
import { explain, isFailure } from '../../process/failure.ts'
import type { Authz } from '../authz.ts'
import { initiatorName } from '../container-bodies.ts'
import type { Engine } from '../engine.ts'
import type { Listed } from '../engine-answers.ts'
import type { Initiators } from '../initiators.ts'
import type { KnownRegistry } from '../known-registry.ts'
import type { LocalCopy } from '../local-copy.ts'
import { pluginId, readMounts } from '../mount-table.ts'
import { isReferenced } from '../references.ts'
import type { VolumeRecords } from '../volume-records.ts'
import { type DoctorPlace, surveyContainer } from './bodies.ts'
import { type Facts, type FoundContainer, type FoundFolder, type FoundMount, ownName } from './facts.ts'
import { parseSurvey } from './folders.ts'
import { readLoops } from './loops.ts'

export interface GatherParts {
  host: string
  /** As the plugin sees it. */
  propagatedMount: string
  place: DoctorPlace
  local: LocalCopy
  records: VolumeRecords
  registry: KnownRegistry
  engine: Engine
  initiators: Initiators
  authz: Pick<Authz, 'asked'>
  images: () => Promise<void>
}

/**
 * One look at everything. What is asked first can only be older: records are read last, so that what is being made has its
 * record by then. Rejects as the Engine does; a store that is away is a fact.
 */
export const gather = async (parts: GatherParts, { folders: withFolders = true } = {}): Promise<Facts> => {
  const { host, place, local, engine } = parts
  const guard = await readGuard(parts)
  const folders = withFolders ? await readFolders(parts) : undefined
  const containers = (await engine.named(['vsm-', 'initiator-', 'openebs-erase-'])).flatMap(toContainer)
  const mounts = await readVolumeMounts(parts)
  const loops = await readLoops()
  const registered = await readRegistered(parts)
  const facts = {
    host,
    root: place.root,
    now: Date.now(),
    volumes: local.all(),
    damaged: local.damaged(),
    registered,
    containers,
    mounts,
    loops,
    folders,
    guard,
    users: new Map<string, readonly string[]>(),
  }
  const users = await Promise.all(
    inQuestion(facts).map(async (volume) => [volume, await usersOf(engine, volume)] as const),
  )
  return { ...facts, users: new Map(users) }
}

/** Volumes of which it matters who uses them: no record of a container's, or in use without an initiator. */
const inQuestion = ({ containers, volumes }: Facts): string[] => {
  const known = new Set(volumes.map(({ volume }) => volume.name))
  const running = new Set(containers.filter(({ state }) => state === 'running').map(({ name }) => name))
  const strays = containers.flatMap(({ name }) => ownName.exec(name)?.groups?.volume ?? [])
  const unserved = volumes.filter((one) => isReferenced(one) && !running.has(initiatorName(one.volume.name)))
  return [
    ...new Set([...strays.filter((name) => !known.has(name)), ...unserved.map(({ volume }) => volume.name)]),
  ]
}

const usersOf = async (engine: Engine, volume: string): Promise<string[]> =>
  (await engine.holders(volume)).map(({ name }) => name)

const toContainer = ({ Id, Names, Labels, State, Created }: Listed): FoundContainer[] => {
  const name = Names.map((one) => one.replace(/^\//, '')).find((one) => ownName.test(one))
  return name ? [{ id: Id, name, labels: Labels, state: State, created: Created * 1000 }] : []
}

/** Of the folder where initiators mount, a line for each volume, however many lie one over another. */
const readVolumeMounts = async ({ propagatedMount, initiators }: GatherParts): Promise<FoundMount[]> => {
  const folder = join(propagatedMount, 'mounts')
  const byVolume = new Map(
    (await readMounts())
      .filter(({ mountPoint }) => dirname(mountPoint) === folder)
      .map((line) => [line.mountPoint.slice(folder.length + 1), line] as const),
  )
  return Promise.all(
    [...byVolume].map(async ([volume, { type, source }]) => ({
      volume,
      type,
      source,
      served: (await initiators.servedSince(volume)) !== undefined,
    })),
  )
}

const readFolders = async ({ engine, place, images }: GatherParts): Promise<FoundFolder[] | string> => {
  try {
    await images()
    return parseSurvey(await engine.output(surveyContainer(place), `look at the folders of ${place.root}`))
  } catch (error) {
    if (!isFailure(error)) throw error
    const text = explain(error)
    return /bind source path does not exist/.test(text) ? [] : text
  }
}

const readRegistered = async ({ records, registry }: GatherParts): Promise<Facts['registered']> => {
  try {
    const isOther = !(await registry.look())
    const { volumes, unreadable } = await records.readAll()
    return { isOther, volumes, unreadable }
  } catch (error) {
    if (!isFailure(error)) throw error
    return explain(error)
  }
}

/** The Engine asks an authorization plugin about each call, so also about this one. */
const readGuard = async ({ engine, authz, propagatedMount }: GatherParts): Promise<Facts['guard']> => {
  const before = authz.asked
  const { Plugins } = await engine.info()
  const asked = authz.asked > before
  const id = pluginId(await readMounts(), propagatedMount)
  const own = id && withoutTag(await engine.pluginName(id))
  return { listed: Plugins?.Authorization?.find((name) => withoutTag(name) === own), asked }
}

const withoutTag = (name: string): string => name.replace(/:latest$/, '')
