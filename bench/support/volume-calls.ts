import { symlink } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import type { PluginHost } from '../../test/support/plugin-host.ts'

/** The calls of the plugin that the Engine makes, made by us on the plugin's own socket, each on a new connection as the Engine's are. */
export class VolumeCalls {
  readonly #socket: string

  private constructor(socket: string) {
    this.#socket = socket
  }

  static async of(host: PluginHost): Promise<VolumeCalls> {
    const [plugin] = JSON.parse(await host.engine.docker('plugin', 'inspect', 'openebs')) as { Id: string }[]
    // a socket's path must be short
    const socket = join(host.engine.folder, 'plugin.sock')
    await symlink(await host.engine.path(`/run/docker/plugins/${plugin?.Id}/openebs.sock`), socket)
    return new VolumeCalls(socket)
  }

  /** Its answer, and the ms that it took. */
  async call(method: string, body: object): Promise<{ answer: Record<string, unknown>; ms: number }> {
    const began = performance.now()
    const answer = await this.#post(`/VolumeDriver.${method}`, JSON.stringify(body))
    const ms = performance.now() - began
    if (answer.Err) throw new Error(`${method} ${JSON.stringify(body)}: ${answer.Err}`)
    return { answer, ms }
  }

  #post(path: string, body: string): Promise<Record<string, unknown>> {
    const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>>()
    request({ socketPath: this.#socket, path, method: 'POST' }, (response) => {
      let text = ''
      response.on('data', (chunk) => (text += chunk))
      response.on('end', () => resolve(JSON.parse(text)))
    })
      .once('error', reject)
      .end(body)
    return promise
  }
}
