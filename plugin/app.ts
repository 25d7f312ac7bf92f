import express, { type ErrorRequestHandler, type Express, type Response } from 'express'
import { z } from 'zod'
import { explain, Failure, isFailure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import { capabilities, manifest, requests } from './protocol.ts'
import { mustNotAnswer, type VolumeDriver } from './volume-driver.ts'

export interface AppParts {
  /** Resolves when the local copy is read: calls that come earlier wait for it. */
  driver: () => Promise<VolumeDriver>
  log: Log
}

/** Options and names are far below. */
const bodyLimit = '1mb'

/** The plugin's HTTP side, but for authz (authz-listener.ts). The Engine sends no content type and no host, so the body is read as text, whatever it says. */
export const createApp = ({ driver, log }: AppParts): Express => {
  const app = express()
  app.disable('x-powered-by')
  app.use(express.text({ type: () => true, limit: bodyLimit }))

  const fail = (response: Response, path: string, error: unknown) => {
    const message = isFailure(error) ? explain(error) : 'internal error of the openebs plugin: see its log'
    if (!isFailure(error)) log.error({ path, error }, 'a call failed by a bug')
    response.json({ Err: `openebs: ${message}` })
  }

  /** One call of the volume driver: its schema, and what it answers. */
  const call = <S extends z.ZodType>(
    path: string,
    schema: S,
    answer: (d: VolumeDriver, body: z.infer<S>) => unknown,
  ) => {
    app.post(path, async (request, response) => {
      try {
        response.json(
          (await answer(await driver(), parse(path, schema, request.body))) ?? {
            Err: 'openebs: no such volume',
          },
        )
      } catch (error) {
        fail(response, path, error)
      }
    })
  }

  app.post('/Plugin.Activate', (_, response) => void response.json(manifest))
  app.post('/VolumeDriver.Capabilities', (_, response) => void response.json(capabilities))
  call('/VolumeDriver.Create', requests.create, (d, body) => d.create(body))
  call('/VolumeDriver.Remove', requests.remove, (d, body) => d.remove(body))
  call('/VolumeDriver.Mount', requests.mount, (d, body) => d.mount(body))
  call('/VolumeDriver.Unmount', requests.unmount, (d, body) => d.unmount(body))
  call('/VolumeDriver.Path', requests.path, (d, body) => d.path(body))
  call('/VolumeDriver.List', z.unknown(), (d) => d.list())

  app.post('/VolumeDriver.Get', async (request, response) => {
    try {
      const body = parse('/VolumeDriver.Get', requests.get, request.body)
      response.json((await (await driver()).get(body)) ?? { Err: `openebs: no volume ${body.Name}` })
    } catch (error) {
      if (mustNotAnswer(error)) request.socket.destroy()
      else fail(response, '/VolumeDriver.Get', error)
    }
  })

  app.use(
    (request, response) =>
      void response.status(404).json({ Err: `openebs: unknown call ${request.method} ${request.path}` }),
  )
  const last: ErrorRequestHandler = (error, request, response, _next) => fail(response, request.path, error)
  app.use(last)
  return app
}

/** An empty body is what the Engine sends when it repeats a call during which the plugin died: it must change nothing. */
const parse = <S extends z.ZodType>(path: string, schema: S, body: unknown): z.infer<S> => {
  if (typeof body !== 'string' || body.trim() === '') {
    if (path === '/VolumeDriver.List') return schema.parse({})
    throw new Failure(
      'invalid',
      `${path} came with an empty body, as after a crash of the plugin: repeat the command`,
    )
  }
  const parsed = schema.safeParse(json(body))
  if (!parsed.success)
    throw new Failure(
      'invalid',
      `${path} came with a body that is not as expected: ${z.prettifyError(parsed.error)}`,
    )
  return parsed.data
}

const json = (body: unknown): unknown => {
  try {
    return JSON.parse(String(body))
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
