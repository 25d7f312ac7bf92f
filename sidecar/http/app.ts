import express, { type NextFunction, type Request, type Response } from 'express'
import type { Registry } from 'prom-client'
import { explain, type FailureKind, isFailure } from '../../process/failure.ts'
import type { Store } from '../../registry/store.ts'
import { serveTargets } from './prometheus.ts'
import { serveRecords } from './records.ts'
import { serveWatch, Watchers } from './watch.ts'

export interface AppParts {
  /** What keeps this sidecar from being ready, a sentence each; empty when it is ready. */
  missing(): Promise<readonly string[]>
  /** What does not, and is to be known. */
  warnings(): readonly string[]
  metrics: Registry
  /** Undefined as long as the host's name is not known. */
  store(): Store | undefined
  /** Ends the streams: a server that closes waits for nobody. */
  stop: AbortSignal
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
 * missing; with warnings), /metrics (Prometheus), /v1 (the records of all hosts, straight from the store; records.ts), /v1/watch (their
 * changes as server-sent events; watch.ts), /v1/prometheus/targets (services as targets; prometheus.ts). Errors are
 * {"error": "..."}.
 */
export const createApp = (parts: AppParts): ReturnType<typeof express> => {
  const app = express()
  const watchers = new Watchers(parts.store, parts.stop)
  app.disable('x-powered-by')
  app.get('/healthz', (_request, response) => {
    response.json({ healthy: true })
  })
  app.get('/readyz', async (_request, response) => {
    const missing = await parts.missing()
    response
      .status(missing.length === 0 ? 200 : 503)
      .json({ ready: missing.length === 0, missing, warnings: parts.warnings() })
  })
  app.get('/metrics', async (_request, response) => {
    response.type(parts.metrics.contentType).send(await parts.metrics.metrics())
  })
  app.get('/v1/watch', (request, response) => serveWatch(watchers, request, response))
  app.get('/v1/prometheus/targets', (request, response) => serveTargets(parts.store(), request, response))
  app.get(/^\/v1(\/|$)/, (request, response) => serveRecords(parts.store(), request, response))
  app.use((request, response) => {
    const known = request.method === 'GET' || request.method === 'HEAD'
    response
      .status(known ? 404 : 405)
      .json({ error: known ? `no such resource: ${request.path}` : 'only GET is served here' })
  })
  app.use(failed)
  return app
}

/** Express knows an error handler by its four parameters. */
const failed = (error: unknown, _request: Request, response: Response, next: NextFunction): void => {
  if (response.headersSent) next(error)
  else response.status(isFailure(error) ? statuses[error.kind] : 500).json({ error: explain(error) })
}
