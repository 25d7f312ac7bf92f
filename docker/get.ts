import type http from 'node:http'
import { Failure } from '../process/failure.ts'
import { connectionOf, type Docker, dockerFailure } from './client.ts'

/**
 * The answer to a GET, whole and as JSON, within `ms`. For what is asked a thousand times on end: it takes half the time of
 * dockerode, which prints its options and makes a signal for each question (docs/decisions/0023-questions-by-http.md).
 * Rejects with a Failure, as callDocker does.
 */
export const getJson = async (docker: Docker, doing: string, path: string, ms: number): Promise<unknown> => {
  const text = await getText(docker, doing, path, ms)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Failure('invalid', `${doing}: the Docker Engine's answer is no JSON`, error)
  }
}

/** The same as text. */
export const getText = (docker: Docker, doing: string, path: string, ms: number): Promise<string> =>
  new Promise((resolve, reject) => {
    const { get, options } = connectionOf(docker)
    const request = get({ ...options, path }, (response: http.IncomingMessage) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', fail)
      response.on('end', () => {
        const [first = Buffer.of()] = chunks
        const text = (chunks.length === 1 ? first : Buffer.concat(chunks)).toString()
        if (response.statusCode !== 200) fail(refusal(response.statusCode, text))
        else {
          clearTimeout(timer)
          resolve(text)
        }
      })
    })
    request.on('error', fail)
    const timer = setTimeout(() => {
      fail(new Failure('unavailable', `${doing}: the Docker Engine did not answer within ${ms / 1000} s`))
      request.destroy()
    }, ms)
    function fail(error: unknown): void {
      clearTimeout(timer)
      reject(dockerFailure(doing, error))
    }
  })

/** As dockerFailure knows them: with the status, and the Engine's own words where it has any. */
const refusal = (statusCode: number | undefined, text: string): Error => {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    json = { message: text.trim() || `HTTP status ${statusCode}` }
  }
  return Object.assign(new Error(`HTTP status ${statusCode}`), { statusCode, json })
}
