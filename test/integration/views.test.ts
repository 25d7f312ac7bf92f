import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { until } from '../../process/backoff.ts'
import { targetLabels } from '../../vsm/labels.ts'
import { startDnsServer } from '../support/dns-server.ts'
import { EngineHost } from '../support/engine-host.ts'
import { startEtcd } from '../support/etcd.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'

/**
 * The registry with views beside it, on a real Engine and a real etcd, as an operator has them; and what users put into labels that
 * no layout can carry.
 */
if (process.getuid?.() !== 0) {
  t.plan(0, 'an engine of its own needs root')
  process.exit()
}

const patience = { ms: 20_000 }

t.test('views beside the registry', { timeout: 180_000 }, async (t) => {
  const engine = await EngineHost.prepare(t)
  const { docker } = engine
  await engine.start()
  const etcd = await startEtcd(t)
  await engine.importImage('web:1', ['/bin/sleep', '/bin/sh'], 'EXPOSE 80', 'CMD ["/bin/sleep","900"]')
  const settings = {
    OPENEBS_STORE: etcd.uri,
    DOCKER_HOST: engine.endpoint,
    OPENEBS_HOST: 'h1',
    OPENEBS_ADDRESS: '198.51.100.7',
    OPENEBS_VIEWS: 'registrator=/old,skydns=example.org,traefik',
  }
  let sidecar = await SidecarProcess.start(t, settings)
  await sidecar.ready()
  const run = (name: string, port: number, ...args: string[]) =>
    docker('run', '-d', '--name', name, '-p', `${port}:80`, ...args, 'web:1')

  type Standing = Record<string, { value: string; lease: string }>
  const standing = async (): Promise<Standing> => {
    const { kvs = [] } = JSON.parse(await etcd.ctl('get', '--prefix', '', '-w', 'json')) as {
      kvs?: { key: string; value: string; lease?: number }[]
    }
    const text = (base64: string) => Buffer.from(base64, 'base64').toString()
    return Object.fromEntries(
      kvs.map(({ key, value, lease }) => [text(key), { value: text(value), lease: String(lease) }]),
    )
  }
  const view = async (prefix: string): Promise<Record<string, unknown>> => {
    const parse = (value: string): unknown => (value.startsWith('{') ? JSON.parse(value) : value)
    return Object.fromEntries(
      Object.entries(await standing())
        .filter(([key]) => key.startsWith(prefix))
        .map(([key, { value }]) => [key.slice(prefix.length), parse(value)]),
    )
  }
  const shows = async (
    t: Test,
    prefix: string,
    wanted: Record<string, unknown>,
    what: string,
    ms = 20_000,
  ) => {
    let last: unknown
    const text = (of: object) => JSON.stringify(Object.entries(of).sort())
    await until(
      async () => {
        last = await view(prefix)
        return text(last as object) === text(wanted) ? true : undefined
      },
      { ms },
    )
    t.strictSame(last, wanted, what)
  }
  const place = (port: number) => ({ host: '198.51.100.7', port, priority: 10, weight: 100, ttl: 5 })
  const ofHost = { 'host/h1/h1/ipv4': { host: '198.51.100.7', ttl: 5 } }

  await t.test('a service', async (t) => {
    await run(
      'c1',
      18_080,
      '-l',
      'traefik.enable=true',
      '-l',
      'traefik.http.routers.shop.rule=Host(`shop.org`)',
    )
    await shows(t, '/old/', { 'web/h1:c1:80': '198.51.100.7:18080' }, "the peer's layout")
    await shows(t, '/skydns/org/example/', { 'web/_tcp/_web/h1/c1-80': place(18_080), ...ofHost }, 'DNS')
    await shows(
      t,
      '/skydns/arpa/',
      { 'in-addr/198/51/100/7': { host: 'h1.host.example.org.', ttl: 5 } },
      'PTR',
    )
    const traefik = await until(async () => {
      const all = Object.entries(await view('traefik/'))
      return all.length >= 3 ? all : undefined
    }, patience)
    const server = traefik?.find(([key]) => key.includes('/servers/'))
    t.match(server?.[0], /^http\/services\/[^/]+\/loadBalancer\/servers\/\d+\/url$/)
    t.equal(server?.[1], 'http://198.51.100.7:18080')
    t.match(Object.fromEntries(traefik ?? []), { 'http/routers/shop/rule': 'Host(`shop.org`)' })
    const leases = new Set(
      Object.entries(await standing())
        .filter(
          ([key]) => !key.includes('fences/') && key !== '/openebs/v1/origin' && !key.includes('/events/'),
        )
        .map(([, { lease }]) => lease),
    )
    t.equal(leases.size, 1, 'registry and views are on one lease')
  })

  await t.test('a VSM', async (t) => {
    const labels = targetLabels({
      volume: 'data',
      portals: ['198.51.100.7:3270'],
      size: 64 << 20,
      epoch: 1,
    })
    await docker(
      ...['run', '-d', '--name', 'vsm-data', '-p', '3270:3260', '--expose', '3260'],
      ...Object.entries(labels).flatMap(([name, value]) => ['-l', `${name}=${value}`]),
      ...['--health-cmd', 'true', '--health-interval', '1s', 'web:1'],
    )
    const wanted = {
      'vsm/data/_tcp/_iscsi/h1/portal1': place(3270),
      'vsm/data/txt/h1/iqn1': { text: 'iqn.2016-09.com.openebs:data', ttl: 5 },
      'web/_tcp/_web/h1/c1-80': place(18_080),
      ...ofHost,
    }
    await shows(t, '/skydns/org/example/', wanted, 'is found when it is healthy')
    // as CoreDNS would answer, by the semantics that it documents (test/support/dns-server.ts)
    const { port } = await startDnsServer(t, etcd, ['example.org'])
    const dig = async (...question: string[]) =>
      (
        await promisify(execFile)('dig', ['@127.0.0.1', '-p', String(port), '+short', ...question])
      ).stdout.trim()
    t.equal(
      await dig('SRV', '_iscsi._tcp.data.vsm.example.org'),
      '10 100 3270 portal1.h1._iscsi._tcp.data.vsm.example.org.',
    )
    t.equal(await dig('A', 'data.vsm.example.org'), '198.51.100.7')
    t.equal(await dig('TXT', 'data.vsm.example.org'), '"iqn.2016-09.com.openebs:data"')
    t.equal(await dig('A', 'web.example.org'), '198.51.100.7')
    await docker('rm', '-f', 'vsm-data')
    await shows(t, '/skydns/org/example/', { 'web/_tcp/_web/h1/c1-80': place(18_080), ...ofHost }, 'and gone')
  })

  await t.test('what no layout can carry harms nobody', async (t) => {
    const warned = (what: RegExp) =>
      until(async () => {
        const { warnings } = JSON.parse(await sidecar.get('/readyz')) as { warnings: string[] }
        return warnings.find((one) => what.test(one))
      }, patience)
    await run('twice1', 18_081, '-e', 'SERVICE_80_ID=same')
    await run('twice2', 18_082, '-e', 'SERVICE_80_ID=same')
    t.match(
      await warned(/twice2/),
      /registrator: container twice2: "web\/same" is the key of container twice1 already: one of them needs another SERVICE_ID/,
    )
    await run('climbs', 18_083, '-e', 'SERVICE_NAME=../../etc')
    t.match(
      await warned(/climbs/),
      /container climbs: SERVICE_NAME "..\/..\/etc" is no path below its folder/,
    )
    await run('long', 18_084, '-e', `SERVICE_NAME=${'n'.repeat(300)}`)
    await run('odd', 18_085, '-e', 'SERVICE_NAME=ünï cödé/日本')
    await run('bad', 18_086, '-l', 'traefik.enable=true', '-l', 'traefik.http.routers.bad.priority=high')
    t.match(await warned(/bad/), /traefik: container bad: .*priority/)
    // a megabyte is more than an argument may be: it comes by the API
    const body = {
      Image: 'web:1',
      Labels: { SERVICE_BIG: 'x'.repeat(1 << 20) },
      HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '18087' }] } },
    }
    const created = await post(engine.endpoint, '/containers/create?name=big', body)
    t.equal(created, 201)
    await docker('start', 'big')
    const wanted = {
      'web/h1:c1:80': '198.51.100.7:18080',
      'web/same': '198.51.100.7:18081',
      [`${'n'.repeat(300)}/h1:long:80`]: '198.51.100.7:18084',
      'ünï+cödé/日本/h1:odd:80': '198.51.100.7:18085',
      'web/h1:bad:80': '198.51.100.7:18086',
      'web/h1:big:80': '198.51.100.7:18087',
    }
    await shows(t, '/old/', wanted, 'all others stand')
    const dns = await view('/skydns/org/example/')
    t.ok(
      Object.keys(dns).every((key) => /^[a-z0-9_/-]+$/.test(key)),
      'names of DNS are labels',
    )
    const named = (port: number) =>
      Object.values(dns).filter((one) => (one as { port: number }).port === port)
    for (const port of [18_080, 18_081, 18_082, 18_083, 18_084, 18_085, 18_086, 18_087])
      t.equal(named(port).length, 1, `port ${port} has its name`)
    const traefik = await view('traefik/')
    t.notOk(
      JSON.stringify(traefik).includes('18086'),
      'Traefik hears nothing of a container that it would choke on',
    )
    await docker('rm', '-f', 'twice1')
    const after = { ...wanted, 'web/same': '198.51.100.7:18082' }
    await shows(t, '/old/', after, 'who waits for a key gets it')
    await docker('rm', '-f', 'twice2', 'climbs', 'long', 'odd', 'bad', 'big')
    await shows(t, '/old/', { 'web/h1:c1:80': '198.51.100.7:18080' }, 'and all go again')
  })

  await t.test('command lines of registrator beside it, in the same etcd', async (t) => {
    const env = { DOCKER_HOST: engine.endpoint, OPENEBS_HOST: 'h1' }
    const services = () => view('/openebs/v1/services/')
    const before = await until(async () => {
      const now = await services()
      return Object.keys(now).join() === 'web/h1:c1:80' ? now : undefined
    }, patience)
    t.ok(before, 'the registry has the one service')
    const { address } = etcd.member
    const args = [`etcd://${address}`, `skydns2://${address}/one.test`, `skydns2://${address}/two.test`]
    const others = await Promise.all(
      args.map((uri) => SidecarProcess.start(t, env, ['-ip', '10.9.9.9', '-resync', '1', uri])),
    )
    for (const other of others) await other.ready()
    const key = 'web/h1:c1:80'
    const at = (zone: string) => view(`/skydns/test/${zone}/`)
    const message = { [key]: { host: '10.9.9.9', port: 18_080 } }
    await shows(t, '/skydns/test/one/', message, 'one domain')
    await shows(t, '/skydns/test/two/', message, 'and another')
    t.equal((await standing())[`/${key}`]?.value, '10.9.9.9:18080', 'and no prefix at all')
    // longer than some comparisons
    await new Promise((resolve) => setTimeout(resolve, 4000))
    t.strictSame([await at('one'), await at('two')], [message, message], 'they leave one another alone')
    t.strictSame(await services(), before, 'and the registry')
    for (const other of others) t.equal(await other.end('SIGTERM'), 0)
  })

  await t.test('a wrong setting', async (t) => {
    const wrong = await SidecarProcess.start(t, { ...settings, OPENEBS_VIEWS: 'skydns,dns' })
    t.equal(await wrong.ended(), 2)
    t.match(wrong.log, /OPENEBS_VIEWS: expected views out of registrator, skydns, traefik, not "skydns,dns"/)
  })

  await t.test('killed and started again; another hand; a stop', async (t) => {
    await sidecar.end('SIGKILL')
    await run('c2', 18_088)
    await docker('rm', '-f', 'c1')
    sidecar = await SidecarProcess.start(t, { ...settings, OPENEBS_LISTEN: new URL(sidecar.url).host })
    await shows(t, '/old/', { 'web/h1:c2:80': '198.51.100.7:18088' }, 'converged')
    await shows(t, '/skydns/org/example/', { 'web/_tcp/_web/h1/c2-80': place(18_088), ...ofHost }, 'DNS, too')
    await shows(t, 'traefik/', {}, 'Traefik, too')
    await etcd.ctl('put', '/old/web/other:c9:80', '198.51.100.9:80')
    t.equal(await sidecar.end('SIGTERM'), 0)
    await shows(t, '/old/', { 'web/other:c9:80': '198.51.100.9:80' }, "others' stand")
    await shows(t, '/skydns/', {}, 'ours are withdrawn')
  })
})

const post = async (endpoint: string, path: string, body: object): Promise<number | undefined> => {
  const { request } = await import('node:http')
  return new Promise((resolve, reject) => {
    const call = request(
      {
        socketPath: endpoint.replace('unix://', ''),
        method: 'POST',
        path,
        headers: { 'content-type': 'application/json' },
      },
      (response) => {
        response.resume()
        response.on('end', () => resolve(response.statusCode))
      },
    )
    call.on('error', reject).end(JSON.stringify(body))
  })
}
