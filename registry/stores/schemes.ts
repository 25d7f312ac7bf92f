import { Failure } from '../../process/failure.ts'
import type { Log } from '../../process/log.ts'
import type { OpenBackend } from '../backend.ts'
import { Mirror, type Place } from '../mirror.ts'
import type { PublisherHooks } from '../publisher.ts'
import { consulView } from '../views/consul.ts'
import { registratorView, skydns2View } from '../views/registrator.ts'
import type { View } from '../views/view.ts'
import { zookeeperView } from '../views/zookeeper.ts'
import { consulKvSchemes, consulKvSettings, consulSchemes, consulSettings } from './consul/settings.ts'
import { consulAgent } from './consul-agent.ts'
import { consulKv } from './consul-kv.ts'
import { openEtcd, parseStoreUri } from './etcd.ts'
import { etcdSettings, type StoreSettings } from './settings.ts'
import { onOwnLease } from './view-store.ts'
import { parseZookeeperUri, zookeeper } from './zookeeper.ts'

/** What a backend is opened for. */
export interface Occupant {
  readonly host: string
  /** Seconds: how long entries outlive us, and how often that is renewed. */
  readonly ttl: number
  readonly renew?: number | undefined
  readonly log: Log
  readonly hooks?: PublisherHooks
}

/** A registry as a URI names it: the layout that is written there, and how it is opened. */
export interface Target {
  readonly view: View
  /** What all keys begin with, for people; a dry run shows it. */
  readonly root: string
  open(occupant: Occupant): Promise<OpenBackend>
}

/** Credentials and certificates, which no URI holds. */
export type Credentials = Omit<StoreSettings, 'OPENEBS_STORE'>

/** Reads what is behind "scheme://". Errors: `invalid`, saying what was expected. */
type Scheme = (rest: string, credentials: Credentials) => Target

const etcdAt = (uri: string, root: string, view: View, credentials: Credentials): Target => {
  parseStoreUri(uri)
  const settings = { ...etcdSettings({ ...credentials, OPENEBS_STORE: uri }), root }
  return {
    view,
    root,
    open: async ({ host, ttl, renew, ...rest }) => {
      const store = await openEtcd({ ...settings, writer: `registrator/${host}${root}` })
      return onOwnLease(store, { ttl, ...(renew !== undefined && { renew }) }, { host, view, ...rest })
    },
  }
}

/** "host:port,host:port/path" -> both; the hosts default to the peer's own default, this machine. */
const split = (rest: string): { hosts: string; path: string } => {
  const at = rest.indexOf('/')
  const hosts = at < 0 ? rest : rest.slice(0, at)
  return { hosts: hosts || '127.0.0.1:2379', path: at < 0 ? '' : rest.slice(at).replace(/\/+$/, '') }
}

const etcd =
  (store: 'etcd' | 'etcds'): Scheme =>
  (rest, credentials) => {
    const { hosts, path } = split(rest)
    return etcdAt(`${store}://${hosts}`, path, registratorView(), credentials)
  }

const skydns2 =
  (store: 'etcd' | 'etcds'): Scheme =>
  (rest, credentials) => {
    const { hosts, path } = split(rest)
    const domain = path.slice(1)
    if (domain === '')
      throw new Failure('invalid', 'expected a domain, as in skydns2://127.0.0.1:2379/example.org')
    return etcdAt(`${store}://${hosts}`, '/skydns', skydns2View(domain), credentials)
  }

/** What is kept by a mirror. `place` is made for a host. */
const mirrored = (view: View, root: string, place: (occupant: Occupant) => Place): Target => ({
  view,
  root,
  open: async (occupant) => {
    const { log, hooks } = occupant
    const written = hooks?.written
    return {
      backend: new Mirror({
        place: place(occupant),
        log,
        ...(written && {
          written: (changes) => written(changes.map((change) => ({ ...change, guard: 'any' }))),
        }),
      }),
      close: async () => {},
    }
  },
})

/** Consul's own variables say the rest, as in its other clients. */
const consul =
  (scheme: (typeof consulSchemes)[number]): Scheme =>
  (rest) => {
    const settings = consulSettings(`${scheme}://${rest}`)
    return mirrored(consulView(), '', ({ host, log }) => consulAgent({ ...settings, host, log }))
  }

const consulKeys =
  (scheme: (typeof consulKvSchemes)[number]): Scheme =>
  (rest) => {
    const settings = consulKvSettings(`${scheme}://${rest}`)
    const view = registratorView()
    return mirrored(view, settings.prefix, ({ host, ttl, renew }) =>
      consulKv({
        ...settings,
        host,
        ttl,
        ...(renew !== undefined && { renew }),
        owns: (key) => view.owns(key, host),
      }),
    )
  }

const zookeeperAt: Scheme = (rest) => {
  const uri = `zookeeper://${rest}`
  const { path } = parseZookeeperUri(uri)
  return mirrored(zookeeperView(), path, ({ ttl }) => zookeeper({ uri, ttl }))
}

/** A new kind of registry is a line here. */
const schemes: Readonly<Record<string, Scheme>> = {
  etcd: etcd('etcd'),
  etcds: etcd('etcds'),
  skydns2: skydns2('etcd'),
  skydns2s: skydns2('etcds'),
  ...Object.fromEntries(consulSchemes.map((scheme) => [scheme, consul(scheme)])),
  ...Object.fromEntries(consulKvSchemes.map((scheme) => [scheme, consulKeys(scheme)])),
  zookeeper: zookeeperAt,
}

/** The registry that a URI names. Errors: `invalid`, with the URI unless it may hold a password. */
export const readTarget = (uri: string, credentials: Credentials): Target => {
  if (uri.includes('@'))
    throw new Failure(
      'invalid',
      "no user or password in a registry's URI, as it ends up in logs: OPENEBS_STORE_USER and OPENEBS_STORE_PASSWORD_FILE are for them",
    )
  const match = /^(?<scheme>[a-z][a-z0-9+-]*):\/\/(?<rest>.*)$/s.exec(uri)?.groups
  const scheme = match && Object.hasOwn(schemes, match.scheme ?? '') ? schemes[match.scheme ?? ''] : undefined
  if (!match || !scheme)
    throw new Failure(
      'invalid',
      `registry "${uri}": expected one of ${Object.keys(schemes)
        .map((name) => `${name}://`)
        .join(', ')}`,
    )
  return scheme(match.rest ?? '', credentials)
}
