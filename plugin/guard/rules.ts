import type { ApiCall } from './api-call.ts'
import { field, readBody } from './body.ts'
import { onContainer, onExec, onPrune } from './containers.ts'
import type { Guard } from './endpoints.ts'
import { header } from './headers.ts'
import { exceptionsOn, readings } from './on-host.ts'
import { isExcepted, nameOf, reachesStorage, type Wish } from './reach.ts'
import { allowed, denied, type Verdict } from './verdict.ts'
import { type Asked, ofContainer, ofService, ofVolume } from './wishes.ts'
import type { World } from './world.ts'

/** A call of a guarded endpoint. `body`: base64, as the Engine passes it; empty where it withholds it. */
export interface GuardedCall {
  readonly call: ApiCall
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export type Rule = (guarded: GuardedCall, world: World) => Verdict | Promise<Verdict>

const parameter = ({ parameters }: ApiCall, name: string): string => parameters[name] ?? ''

/** Reads the body, which must be there: the Engine passes none of one that is too large, and of some that lie about their length. */
const withBody =
  (decide: (body: unknown, guarded: GuardedCall, world: World) => Verdict | Promise<Verdict>): Rule =>
  (guarded, world) => {
    if (guarded.body === '')
      return denied(
        'no-body',
        'the call came without its body, or with one that is too large to be looked at',
      )
    const read = readBody(guarded.body)
    return read.kind === 'bad' ? denied('bad-body', read.reason) : decide(read.value, guarded, world)
  }

const onHost = async (wishes: readonly Wish[], world: World): Promise<Verdict> => {
  const [ground, exceptions, read] = await Promise.all([
    world.ground(),
    exceptionsOn(world),
    Promise.all(wishes.map(async (wish) => ({ wish, readings: await readings(wish, world) }))),
  ])
  let verdict = allowed
  for (const { wish, readings } of read)
    for (const reading of readings) {
      const why = reachesStorage(reading, ground, world.policy().reach)
      if (why === undefined) continue
      if (!isExcepted(reading, exceptions))
        return denied(
          'reaches-storage',
          `a container with this would reach storage: ${reading === wish ? '' : `${nameOf(wish)} leads to ${nameOf(reading)}: `}${why}. Use a volume (docker volume create -d openebs), or a folder elsewhere`,
        )
      verdict = { allow: true, rule: 'exception' }
    }
  return verdict
}

const judge = async (asked: Asked, world: World): Promise<Verdict> => {
  const verdict = asked.wishes.length > 0 ? await onHost(asked.wishes, world) : allowed
  if (!verdict.allow) return verdict
  for (const reference of asked.containers) {
    const joined = await onContainer(reference, 'join', world)
    if (!joined.allow) return joined
  }
  return verdict
}

const removeVolume: Rule = async ({ call }, world) => {
  const volume = parameter(call, 'name')
  const elsewhere = world.elsewhere(volume)
  // whether it is mounted there nobody knows here
  if (elsewhere !== undefined)
    return denied('volume-elsewhere', `volume ${volume} is on host ${elsewhere}: remove it there`, { volume })
  if (!world.volumes().includes(volume) || !world.isUsed(volume)) return allowed
  const users = await world.users(volume)
  const by = users.length > 0 ? ` by ${users.join(', ')}` : ''
  return denied(
    'volume-in-use',
    `volume ${volume} is in use${by} on host ${world.host}: stop what uses it first`,
    {
      volume,
    },
  )
}

/** By whatever name it was installed, or the beginning of its ID. */
const onPlugin: Rule = async ({ call }, { plugin, isUsed, volumes, pluginOf }) => {
  const name = parameter(call, 'name')
  if (!isUsed()) return allowed
  if (!plugin.names.includes(name) && (await pluginOf(name)) !== plugin.id) return allowed
  const used = volumes().filter((volume) => isUsed(volume))
  return denied(
    'plugin-in-use',
    `the plugin serves volumes that are in use (${used.join(', ')}): stop the containers that use them first`,
  )
}

/** By whatever name or ID: with -f the Engine takes a name from an image that containers run on. */
const removeImage: Rule = async ({ call }, { image, volumes, imageOf }) => {
  const name = parameter(call, 'name')
  if (volumes().length === 0) return allowed
  if (name !== image) {
    const meant = await imageOf(name)
    if (meant === undefined || meant !== (await imageOf(image))) return allowed
  }
  return denied('image-in-use', `image ${image} is what the volumes of this host run on: remove them first`)
}

/** The Engine takes the container from a form in the body, where there is one, and no plugin sees that. */
const commit: Rule = ({ call, headers }, world) =>
  /^\s*application\/x-www-form-urlencoded/i.test(header(headers, 'content-type') ?? '')
    ? denied(
        'bad-body',
        'the call came with a form in its body, which cannot be looked at: put it into the query',
      )
    : onContainer(call.query.get('container') ?? '', 'commit', world)

/** What is asked of each guarded endpoint. One without a rule does not compile. */
export const rules: Readonly<Record<Guard, Rule>> = {
  container: ({ call }, world) => onContainer(parameter(call, 'id'), call.endpoint?.action ?? '', world),
  checkpoint: ({ call }, world) => onContainer(parameter(call, 'id'), 'checkpoint', world),
  commit,
  exec: ({ call }, world) => onExec(parameter(call, 'id'), world),
  'container-create': withBody((body, _, world) => judge(ofContainer(body), world)),
  'containers-prune': (_, world) => onPrune(world),
  'volume-create': withBody((body, _, world) => judge(ofVolume(body), world)),
  'volume-remove': removeVolume,
  // the Engine takes those that no container refers to, and the driver refuses what is mounted
  'volumes-prune': () => allowed,
  'network-disconnect': withBody((body, _, world) => {
    const reference = field(body, 'Container')
    return typeof reference === 'string' ? onContainer(reference, 'disconnect', world) : allowed
  }),
  // the Engine keeps a network that a container is in, and an image that a container is made of
  'network-remove': () => allowed,
  'networks-prune': () => allowed,
  'images-prune': () => allowed,
  'image-remove': removeImage,
  service: withBody((body, _, world) => judge(ofService(body), world)),
  plugin: onPlugin,
}
