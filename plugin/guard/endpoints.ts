import { createRoutes, type Found } from './routes.ts'

/** What the rules of the guard tell calls apart by; each says what its `parameters` name. */
export type Guard =
  /** Changes, enters or removes the container `id`. */
  | 'container'
  | 'container-create'
  | 'containers-prune'
  /** Makes or removes a checkpoint of the container `id`: in any folder of the host that the caller names. */
  | 'checkpoint'
  /** Pauses the container that its query names, while an image is made of it. */
  | 'commit'
  /** Runs the prepared command `id`, which is in a container. */
  | 'exec'
  | 'image-remove'
  | 'images-prune'
  /** Makes a volume, which may stand for any folder of the host. */
  | 'volume-create'
  | 'volume-remove'
  | 'volumes-prune'
  | 'network-disconnect'
  | 'network-remove'
  | 'networks-prune'
  /** Changes or removes the plugin `name`. */
  | 'plugin'
  /** Makes or changes a service, whose containers another host may create without asking here. */
  | 'service'

/** A call that the Engine's API has. */
export interface Endpoint {
  readonly method: string
  /** As the Engine's router has it, without the version: "{id}" is a segment, "{id:.*}" any, and none too. */
  readonly path: string
  /** What it does, in a word for people and the audit trail. */
  readonly action: string
  /** Absent for what can harm no storage. */
  readonly guard?: Guard
}

type Row = readonly [method: string, path: string, action: string, guard?: Guard]

/**
 * All calls of API 1.24 to 1.55, in the order in which the Engine asks its routes. HEAD and GET are two things to it:
 * only where it has a HEAD of its own is one here.
 */
