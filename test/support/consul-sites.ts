import { isFailure } from '../../process/failure.ts'
import type { OpenBackend } from '../../registry/backend.ts'
import { toText } from '../../registry/keys.ts'
import { Mirror, type Place } from '../../registry/mirror.ts'
import { type ConsulClient, pathPart } from '../../registry/stores/consul/client.ts'
import { consulSettings } from '../../registry/stores/consul/settings.ts'
import { consulAgent } from '../../registry/stores/consul-agent.ts'
import { consulKv } from '../../registry/stores/consul-kv.ts'
import { registrationOf } from '../../registry/views/consul.ts'
import type { Registration } from '../../registry/views/consul-registration.ts'
import { registratorView } from '../../registry/views/registrator.ts'
import type { Site, Started } from '../contract/site.ts'
import { type Consul, startConsul } from './consul.ts'

const silent = { info: () => {}, warn: () => {} }
const opened = (place: Place): OpenBackend => ({
  backend: new Mirror({ place, log: silent }),
  close: async () => {},
})
const where = (consul: Consul) => consulSettings(`consul://${consul.address}`, {})

const common = (consul: Consul): Pick<Started, 'writes' | 'pause' | 'resume' | 'kill' | 'restart'> => ({
  writes: () => consul.index(),
  pause: async () => consul.pause(),
  resume: async () => consul.resume(),
  kill: () => consul.kill(),
  restart: () => consul.start(),
})

/** What two registrations differ in, as the agent tells it. */
const gist = (name: string, address: string, port: number, tags: readonly string[]): string =>
  `${name} ${address}:${port} ${tags.join()}`

interface Told {
  ID: string
  Service: string
  Address: string
  Port: number
  Tags: string[]
}

const registration = (
  host: string,
  name: string,
  variant: number,
  id?: string,
): readonly [string, string] => {
  const made = registrationOf({
    service: 'web',
    host,
    container: name,
    containerId: 'c'.repeat(64),
    address: `10.${variant >> 16}.${(variant >> 8) & 255}.${variant & 255}`,
    port: 8080,
    exposedPort: 80,
    protocol: 'tcp',
    tags: ['a', 'b'],
    attributes: { ...(id !== undefined && { id }), region: 'x' },
    health: 'none',
    state: 'running',
  })
  return [made.ID, toText(made)]
}

/** Consul's agent, looked at by its HTTP API. */
export const consulAgentSite: Site = {
  name: "Consul's agent",
  start: async (t) => {
    const consul = await startConsul(t)
    return {
      ...common(consul),
      ttl: undefined,
      open: async (host) => opened(consulAgent({ ...where(consul), host })),
      entry: (host, name, variant = 1) => registration(host, name, variant),
      strangeEntry: (name, variant = 1) =>
        registration(variant === 1 ? 'h1' : 'h2', name, variant, `id-${name}`),
      look: async () => {
        const told = (await consul.client.call('GET', '/v1/agent/services')) as Record<string, Told>
        return Object.fromEntries(
          Object.values(told).map(({ ID, Service, Address, Port, Tags }) => [
            ID,
            gist(Service, Address, Port, Tags),
          ]),
        )
      },
      shows: (value) => {
        const { Name, Address, Port, Tags } = JSON.parse(value) as Registration
        return gist(Name, Address, Port, Tags)
      },
      write: async (_, value) => {
        const { Beat: _beat, ...body } = JSON.parse(value) as Registration
        await consul.client.call('PUT', '/v1/agent/service/register', { body })
      },
      remove: async (key) =>
        void (await consul.client.call('PUT', `/v1/agent/service/deregister/${pathPart(key)}`)),
    }
  },
}

const prefix = 'some where/services'

/** All keys below the prefix. */
export const pairsBelow = async (client: ConsulClient, root: string): Promise<Record<string, string>> => {
  const path = `/v1/kv/${root.split('/').map(pathPart).join('/')}/?recurse`
  const answer = await client.call('GET', path).catch((error: unknown) => {
    // there are none
    if (!isFailure(error, 'not-found')) throw error
    return []
  })
  const pairs = answer as { Key: string; Value: string | null }[]
  return Object.fromEntries(
    pairs.map(({ Key, Value }) => [
      Key.slice(root.length + 1),
      Buffer.from(Value ?? '', 'base64').toString(),
    ]),
  )
}

/** Consul's keys, in registrator's layout. */
export const consulKvSite: Site = {
  name: "Consul's keys",
  start: async (t) => {
    const consul = await startConsul(t)
    const raw = (verb: string, key: string, value = '') =>
      consul.client.call('PUT', '/v1/txn', {
        body: [{ KV: { Verb: verb, Key: `${prefix}/${key}`, Value: Buffer.from(value).toString('base64') } }],
      })
    return {
      ...common(consul),
      ttl: 10,
      open: async (host) =>
        opened(
          consulKv({
            ...where(consul),
            prefix,
            host,
            ttl: 10,
            owns: (key) => registratorView().owns(key, host),
          }),
        ),
      entry: (host, name, variant = 1) => [`${name}/${host}:${name}:80`, `10.0.0.${variant}:80`],
      strangeEntry: (name, variant = 1) => [`${name}/my-id`, `10.0.0.${variant}:80`],
      look: () => pairsBelow(consul.client, prefix),
      shows: (value) => value,
      write: async (key, value) => void (await raw('set', key, value)),
      remove: async (key) => void (await raw('delete', key)),
    }
  },
}
