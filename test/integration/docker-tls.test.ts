import t from 'tap'
import { until } from '../../process/backoff.ts'
import { Authority } from '../support/certificates.ts'
import { EngineHost } from '../support/engine-host.ts'
import { startEtcd } from '../support/etcd.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'
import { differences } from '../support/truth.ts'

/** A real engine that answers over TCP with TLS, and asks its clients for a certificate. */
if (process.getuid?.() !== 0) {
  t.plan(0, 'an engine of its own needs root')
  process.exit()
}

const engine = await EngineHost.prepare(t)
const etcd = await startEtcd(t)
await engine.start() // it has an address from here on
const address = await engine.address()
const ours = await Authority.make(t)
const server = await ours.issue('engine', [address])
const client = await ours.issue('client')
const stranger = await (await Authority.make(t)).issue('stranger')
const daemon = { tlsverify: true, tlscacert: server.ca, tlscert: server.cert, tlskey: server.key }
const port = 2376
const start = () => engine.start(daemon, '-H', `tcp://${address}:${port}`)
await engine.halt('TERM')
await start()

const settings = (certificates: string) => ({
  OPENEBS_STORE: etcd.uri,
  OPENEBS_HOST: 'h1',
  OPENEBS_ADDRESS: address,
  DOCKER_HOST: `tcp://${address}:${port}`,
  DOCKER_TLS_VERIFY: 'true', // Docker's own client takes any word, so scripts have any
  DOCKER_CERT_PATH: certificates,
})

/** Waits until the registry equals the host; gives what differs after `ms`. */
const differs = async (ms: number): Promise<string[]> => {
  const ask = async () =>
    differences({ docker: engine.docker, etcdctl: (...args) => etcd.ctl(...args), host: 'h1', address })
  let last: string[] = []
  await until(
    async () => {
      last = await ask()
      return last.length === 0 ? true : undefined
    },
    { ms },
  )
  return last
}

const says = (sidecar: SidecarProcess, what: RegExp) =>
  until(
    async () => {
      const missing = await sidecar.missing()
      return missing.some((one) => what.test(one)) ? missing : undefined
    },
    { ms: 10_000 },
  )

t.test('an engine over TLS is registered, and followed over its restart', async (t) => {
  const sidecar = await SidecarProcess.start(t, settings(client.folder))
  t.strictSame(await differs(10_000), [], 'its objects')
  await engine.docker('volume', 'create', 'v1')
  t.strictSame(await differs(1000), [], 'a volume')
  await engine.halt('KILL')
  t.ok(await says(sidecar, /Docker Engine at tcp:/), 'it sees that the engine is gone')
  await start()
  t.strictSame(await differs(5000), [], 'after its restart')
  await engine.docker('volume', 'rm', 'v1')
  t.strictSame(await differs(1000), [], 'events come again')
  t.equal(await sidecar.end('SIGTERM'), 0)
})

t.test('certificates that do not fit are said', async (t) => {
  const wrong = await SidecarProcess.start(t, settings(stranger.folder))
  t.match(await says(wrong, /certificate|self.signed/i), [/Docker Engine at tcp:.*certificate/i])
  await wrong.end('SIGTERM')
  const none = await SidecarProcess.start(t, settings('/nowhere'))
  t.equal(await none.ended(), 2)
  t.match(none.log, /DOCKER_CERT_PATH is \/nowhere: cannot read/)
  const plain = await SidecarProcess.start(t, {
    ...settings(''),
    DOCKER_TLS_VERIFY: '0',
    DOCKER_CERT_PATH: '',
  })
  t.ok(await says(plain, /Docker Engine at tcp:/), 'plain HTTP is no way in')
})
