import { rm } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import { connect } from 'node:net'
import { Failure } from './failure.ts'

/** Where a server listens: a unix socket, or a TCP address ("127.0.0.1:9190", ":9190", "[::1]:9190"). */
export type Address = { socket: string } | { host: string; port: number }

/** The kernel cuts longer socket paths silently (sun_path holds 108 bytes with its end mark). */
const longestSocketPath = 107

export const parseAddress = (text: string): Address | undefined => {
  if (text.startsWith('unix://')) return { socket: text.slice('unix://'.length) }
  const match = /^(?<host>[^:[\]]*|\[[0-9a-fA-F:]+\]):(?<port>\d{1,5})$/.exec(text)
  if (!match?.groups) return undefined
  const port = Number(match.groups.port)
  const host = (match.groups.host ?? '').replace(/^\[|\]$/g, '')
  return port <= 65535 ? { host: host || '0.0.0.0', port } : undefined
}

const socketAnswers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })

/**
 * Binds an HTTP server. A stale socket file is replaced, one that answers is not. Errors: `invalid` with the reason
 * and what to do (path too long, address in use, not permitted).
 */
export const listen = async (
  handler: RequestListener,
  address: Address,
): Promise<Server & AsyncDisposable> => {
  const where = 'socket' in address ? address.socket : `${address.host}:${address.port}`
  if ('socket' in address) {
    if (Buffer.byteLength(address.socket) > longestSocketPath)
      throw new Failure(
        'invalid',
        `socket path ${where} is longer than ${longestSocketPath} bytes: choose a shorter folder`,
      )
    if (await socketAnswers(address.socket))
      throw new Failure('invalid', `another process listens on ${where}: stop it first`)
    await rm(address.socket, { force: true })
  }
  const server = createServer(handler)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE' ? 'the port is in use: free it or choose another' : error.message
      reject(new Failure('invalid', `cannot listen on ${where}: ${why}`, error))
    })
    if ('socket' in address) server.listen(address.socket, resolve)
    else server.listen(address.port, address.host, resolve)
  })
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return Object.assign(server, { [Symbol.asyncDispose]: close })
}
