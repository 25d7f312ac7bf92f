import express, { type NextFunction, type Request, type Response } from 'express'
import type { Registry } from 'prom-client'
import { explain, type FailureKind, isFailure } from '../../process/failure.ts'
import { type Collection, schemas } from '../../registry/keys.ts'
import type { Store } from '../../registry/store.ts'
import { readCollection } from './collections.ts'

export interface AppParts {
  /** What keeps this sidecar from being ready, a sentence each; empty when it is ready. */
  missing(): Promise<readonly string[]>
  metrics: Registry
  /** Undefined as long as the host's name is not known. */
  store(): Store | undefined
}

const statuses: Record<FailureKind, number> = {
  invalid: 400,
  denied: 403,
  'not-found': 404,
  conflict: 409,
  'in-use': 409,
  unavailable: 503,
}

/**
 * The sidecar's HTTP side, all of it read-only: /healthz (this process answers), /readyz (200, or 503 with what is
 * missing), /metrics (Prometheus), /v1/<collection> (the records of all hosts, straight from the store). Errors are
 * {"error": "..."}.
 */
export const createApp = (parts: AppParts): ReturnType<typeof express> => {
  const app = express()
  app.disable('x-powered-by')
  app.get('/healthz', (_request, response) => {
    response.json({ healthy: true })
  })
  app.get('/readyz', async (_request, response) => {
    const missing = await parts.missing()
    response.status(missing.length === 0 ? 200 : 503).json({ ready: missing.length === 0, missing })
  })
  app.get('/metrics', async (_request, response) => {
    response.type(parts.metrics.contentType).send(await parts.metrics.metrics())
  })
  app.get('/v1/:collection', async (request, response) => {
    const { collection } = request.params
    const store = parts.store()
    if (!isCollection(collection))
      response.status(404).json({ error: `no such collection: one of ${Object.keys(schemas).join(', ')}` })
    else if (!store) response.status(503).json({ error: 'not connected to a store yet' })
    else response.json(await readCollection(store, collection))
  })
  app.use((request, response) => {
    response.status(404).json({ error: `no such resource: ${request.path}` })
  })
  app.use(failed)
  return app
}

const isCollection = (text: string): text is Collection => Object.hasOwn(schemas, text)

/** Express knows an error handler by its four parameters. */
const failed = (error: unknown, _request: Request, response: Response, next: NextFunction): void => {
  if (response.headersSent) next(error)
  else response.status(isFailure(error) ? statuses[error.kind] : 500).json({ error: explain(error) })
}
