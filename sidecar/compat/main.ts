import { randomUUID } from 'node:crypto'
import { connectDocker } from '../../docker/client.ts'
import { parseEndpoint } from '../../docker/endpoint.ts'
import { pause } from '../../process/backoff.ts'
import { explain, Failure, isFailure } from '../../process/failure.ts'
import { runProcess } from '../../process/lifecycle.ts'
import { type Address, listen, parseAddress } from '../../process/listener.ts'
import { createLog } from '../../process/log.ts'
import { giveBackMemory } from '../../process/memory.ts'
import { version } from '../../process/version.ts'
import { dryRun } from '../../registry/stores/dry-run.ts'
import { readTarget } from '../../registry/stores/schemes.ts'
import { createApp } from '../http/app.ts'
import { sidecarOptions } from '../options.ts'
import { seatOf } from '../seat.ts'
import { Sidecar } from '../sidecar.ts'
import { parseTemplate } from '../template/template.ts'
import { compatHelp, readCompat } from './options.ts'
import { compatRules, compatSettings } from './plan.ts'
import { templateTags } from './tags.ts'

const name = 'openebs-registrator'
const { options, own, target } = given()
await runProcess(createLog(name, own.OPENEBS_LOG_LEVEL), async (stack, stop) => {
  const log = createLog(name, own.OPENEBS_LOG_LEVEL)
  const address = parseAddress(own.OPENEBS_LISTEN) as Address // the schema has tried it
  if (options.ttl !== undefined && options.ttl < own.OPENEBS_TTL)
    log.warn(
      { ttl: own.OPENEBS_TTL },
      `-ttl ${options.ttl} is too short to be kept through a hiccup of the registry`,
    )
  const occupant = { ttl: own.OPENEBS_TTL, renew: options.ttlRefresh }
  const sidecar = new Sidecar({
    ...sidecarOptions(own, {
      docker: connectDocker(parseEndpoint(own)),
      openStore: undefined,
      run: { instance: randomUUID(), since: new Date().toISOString(), version, seat: seatOf(address) },
      log,
    }),
    ...(options.tags !== undefined && { tagsOf: templateTags(options.tags, log) }),
    rules: compatRules(options, own),
    keepFailed: options.deregister === 'on-success',
    journal: { ttl: own.OPENEBS_EVENTS_TTL, most: 0 },
    outlets: [
      {
        name: 'registry',
        view: target.view,
        open: async (host) =>
          options.dryRun
            ? dryRun(target, { host, log })
            : await target.open({ ...occupant, host, log, hooks: sidecar.metrics.outlets }),
      },
    ],
  })
  const app = createApp({
    missing: () => sidecar.missing(),
    warnings: () => sidecar.warnings,
    metrics: sidecar.metrics.registry,
    store: () => {
      throw new Failure('not-found', 'there is no registry of OpenEBS here: registrator run keeps one')
    },
    stop,
  })
  try {
    stack.use(await listen(app, address))
  } catch (error) {
    // the peer listens nowhere, so nobody has made room for it
    if (!isFailure(error) || process.env.OPENEBS_LISTEN) throw error
    log.warn(
      { reason: explain(error) },
      'no /readyz and /metrics: OPENEBS_LISTEN names another place for them',
    )
  }
  log.info({ version, docker: own.DOCKER_HOST }, 'started')
  giveBackMemory(stop)
  const gaveUp = new AbortController()
  const running = sidecar.run(AbortSignal.any([stop, gaveUp.signal]))
  try {
    await Promise.race([running, giveUp(sidecar, stop)])
  } finally {
    // what was written by then is withdrawn
    gaveUp.abort()
    await Promise.allSettled([running])
  }
})

/** Where the tries at the start are numbered: ends the run (`unavailable`) when none of them has reached the registry. */
async function giveUp(sidecar: Sidecar, stop: AbortSignal): Promise<void> {
  const { retryAttempts, retryInterval } = options
  if (retryAttempts !== undefined) {
    const end = performance.now() + (retryAttempts + 1) * retryInterval
    while (!stop.aborted && !sidecar.outletsSettled) {
      const trouble = sidecar.outletTrouble
      if (trouble !== undefined && performance.now() > end)
        throw new Failure('unavailable', `given up after ${retryAttempts} retries: ${trouble}`)
      await pause(50, stop)
    }
  }
  return new Promise(() => {})
}

/** What is wrong with the command line is said in plain text: whoever starts this by hand reads it. */
function given() {
  try {
    const options = readCompat(process.argv.slice(2))
    if (options === 'help' || options === 'version') {
      process.stdout.write(options === 'help' ? compatHelp : `${version}\n`)
      process.exit(0)
    }
    const own = compatSettings(options, process.env)
    parseEndpoint(own)
    if (options.tags !== undefined) checkTags(options.tags)
    return { options, own, target: readTarget(options.uri, own) }
  } catch (error) {
    if (!isFailure(error, 'invalid')) throw error
    process.stderr.write(`registrator: ${explain(error)}\n(registrator -help tells more)\n`)
    process.exit(2)
  }
}

function checkTags(template: string): void {
  try {
    parseTemplate(template)
  } catch (error) {
    throw isFailure(error) ? new Failure('invalid', `-tags: ${error.message}`) : error
  }
}
