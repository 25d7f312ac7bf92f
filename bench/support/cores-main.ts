import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectDocker } from '../../docker/client.ts'
import { parseEndpoint } from '../../docker/endpoint.ts'
import { createLog } from '../../process/log.ts'
import { readSettings } from '../../process/settings.ts'
import { openEtcd } from '../../registry/stores/etcd.ts'
import { sidecarOptions } from '../../sidecar/options.ts'
import { settings } from '../../sidecar/settings.ts'
import { Sidecar } from '../../sidecar/sidecar.ts'

/** The sidecars of many hosts in one process: all but their HTTP side. Its parent sends one message, the hosts. */
export interface Core {
  readonly host: string
  readonly docker: string
  readonly store: string
}

/** ms between the starts of two: all at once is another thing to measure. */
const apart = 100

/** With the default settings. */
const run = async ({ host, docker, store }: Core, stop: AbortSignal): Promise<void> => {
  const own = readSettings(settings, {
    OPENEBS_STORE: store,
    OPENEBS_HOST: host,
    OPENEBS_ADDRESS: '198.51.100.7',
    DOCKER_HOST: docker,
  })
  const sidecar = new Sidecar(
    sidecarOptions(own, {
      docker: connectDocker(parseEndpoint(own)),
      openStore: (writer) => openEtcd({ uri: own.OPENEBS_STORE, writer }),
      run: { instance: randomUUID(), since: new Date().toISOString(), version: 'bench', seat: undefined },
      log: createLog(host, 'error'),
    }),
  )
  await sidecar.run(stop)
}

const stop = new AbortController()
process.on('disconnect', () => process.exit())
process.on('message', async (cores: readonly Core[]) => {
  const all: Promise<void>[] = []
  for (const core of cores) {
    all.push(run(core, stop.signal))
    await sleep(apart)
  }
  await Promise.all(all)
})
