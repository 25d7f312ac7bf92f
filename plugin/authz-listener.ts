import type { IncomingMessage, RequestListener } from 'node:http'
import type { Log } from '../process/log.ts'
import type { Authz } from './authz.ts'
import { type AuthzAnswer, AuthzRequest } from './protocol.ts'

/** Bytes: 4 MiB of body, the most that newer engines pass on, in base64 and JSON, with headers and an answer. */
const mostBytes = 16 * 2 ** 20

const unread: AuthzAnswer = { Allow: false, Msg: 'openebs: denied, as the request could not be read' }
const passed: AuthzAnswer = { Allow: true, Msg: '' }

/**
 * The two calls that every call of the Docker API waits for: they go past express, whose work takes longer than the decision.
 * All others are for `others`. What cannot be read, or fails by a bug, is denied; of what the Engine has done it can only be told.
 */
export const withAuthz = (authz: Authz, log: Log, others: RequestListener): RequestListener => {
  const calls: Readonly<
    Record<string, (read: AuthzRequest | undefined) => AuthzAnswer | Promise<AuthzAnswer>>
  > = {
    '/AuthZPlugin.AuthZReq': (read) => (read ? authz.request(read) : unread),
    '/AuthZPlugin.AuthZRes': (read) => (read ? authz.response(read) : passed),
  }
  return (request, response) => {
    const call = request.method === 'POST' ? calls[request.url ?? ''] : undefined
    if (!call) return others(request, response)
    void readCall(request)
      .then(call)
      .catch((error: unknown): AuthzAnswer => {
        log.error({ path: request.url, error }, 'a call failed by a bug')
        return { Allow: false, Msg: 'openebs: denied by an internal error of the plugin: see its log' }
      })
      .then((answer) => response.setHeader('content-type', 'application/json').end(JSON.stringify(answer)))
  }
}

/** Undefined where it is no such call, or too large to be one. */
const readCall = async (request: IncomingMessage): Promise<AuthzRequest | undefined> => {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    // read to its end, or the Engine would not see the answer
    if (bytes <= mostBytes) chunks.push(chunk)
  }
  if (bytes > mostBytes) return undefined
  try {
    return AuthzRequest.safeParse(JSON.parse(Buffer.concat(chunks).toString('utf8'))).data
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
