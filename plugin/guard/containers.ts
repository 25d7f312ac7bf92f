import { findGuarded } from './find.ts'
import { allowed, denied, type Verdict } from './verdict.ts'
import type { Guarded, World } from './world.ts'

/** What is done to a container, as people say it: "stop" is "stopped". */
const done: Readonly<Record<string, string>> = {
  stop: 'stopped',
  kill: 'killed',
  restart: 'restarted',
  pause: 'paused',
  unpause: 'unpaused',
  rename: 'renamed',
  update: 'updated',
  remove: 'removed',
  attach: 'attached to',
  exec: 'entered',
  archive: 'written to',
  commit: 'paused for a commit',
  checkpoint: 'checkpointed',
  prune: 'removed',
  disconnect: 'taken off its network',
  join: 'joined by another container',
}

/** Harmless to what is no storage: etcd and the sidecar can be entered, not ended. */
const harmless = ['exec', 'attach', 'archive', 'join']

/** Whether something may be done to this container of ours. */
export const onGuarded = async (guarded: Guarded, action: string, world: World): Promise<Verdict> => {
  const { name, role, volume } = guarded
  const what = `${name} cannot be ${done[action] ?? action}`
  if (role === 'etcd' || role === 'registrator') {
    if (harmless.includes(action)) return allowed
    return denied(
      'operator-only',
      `${what}: it is ${role === 'etcd' ? 'the registry that the volumes of this host are in' : "this host's sidecar"}. Ask an operator, or use the way past the guard (docs/security.md)`,
      { container: name },
    )
  }
  if (!world.isUsed(volume)) return allowed
  if (volume === undefined)
    return denied(
      'storage-in-use',
      `${what}: it keeps the volumes of this host attached, and some are in use. Stop the containers that use them first`,
      { container: name },
    )
  const users = await world.users(volume)
  const by = users.length > 0 ? `container ${users.join(', ')}` : 'a container'
  const role_ = role === 'target' ? 'serves' : 'attaches'
  return denied(
    'storage-in-use',
    `${what}: it ${role_} volume ${volume}, which ${by} on host ${world.host} uses. Stop ${users.length > 0 ? users.join(', ') : 'it'} first`,
    { container: name, volume },
  )
}

export const onContainer = async (reference: string, action: string, world: World): Promise<Verdict> => {
  const guarded = await findGuarded(reference, world)
  return guarded ? onGuarded(guarded, action, world) : allowed
}

/** POST /exec/{id}/start: of an instance that was made while the volume was unused. */
export const onExec = async (exec: string, world: World): Promise<Verdict> => {
  if (!world.isUsed() && !world.guarded().some(({ role }) => role === 'etcd')) return allowed
  const id = await world.execOf(exec)
  const guarded = world.guarded().find((one) => one.id !== '' && one.id === id)
  return guarded ? onGuarded(guarded, 'exec', world) : allowed
}

/** POST /containers/prune: takes containers of ours that happen to be down, as one whose host's disk is full. */
export const onPrune = async (world: World): Promise<Verdict> => {
  const inDanger = world
    .guarded()
    .filter(({ role, volume }) => role === 'etcd' || role === 'registrator' || world.isUsed(volume))
  if (inDanger.length === 0) return allowed
  const stopped = await world.stopped()
  for (const guarded of inDanger) if (stopped.includes(guarded.id)) return onGuarded(guarded, 'prune', world)
  return allowed
}
