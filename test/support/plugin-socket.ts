import { existsSync } from 'node:fs'
import { symlink } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import type { PluginHost } from './plugin-host.ts'

/** Calls the plugin of a host by its socket, as the Engine does: "/VolumeDriver.Get" with a body. Resolves with its answer. */
export const callPlugin = async (
  host: PluginHost,
  path: string,
  body = '',
): Promise<Record<string, unknown>> => {
  // a socket's path must be short
  const socketPath = join(host.engine.folder, 'plugin.sock')
  if (!existsSync(socketPath)) {
    const [plugin] = JSON.parse(await host.engine.docker('plugin', 'inspect', 'openebs'))
    await symlink(await host.engine.path(`/run/docker/plugins/${plugin.Id}/openebs.sock`), socketPath)
  }
  const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>>()
  http
    .request({ socketPath, path, method: 'POST' }, (response) => {
      let text = ''
      response.on('data', (chunk) => (text += chunk))
      response.on('end', () => resolve(JSON.parse(text)))
    })
    .once('error', reject)
    .end(body)
  return promise
}
