import { Agent, get, type IncomingMessage } from 'node:http'
import { createInterface } from 'node:readline'
import { Etcd3 } from 'etcd3'

/**
 * floor.ts SOCKET ETCD: the least that a registrar can do, to measure others against. A start or die event of the engine
 * at SOCKET, one inspect, one put at ETCD (host:port), below /floor/. It checks nothing, repeats nothing, remembers nothing.
 */
const [socketPath = '', etcd = ''] = process.argv.slice(2)
const { kv } = new Etcd3({ hosts: `http://${etcd}` })
const agent = new Agent({ keepAlive: true })

interface Event {
  readonly Actor: { readonly ID: string }
}
interface Inspected {
  readonly Name: string
  readonly State: { readonly Status: string }
  readonly NetworkSettings: { readonly Ports: Record<string, { HostPort: string }[] | null> }
}

const ask = (path: string, take: (response: IncomingMessage) => void): void =>
  void get({ socketPath, path, agent }, take)

const register = (id: string): void =>
  ask(`/containers/${id}/json`, (response) => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('end', async () => {
      const { Name, State, NetworkSettings } = JSON.parse(Buffer.concat(chunks).toString()) as Inspected
      const ports = Object.values(NetworkSettings.Ports).flatMap((bound) => bound ?? [])
      await kv.put({
        key: Buffer.from(`/floor/web/h1:${Name.slice(1)}:80`),
        value: Buffer.from(
          JSON.stringify({ state: State.Status, address: `198.51.100.7:${ports[0]?.HostPort}` }),
        ),
      })
    })
  })

const filters = encodeURIComponent(JSON.stringify({ type: ['container'], event: ['start', 'die'] }))
ask(`/events?filters=${filters}`, (response) => {
  createInterface({ input: response }).on('line', (line) => register((JSON.parse(line) as Event).Actor.ID))
})
