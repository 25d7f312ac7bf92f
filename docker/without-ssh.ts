import { registerHooks } from 'node:module'

/**
 * Endpoints are unix or tcp (endpoint.ts), but docker-modem loads an SSH client with all its ciphers all the same: 3 MB of a
 * process's memory. An empty module takes its place. To be imported before dockerode.
 */
registerHooks({
  load: (url, context, next) =>
    url.endsWith('/node_modules/ssh2/lib/index.js')
      ? { format: 'commonjs', source: 'module.exports = {}', shortCircuit: true }
      : next(url, context),
})
