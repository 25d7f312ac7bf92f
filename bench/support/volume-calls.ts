import type { PluginHost } from '../../test/support/plugin-host.ts'
import { callPlugin } from '../../test/support/plugin-socket.ts'

/** The calls of the plugin that the Engine makes, made by us on the plugin's own socket, each on a new connection as the Engine's are. */
export class VolumeCalls {
  readonly #host: PluginHost

  private constructor(host: PluginHost) {
    this.#host = host
  }

  /** The first call looks for the socket, which is not to be timed. */
  static async of(host: PluginHost): Promise<VolumeCalls> {
    await callPlugin(host, '/VolumeDriver.List', '{}')
    return new VolumeCalls(host)
  }

  /** Its answer, and the ms that it took. */
  async call(method: string, body: object): Promise<{ answer: Record<string, unknown>; ms: number }> {
    const began = performance.now()
    const answer = await callPlugin(this.#host, `/VolumeDriver.${method}`, JSON.stringify(body))
    const ms = performance.now() - began
    if (answer.Err) throw new Error(`${method} ${JSON.stringify(body)}: ${answer.Err}`)
    return { answer, ms }
  }
}
