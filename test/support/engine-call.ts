import http from 'node:http'
import { join } from 'node:path'
import type { EngineHost } from './engine-host.ts'

export interface Answer {
  status: number
  text: string
}

/** ms. An Engine that does not answer is a failure. */
const patience = 20_000

/**
 * One call of the Docker API exactly as given, which a client of Docker would tidy up first. Status 0: the Engine hung up before
 * it had read the body.
 */
export const callEngine = (
  engine: EngineHost,
  method: string,
  path: string,
  {
    headers = {},
    body,
    chunked = false,
  }: { headers?: Record<string, string>; body?: string; chunked?: boolean } = {},
): Promise<Answer> => {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const request = http
    .request(
      {
        socketPath: join(engine.folder, 'docker.sock'),
        ...{ method, path, headers, agent: false },
        signal: AbortSignal.timeout(patience),
      },
      (response) => {
        let text = ''
        response.once('error', reject)
        response.on('data', (chunk) => (text += chunk))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
      },
    )
    .once('error', (error: NodeJS.ErrnoException) => {
      if (['EPIPE', 'ECONNRESET'].includes(error.code ?? '')) resolve({ status: 0, text: error.message })
      else reject(error)
    })
  // also of one that had no answer
  request.once('close', () => reject(new Error(`${method} ${path}: the connection has ended`)))
  if (chunked && body) request.write(body)
  request.end(chunked ? undefined : body)
  return promise
}
