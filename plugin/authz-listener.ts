import type { IncomingMessage, RequestListener } from 'node:http'
import { parseJson } from '../process/json.ts'
import type { Log } from '../process/log.ts'
import type { Authz } from './authz.ts'
import { type AuthzAnswer, AuthzRequest } from './protocol.ts'

/** Bytes: 4 MiB of body, the most that newer engines pass on, in base64 and JSON, with headers and an answer. */
const mostBytes = 16 * 2 ** 20

const unread: AuthzAnswer = { Allow: false, Msg: 'openebs: denied, as the request could not be read' }
const broken: AuthzAnswer = {
  Allow: false,
  Msg: 'openebs: denied by an internal error of the plugin: see its log',
}
const passed: AuthzAnswer = { Allow: true, Msg: '' }

/**
 * The two calls that every call of the Docker API waits for: they go past express, whose work takes longer than the decision.
 * All others are for `others`. What cannot be read, or fails by a bug, is denied. Of what the Engine has done it can only be
 * told: that is answered first, and looked at afterwards.
 */
export const withAuthz = (authz: Authz, log: Log, others: RequestListener): RequestListener => {
  const failed = (path: string) => (error: unknown) => {
    log.error({ path, error }, 'a call failed by a bug')
    return broken
  }
  const decide = async (bytes: Buffer | undefined) => {
    const read = bytes && parse(bytes)
    return read ? authz.request(read) : unread
  }
  const told = async (bytes: Buffer | undefined) => {
    const read = bytes && parse(bytes)
    if (read) authz.response(read)
  }
  return (request, response) => {
    const answer = (given: AuthzAnswer) =>
      void response.setHeader('content-type', 'application/json').end(JSON.stringify(given))
    const path = request.method === 'POST' ? request.url : undefined
    if (path === '/AuthZPlugin.AuthZReq') void readAll(request).then(decide).catch(failed(path)).then(answer)
    else if (path === '/AuthZPlugin.AuthZRes')
      void readAll(request)
        .then((bytes) => {
          answer(passed)
          setImmediate(() => void told(bytes).catch(failed(path)))
        })
        .catch(failed(path))
    else others(request, response)
  }
}

/** Undefined where it is too large to be such a call. Rejects where the Engine hangs up. */
const readAll = (request: IncomingMessage): Promise<Buffer | undefined> => {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>()
  const chunks: Buffer[] = []
  let bytes = 0
  request
    .on('data', (chunk: Buffer) => {
      bytes += chunk.length
      // read to its end, or the Engine would not see the answer
      if (bytes <= mostBytes) chunks.push(chunk)
    })
    .once('end', () => resolve(bytes > mostBytes ? undefined : Buffer.concat(chunks)))
    .once('error', reject)
  return promise
}

/** Undefined where it is no such call. */
const parse = (bytes: Buffer): AuthzRequest | undefined =>
  AuthzRequest.safeParse(parseJson(bytes.toString('utf8'))).data
