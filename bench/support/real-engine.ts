import { Agent, type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { EngineHost } from '../../test/support/engine-host.ts'
import type { Teardown } from '../../test/support/etcd.ts'
import type { Happened } from './synthetic-engine.ts'

const image = 'web:1'
const loop = 'CMD ["/bin/sh","-c","trap exit TERM; while :; do /bin/sleep 900 & wait; done"]'

/** A real engine with containers that publish a port, commanded by its API: a docker client would cost more than is measured. */
export class RealEngine {
  readonly endpoint: string
  #host: EngineHost
  #agent = new Agent({ keepAlive: true })

  private constructor(host: EngineHost) {
    this.#host = host
    this.endpoint = host.endpoint
  }

  static async start(t: Teardown): Promise<RealEngine> {
    const host = await EngineHost.prepare(t)
    await host.start()
    await host.importImage(image, ['/bin/sh', '/bin/sleep'], loop, 'EXPOSE 80')
    const engine = new RealEngine(host)
    t.teardown(() => engine.#agent.destroy())
    return engine
  }

  async create(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const labels = { 'com.docker.compose.project': 'shop', 'com.docker.compose.service': 'web' }
      const ports = { PortBindings: { '80/tcp': [{ HostPort: '' }] } }
      const body = { Image: image, Labels: labels, ExposedPorts: { '80/tcp': {} }, HostConfig: ports }
      await this.#ask('POST', `/containers/create?name=${name}`, body)
    }
  }

  async startContainer(name: string): Promise<void> {
    await this.#ask('POST', `/containers/${name}/start`)
  }

  async kill(name: string): Promise<void> {
    await this.#ask('POST', `/containers/${name}/kill?signal=KILL`)
  }

  /** What the engine kept of the starts and ends since then (ms since 1970): nobody had to listen for it. */
  async happened(since: number): Promise<Happened[]> {
    const filters = encodeURIComponent(JSON.stringify({ type: ['container'], event: ['start', 'die'] }))
    const seconds = (ms: number) => (ms / 1000).toFixed(6)
    const text = await this.#ask(
      'GET',
      `/events?since=${seconds(since)}&until=${seconds(Date.now())}&filters=${filters}`,
    )
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const { Action, Actor } = JSON.parse(line) as {
          Action: 'start' | 'die'
          Actor: { Attributes: { name: string } }
        }
        const nano = BigInt(/"timeNano":(\d+)/.exec(line)?.[1] ?? 0)
        return { container: Actor.Attributes.name, action: Action, at: Number(nano / 1000n) / 1000 }
      })
  }

  #ask(method: string, path: string, body?: object): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const headers = body ? { 'Content-Type': 'application/json' } : {}
    const options = {
      socketPath: join(this.#host.folder, 'docker.sock'),
      method,
      path,
      headers,
      agent: this.#agent,
    }
    const asked = request(options, async (response: IncomingMessage) => {
      const chunks: Buffer[] = []
      for await (const chunk of response) chunks.push(chunk as Buffer)
      const text = Buffer.concat(chunks).toString()
      if ((response.statusCode ?? 500) < 400) resolve(text)
      else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`))
    })
    asked.on('error', reject).end(body && JSON.stringify(body))
    return promise
  }
}
