import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { until } from '../../process/backoff.ts'
import type { EngineHost } from './engine-host.ts'
import type { Teardown } from './etcd.ts'

/** On the loopback of the engine's own network: Docker takes no TLS from there. */
const address = '127.0.0.1:5000'

/** A real registry (Debian's docker-registry) that an Engine can push to and pull from; returns its host and port. Ends with the test. */
export const startRegistry = async (t: Teardown, engine: EngineHost): Promise<string> => {
  const folder = join(engine.folder, 'registry')
  await mkdir(folder)
  const config = join(folder, 'config.yml')
  const settings = {
    version: 0.1,
    storage: { filesystem: { rootdirectory: join(folder, 'data') } },
    http: { addr: address },
    log: { level: 'warn' },
  }
  await writeFile(config, JSON.stringify(settings))
  const child = engine.netProcess('docker-registry', 'serve', config)
  t.teardown(() => child.kill('SIGKILL'))
  const [host, port] = address.split(':')
  const answers = () =>
    engine.net('bash', '-c', `exec 3<>/dev/tcp/${host}/${port}`).then(
      () => true as const,
      () => undefined,
    )
  if (!(await until(answers, { ms: 10_000 }))) throw new Error('docker-registry does not answer after 10 s')
  return address
}
