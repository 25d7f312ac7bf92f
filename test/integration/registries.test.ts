import t, { type Test } from 'tap'
import { until } from '../../process/backoff.ts'
import { startConsul } from '../support/consul.ts'
import { pairsBelow } from '../support/consul-sites.ts'
import { EngineHost } from '../support/engine-host.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'
import { startZookeeper } from '../support/zookeeper.ts'

/** Containers of a real Engine in a real Consul and a real ZooKeeper, by the command line of gliderlabs/registrator. */
if (process.getuid?.() !== 0) {
  t.plan(0, 'an engine of its own needs root')
  process.exit()
}

t.test('Consul and ZooKeeper', { timeout: 180_000 }, async (t) => {
  const engine = await EngineHost.prepare(t)
  const { docker } = engine
  await engine.start()
  await engine.importImage('web:1', ['/bin/sleep'], 'EXPOSE 80', 'CMD ["/bin/sleep","900"]')
  const [consul, zookeeper] = await Promise.all([startConsul(t), startZookeeper(t)])
  const begin = (t: Test, ...args: string[]) =>
    SidecarProcess.start(t, { DOCKER_HOST: engine.endpoint, OPENEBS_HOST: 'h1' }, [
      '-ip',
      '10.9.9.9',
      ...args,
    ])
  const becomes = async (t: Test, look: () => Promise<unknown>, wanted: object, what: string) => {
    let last: unknown
    const same = () => JSON.stringify(last) === JSON.stringify(wanted)
    await until(
      async () => {
        last = await look()
        return same() ? true : undefined
      },
      { ms: 30_000 },
    )
    t.strictSame(last, wanted, what)
  }

  await t.test("Consul's agent, with a check and tags of a template", async (t) => {
    const tags = 'always,{{.Config.Hostname}},{{index .Config.Labels "zone"}}'
    const sidecar = await begin(t, '-tags', tags, `consul://${consul.address}`)
    await docker(
      ...['run', '-d', '--name', 'c1', '-p', '18080:80', '--hostname', 'inside', '-l', 'zone=b1'],
      ...['-e', 'SERVICE_TAGS=own', '-e', 'SERVICE_REGION=eu', '-e', 'SERVICE_CHECK_HTTP=/health'],
      ...['-e', 'SERVICE_CHECK_INTERVAL=5s', 'web:1'],
    )
    const look = async () => {
      const services = (await consul.client.call('GET', '/v1/agent/services')) as Record<
        string,
        { Service: string; Address: string; Port: number; Tags: string[]; Meta: Record<string, string> }
      >
      return Object.entries(services).map(([id, one]) => [
        ...[id, one.Service, one.Address, one.Port, one.Tags, one.Meta.region],
      ])
    }
    const wanted = [['h1:c1:80', 'web', '10.9.9.9', 18_080, ['own', 'always', 'inside', 'b1'], 'eu']]
    await becomes(t, look, wanted, 'the service')
    const checks = Object.values((await consul.client.call('GET', '/v1/agent/checks')) as object) as {
      ServiceID: string
      Type: string
      Definition: { Interval: string; HTTP: string }
    }[]
    t.match(checks, [{ ServiceID: 'h1:c1:80', Type: 'http' }], 'and its check')
    await docker('rm', '-f', 'c1')
    await becomes(t, look, [], 'gone')
    await docker('run', '-d', '--name', 'c2', '-p', '18080:80', 'web:1')
    await until(async () => ((await look()).length > 0 ? true : undefined), { ms: 30_000 })
    t.equal(await sidecar.end('SIGTERM'), 0)
    t.strictSame(await look(), [], 'a stop withdraws')
    await docker('rm', '-f', 'c2')
  })

  await t.test("Consul's keys", async (t) => {
    const sidecar = await begin(t, `consulkv://${consul.address}/some/services`)
    await docker('run', '-d', '--name', 'c1', '-p', '18080:80', 'web:1')
    const look = () => pairsBelow(consul.client, 'some/services')
    await becomes(t, look, { 'web/h1:c1:80': '10.9.9.9:18080' }, 'there')
    await docker('kill', 'c1')
    await becomes(t, look, {}, 'gone')
    await docker('rm', '-f', 'c1')
    t.equal(await sidecar.end('SIGTERM'), 0)
  })

  await t.test('ZooKeeper', async (t) => {
    const sidecar = await begin(t, `zookeeper://${zookeeper.address}/some/services`)
    const id = (
      await docker('run', '-d', '--name', 'c1', '-p', '18080:80', '-e', 'SERVICE_REGION=eu', 'web:1')
    ).trim()
    const look = async () => {
      await using reader = await zookeeper.reader()
      const tree = await reader.tree('/some/services')
      return Object.fromEntries(
        Object.entries(tree).map(([key, { value, owner }]) => [
          key,
          { ...(JSON.parse(value) as object), ephemeral: owner !== 0n },
        ]),
      )
    }
    const node = {
      ...{ Name: 'web', IP: '10.9.9.9', PublicPort: 18_080, PrivatePort: 80, ContainerID: id.slice(0, 12) },
      ...{ Tags: [], Attrs: { region: 'eu' }, ephemeral: true },
    }
    await becomes(t, look, { 'web/10.9.9.9:18080': node }, 'there')
    t.equal(await sidecar.end('SIGTERM'), 0)
    t.strictSame(await look(), {}, 'a stop withdraws')
    await docker('rm', '-f', 'c1')
  })
})