const rows: readonly Row[] = [
  // Before the removal of containers: the Engine asks its routes in order, and that one would match too.
  ['GET', '/containers/{id:.*}/checkpoints', 'checkpoints'],
  ['POST', '/containers/{id:.*}/checkpoints', 'checkpoint', 'checkpoint'],
  ['DELETE', '/containers/{id}/checkpoints/{checkpoint}', 'checkpoint-remove', 'checkpoint'],
  ['HEAD', '/containers/{id:.*}/archive', 'archive-stat'],
  ['GET', '/containers/json', 'list'],
  ['GET', '/containers/{id:.*}/export', 'export'],
  ['GET', '/containers/{id:.*}/changes', 'changes'],
  ['GET', '/containers/{id:.*}/json', 'inspect'],
  ['GET', '/containers/{id:.*}/top', 'top'],
  ['GET', '/containers/{id:.*}/logs', 'logs'],
  ['GET', '/containers/{id:.*}/stats', 'stats'],
  ['GET', '/containers/{id:.*}/attach/ws', 'attach', 'container'],
  ['GET', '/containers/{id:.*}/archive', 'archive-read'],
  ['POST', '/containers/create', 'create', 'container-create'],
  ['POST', '/containers/{id:.*}/kill', 'kill', 'container'],
  ['POST', '/containers/{id:.*}/pause', 'pause', 'container'],
  ['POST', '/containers/{id:.*}/unpause', 'unpause', 'container'],
  ['POST', '/containers/{id:.*}/restart', 'restart', 'container'],
  ['POST', '/containers/{id:.*}/start', 'start'],
  ['POST', '/containers/{id:.*}/stop', 'stop', 'container'],
  ['POST', '/containers/{id:.*}/wait', 'wait'],
  ['POST', '/containers/{id:.*}/resize', 'resize'],
  ['POST', '/containers/{id:.*}/attach', 'attach', 'container'],
  ['POST', '/containers/{id:.*}/copy', 'copy'],
  ['POST', '/containers/{id:.*}/exec', 'exec', 'container'],
  ['POST', '/containers/{id:.*}/rename', 'rename', 'container'],
  ['POST', '/containers/{id:.*}/update', 'update', 'container'],
  ['POST', '/containers/prune', 'prune', 'containers-prune'],
  ['PUT', '/containers/{id:.*}/archive', 'archive', 'container'],
  ['DELETE', '/containers/{id:.*}', 'remove', 'container'],
  ['POST', '/commit', 'commit', 'commit'],

  ['GET', '/exec/{id:.*}/json', 'inspect'],
  ['POST', '/exec/{id:.*}/start', 'start', 'exec'],
  ['POST', '/exec/{id:.*}/resize', 'resize'],

  ['GET', '/images/json', 'list'],
  ['GET', '/images/search', 'search'],
  ['GET', '/images/get', 'export'],
  ['GET', '/images/{name:.*}/get', 'export'],
  ['GET', '/images/{name:.*}/history', 'history'],
  ['GET', '/images/{name:.*}/json', 'inspect'],
  ['GET', '/images/{name:.*}/attestations', 'attestations'],
  ['GET', '/distribution/{name:.*}/json', 'inspect'],
  ['POST', '/images/load', 'load'],
  ['POST', '/images/create', 'pull'],
  ['POST', '/images/{name:.*}/push', 'push'],
  ['POST', '/images/{name:.*}/tag', 'tag'],
  ['POST', '/images/prune', 'prune', 'images-prune'],
  ['DELETE', '/images/{name:.*}', 'remove', 'image-remove'],
  ['POST', '/build', 'build'],
  ['POST', '/build/prune', 'prune'],
  ['POST', '/build/cancel', 'cancel'],
  ['POST', '/session', 'session'],
  ['POST', '/grpc', 'grpc'],

  ['OPTIONS', '/{any:.*}', 'options'],
  ['GET', '/_ping', 'ping'],
  ['HEAD', '/_ping', 'ping'],
  ['GET', '/events', 'events'],
  ['GET', '/info', 'info'],
  ['GET', '/version', 'version'],
  ['GET', '/system/df', 'usage'],
  ['POST', '/auth', 'auth'],

  ['GET', '/volumes', 'list'],
  ['GET', '/volumes/{name:.*}', 'inspect'],
  ['POST', '/volumes/create', 'create', 'volume-create'],
  ['POST', '/volumes/prune', 'prune', 'volumes-prune'],
  ['PUT', '/volumes/{name:.*}', 'update'],
  ['DELETE', '/volumes/{name:.*}', 'remove', 'volume-remove'],

  ['GET', '/networks', 'list'],
  ['GET', '/networks/', 'list'],
  ['GET', '/networks/{id:.+}', 'inspect'],
  ['POST', '/networks/create', 'create'],
  ['POST', '/networks/{id:.*}/connect', 'connect'],
  ['POST', '/networks/{id:.*}/disconnect', 'disconnect', 'network-disconnect'],
  ['POST', '/networks/prune', 'prune', 'networks-prune'],
  ['DELETE', '/networks/{id:.*}', 'remove', 'network-remove'],

  ['GET', '/plugins', 'list'],
  ['GET', '/plugins/privileges', 'privileges'],
  ['GET', '/plugins/{name:.*}/json', 'inspect'],
  // that of API 1.24 alone
  ['GET', '/plugins/{name}', 'inspect'],
  ['POST', '/plugins/{name:.*}/enable', 'enable'],
  ['POST', '/plugins/{name:.*}/disable', 'disable', 'plugin'],
  ['POST', '/plugins/pull', 'pull'],
  ['POST', '/plugins/{name:.*}/push', 'push'],
  ['POST', '/plugins/{name:.*}/upgrade', 'upgrade', 'plugin'],
  ['POST', '/plugins/{name:.*}/set', 'set', 'plugin'],
  ['POST', '/plugins/create', 'create'],
  ['DELETE', '/plugins/{name:.*}', 'remove', 'plugin'],

  ['POST', '/swarm/init', 'init'],
  ['POST', '/swarm/join', 'join'],
  ['POST', '/swarm/leave', 'leave'],
  ['GET', '/swarm', 'inspect'],
  ['GET', '/swarm/unlockkey', 'unlock-key'],
  ['POST', '/swarm/update', 'update'],
  ['POST', '/swarm/unlock', 'unlock'],
  ['GET', '/services', 'list'],
  ['GET', '/services/{id}', 'inspect'],
  ['POST', '/services/create', 'create', 'service'],
  ['POST', '/services/{id}/update', 'update', 'service'],
  ['DELETE', '/services/{id}', 'remove'],
  ['GET', '/services/{id}/logs', 'logs'],
  ['GET', '/nodes', 'list'],
  ['GET', '/nodes/{id}', 'inspect'],
  ['DELETE', '/nodes/{id}', 'remove'],
  ['POST', '/nodes/{id}/update', 'update'],
  ['GET', '/tasks', 'list'],
  ['GET', '/tasks/{id}', 'inspect'],
  ['GET', '/tasks/{id}/logs', 'logs'],
  ['GET', '/secrets', 'list'],
  ['POST', '/secrets/create', 'create'],
  ['DELETE', '/secrets/{id}', 'remove'],
  ['GET', '/secrets/{id}', 'inspect'],
  ['POST', '/secrets/{id}/update', 'update'],
  ['GET', '/configs', 'list'],
  ['POST', '/configs/create', 'create'],
  ['DELETE', '/configs/{id}', 'remove'],
  ['GET', '/configs/{id}', 'inspect'],
  ['POST', '/configs/{id}/update', 'update'],

  ['GET', '/debug/vars', 'debug'],
  ['GET', '/debug/pprof/', 'debug'],
  ['GET', '/debug/pprof/cmdline', 'debug'],
  ['GET', '/debug/pprof/profile', 'debug'],
  ['GET', '/debug/pprof/symbol', 'debug'],
  ['GET', '/debug/pprof/trace', 'debug'],
  ['GET', '/debug/pprof/{name}', 'debug'],
]

/** See the table above. */
export const endpoints: readonly Endpoint[] = rows.map(([method, path, action, guard]) => ({
  method,
  path,
  action,
  ...(guard ? { guard } : {}),
}))

/**
 * The endpoint that the Engine would take a call to, with what its path says in place of "{id}" and the like. `segments` is
 * the path without its version, decoded and then split at the slashes. `caseless` takes "/Containers/x/STOP" too, which
 * the Engine does not know.
 */
export const findEndpoint: (
  method: string,
  segments: readonly string[],
  caseless?: boolean,
) => Found<Endpoint> | undefined = createRoutes(endpoints)
