import { randomUUID } from 'node:crypto'
import { connectDocker } from '../docker/client.ts'
import { parseEndpoint } from '../docker/endpoint.ts'
import { explain, isFailure } from '../process/failure.ts'
import { runProcess } from '../process/lifecycle.ts'
import { type Address, listen, parseAddress } from '../process/listener.ts'
import { createLog } from '../process/log.ts'
import { giveBackMemory } from '../process/memory.ts'
import { describeSettings, readFlags, readSettings } from '../process/settings.ts'
import { version } from '../process/version.ts'
import { openEtcd } from '../registry/stores/etcd.ts'
import { etcdSettings } from '../registry/stores/settings.ts'
import { onSession } from '../registry/stores/view-store.ts'
import { readView } from '../registry/views/views.ts'
import { createApp } from './http/app.ts'
import { sidecarOptions } from './options.ts'
import { PrometheusFile } from './prometheus-file.ts'
import { seatOf } from './seat.ts'
import { type Settings, settings } from './settings.ts'
import { Sidecar } from './sidecar.ts'

const help = `registrator run [flags]

Registers this host, its containers, services, VSMs, images, networks, plugins and volumes in the registry, on a manager
those of its swarm, and keeps the registry equal to what the Docker Engine really runs, with a journal of what happened.
At SIGTERM it withdraws the records of this host, or leaves them to a successor (--on-exit keep).

Settings, as flags or from the environment; a flag comes first, an empty value counts as not given:
${describeSettings(settings)}
`

const args = process.argv.slice(2)
if (args.includes('--help') || args.includes('-h')) {
  process.stdout.write(help)
  process.exit(0)
}

const name = 'openebs-registrator'
const own = given()
await runProcess(createLog(name, 'info'), async (stack, stop) => {
  const log = createLog(name, own.OPENEBS_LOG_LEVEL)
  const address = parseAddress(own.OPENEBS_LISTEN) as Address // the schema has tried it
  const sidecar = new Sidecar(
    sidecarOptions(own, {
      docker: connectDocker(parseEndpoint(own)),
      openStore: (writer) => openEtcd(etcdSettings(own, writer)),
      outlets: own.OPENEBS_VIEWS.map(readView)
        .filter((found) => found !== undefined)
        .map(({ name, view, root }) => ({
          name,
          view,
          open: async (host, session) => {
            if (!session) throw new Error('a view beside the registry is kept on its lease')
            const store = await openEtcd({ ...etcdSettings(own, `${name}/${host}`), root })
            return onSession(store, session, { host, view, log })
          },
        })),
      run: { instance: randomUUID(), since: new Date().toISOString(), version, seat: seatOf(address) },
      log,
    }),
  )
  const { metrics } = sidecar
  const file = own.OPENEBS_PROMETHEUS_FILE
  const targets = file === undefined ? undefined : new PrometheusFile(file, log)
  const app = createApp({
    missing: () => sidecar.missing(),
    warnings: () => [...sidecar.warnings, ...(targets?.warnings ?? [])],
    metrics: metrics.registry,
    store: () => sidecar.store,
    stop,
  })
  // bound before anything else: only then the seat is ours
  stack.use(await listen(app, address))
  log.info({ version, listen: own.OPENEBS_LISTEN, docker: own.DOCKER_HOST }, 'started')
  giveBackMemory(stop)
  await Promise.all([sidecar.run(stop), targets?.run(() => sidecar.store, stop)])
})

/** What is wrong with the settings is said in plain text: whoever starts this by hand reads it. */
function given(): Settings {
  try {
    const own = readSettings(settings, process.env, readFlags(settings, args))
    etcdSettings(own) // the store is opened when the host's name is known; its settings are refused at once
    parseEndpoint(own)
    return own
  } catch (error) {
    if (!isFailure(error, 'invalid')) throw error
    process.stderr.write(`registrator run: ${explain(error)}\n`)
    process.exit(2)
  }
}
