import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import type { Host, Service, Vsm } from '../../registry/records.ts'
import { registratorView, skydns2View } from '../../registry/views/registrator.ts'
import { skydnsView } from '../../registry/views/skydns.ts'
import type { ViewEntry } from '../../registry/views/view.ts'
import { startDnsServer } from '../support/dns-server.ts'
import { startEtcd } from '../support/etcd.ts'

/**
 * Keys of the views in a real etcd, as `dig` sees them through the semantics of CoreDNS' etcd plugin. The rule that a row stands on is
 * beside it; paths are of coredns/coredns.
 */
const host = (name: string, address: string, ...addresses: string[]): Host => ({
  host: name,
  address,
  addresses: [address, ...addresses],
  engine: { version: '28.5.1', os: 'linux', arch: 'amd64', kernel: '6.1.0', storage: 'overlay2' },
  versions: { sidecar: '0.1.0' },
  capacity: { cpus: 2, memory: 2 ** 32 },
  instance: 'i',
  since: '2026-01-01T00:00:00.000Z',
})
const h1 = host('h1', '10.1.2.1', 'fd00::1')
const h2 = host('h2', '10.1.2.2')
const service = (more: Partial<Service>): Service => ({
  service: 'web',
  host: 'h1',
  container: 'c1',
  containerId: 'a'.repeat(64),
  address: '10.1.2.1',
  port: 18080,
  exposedPort: 80,
  protocol: 'tcp',
  tags: [],
  attributes: {},
  health: 'none',
  ...more,
})
const vsm: Vsm = {
  vsm: 'vsm1',
  host: 'h1',
  container: 'vsm1',
  containerId: 'b'.repeat(64),
  portals: ['10.1.2.3:3260'],
  targets: [{ iqn: 'iqn.2016-09.com.openebs:vsm1', luns: [{ lun: 1, size: 2 ** 30 }] }],
  health: 'healthy',
}
const view = skydnsView({ domain: 'openebs.local' })
const peer = skydns2View('cluster.local')
const about = (one: Host) => ({ host: one, labels: {} })

const rig = async (t: Parameters<typeof startEtcd>[0]) => {
  const etcd = await startEtcd(t)
  const zones = ['openebs.local', 'cluster.local', 'in-addr.arpa', 'ip6.arpa']
  const { port } = await startDnsServer(t, etcd, zones)
  const run = promisify(execFile)
  const dig = async (...question: string[]): Promise<string[]> => {
    const args = ['@127.0.0.1', '-p', `${port}`, '+time=5', '+tries=2', '+nocookie', ...question]
    return (await run('dig', args)).stdout.split('\n').filter((line) => line !== '')
  }
  const ask = (type: string, name: string, ...more: string[]) => dig(...more, '-t', type, name)
  return {
    etcd,
    put: async (entries: readonly ViewEntry[], ...args: string[]) => {
      for (const [key, value] of entries) await etcd.ctl('put', `/skydns/${key}`, value, ...args)
    },
    reverse: (address: string) => dig('+short', '-x', address),
    /** Answers, without their order. */
    short: async (type: string, name: string) => (await ask(type, name, '+short')).sort(),
    /** "name ttl class type data" of the answer section, or of the additional one. */
    section: async (which: 'answer' | 'additional', type: string, name: string) =>
      (await ask(type, name, '+noall', `+${which}`)).map((line) => line.replace(/\s+/g, ' ')).sort(),
    status: async (type: string, name: string) =>
      /status: (?<status>[A-Z]+)/.exec((await ask(type, name)).join('\n'))?.groups?.status,
  }
}

t.test("this project's names", { timeout: 60_000 }, async (t) => {
  const { etcd, put, short, reverse, section, status } = await rig(t)
  const both = [
    { address: '10.1.2.1', port: 18080 },
    { address: 'fd00::1', port: 18080 },
  ]
  const entries = [
    ...(view.host?.(h1) ?? []),
    ...(view.host?.(h2) ?? []),
    ...(view.instance?.(service({ endpoints: both }), about(h1)) ?? []),
    ...(view.instance?.(
      service({ host: 'h2', container: 'c2', address: '10.1.2.2', port: 28080 }),
      about(h2),
    ) ?? []),
    ...(view.instance?.(
      service({ service: 'Name.Server', exposedPort: 53, port: 53, protocol: 'udp' }),
      about(h1),
    ) ?? []),
    ...(view.vsm?.(vsm, about(h1)) ?? []),
    ...(view.vsm?.({ ...vsm, vsm: 'vsm2', portals: ['10.1.2.1:13260', '[fd00::9]:3260'] }, about(h1)) ?? []),
  ]
  // as the sidecar has them: on a lease. Older CoreDNS takes its ID for a TTL (plugin/etcd/etcd.go, TTL), newer what is left of it, 30 s
  // at the least; the smaller one of that and the message's own counts, which is ours
  const lease = /lease (?<id>[0-9a-f]+)/.exec(await etcd.ctl('lease', 'grant', '600'))?.groups?.id ?? ''
  await put(entries, '--lease', lease)

  await t.test(
    'A and AAAA of a service: all of the subtree (README, Special Behaviour), each address once',
    async (t) => {
      t.strictSame(await short('A', 'web.openebs.local'), ['10.1.2.1', '10.1.2.2'])
      t.strictSame(await short('AAAA', 'web.openebs.local'), ['fd00::1'])
      t.strictSame(await short('A', 'WEB.OpenEBS.local'), ['10.1.2.1', '10.1.2.2'], 'in any case')
      t.strictSame(await section('answer', 'AAAA', 'web.openebs.local'), [
        'web.openebs.local. 5 IN AAAA fd00::1',
      ])
    },
  )

  await t.test(
    'SRV: the key is the target (plugin/backend_lookup.go, SRV), weights are shares of 100',
    async (t) => {
      const folder = 'h1._web._tcp.web.openebs.local.'
      const other = 'c2-80.h2._web._tcp.web.openebs.local.'
      t.strictSame(await short('SRV', '_web._tcp.web.openebs.local'), [
        `10 33 18080 c1-80-at2.${folder}`,
        `10 33 18080 c1-80.${folder}`,
        `10 33 28080 ${other}`,
      ])
      t.strictSame(await section('additional', 'SRV', '_web._tcp.web.openebs.local'), [
        `c1-80-at2.${folder} 5 IN AAAA fd00::1`,
        `c1-80.${folder} 5 IN A 10.1.2.1`,
        `${other} 5 IN A 10.1.2.2`,
      ])
      t.strictSame(await short('A', `c1-80.${folder}`), ['10.1.2.1'], 'a target has its address')
      t.strictSame((await short('SRV', 'web.openebs.local')).length, 3, 'the short name has them too')
    },
  )

  await t.test('a name that is no label is asked for by what it was made to', async (t) => {
    const label = 'name-server-[0-9a-f]{10}'
    const found = Object.fromEntries(entries.map(([key]) => [key.split('/')[2], key]))
    const name = Object.keys(found).find((one) => new RegExp(`^${label}$`).test(one))
    t.match(await short('SRV', `_${name}._udp.${name}.openebs.local`), [
      new RegExp(`^10 100 53 c1-53-udp\\.h1\\._${label}\\._udp\\.${label}\\.openebs\\.local\\.$`),
    ])
  })

  await t.test('a VSM, as an iSCSI client finds it', async (t) => {
    const target = 'portal1.h1._iscsi._tcp.vsm1.vsm.openebs.local.'
    t.strictSame(await short('SRV', '_iscsi._tcp.vsm1.vsm.openebs.local'), [`10 100 3260 ${target}`])
    t.strictSame(await section('additional', 'SRV', '_iscsi._tcp.vsm1.vsm.openebs.local'), [
      `${target} 5 IN A 10.1.2.3`,
    ])
    // a message without a host is no address (etcd.go, shouldInclude), one with an address no text (msg/type.go)
    t.strictSame(await short('A', 'vsm1.vsm.openebs.local'), ['10.1.2.3'])
    t.strictSame(await short('TXT', 'vsm1.vsm.openebs.local'), ['"iqn.2016-09.com.openebs:vsm1"'])
    t.strictSame(await short('AAAA', 'vsm2.vsm.openebs.local'), ['fd00::9'])
    t.equal(await status('AAAA', 'vsm1.vsm.openebs.local'), 'NOERROR', 'none of this type (handler.go)')
    t.strictSame(await short('AAAA', 'vsm1.vsm.openebs.local'), [])
  })

  await t.test('hosts, and PTR: an exact key (README, Reverse zones)', async (t) => {
    t.strictSame(await short('A', 'h1.host.openebs.local'), ['10.1.2.1'])
    t.strictSame(await short('AAAA', 'h1.host.openebs.local'), ['fd00::1'])
    t.strictSame(await short('PTR', '1.2.1.10.in-addr.arpa'), ['h1.host.openebs.local.'])
    t.strictSame(await reverse('10.1.2.3'), ['vsm1.vsm.openebs.local.'])
    t.strictSame(await reverse('fd00::9'), ['vsm2.vsm.openebs.local.'])
    t.equal(await status('PTR', '2.1.10.in-addr.arpa'), 'NXDOMAIN', 'a folder is no name')
  })

  await t.test(
    "the zone's own name: apex.dns, if it is there (plugin/backend_lookup.go, checkForApex)",
    async (t) => {
      t.strictSame(await short('A', 'openebs.local'), ['10.1.2.1', '10.1.2.2', '10.1.2.3'])
      await put([['local/openebs/dns/apex/x1', '{"host":"10.1.2.99","ttl":5}']])
      t.strictSame(await short('A', 'openebs.local'), ['10.1.2.99'])
    },
  )

  await t.test('what is gone is NXDOMAIN (handler.go)', async (t) => {
    t.equal(await status('A', 'none.openebs.local'), 'NXDOMAIN')
    await etcd.ctl('del', '/skydns/local/openebs/vsm/vsm2/', '--prefix')
    t.equal(await status('A', 'vsm2.vsm.openebs.local'), 'NXDOMAIN')
    await etcd.ctl('lease', 'revoke', lease)
    for (const [type, name] of [
      ['A', 'web.openebs.local'],
      ['SRV', '_web._tcp.web.openebs.local'],
      ['SRV', '_iscsi._tcp.vsm1.vsm.openebs.local'],
      ['TXT', 'vsm1.vsm.openebs.local'],
      ['PTR', '1.2.1.10.in-addr.arpa'],
      ['A', 'h1.host.openebs.local'],
    ] as const)
      t.equal(await status(type, name), 'NXDOMAIN', `${type} ${name}`)
    t.equal(await status('A', 'example.org'), 'REFUSED', 'another zone')
  })
})

t.test("registrator's skydns2", { timeout: 60_000 }, async (t) => {
  const { put, short, section } = await rig(t)
  const made = (more: Partial<Service>) => peer.instance?.(service(more), about(h1)) ?? []

  await put([...made({}), ...made({ container: 'c2', port: 18081 })])
  t.strictSame(await short('A', 'web.cluster.local'), ['10.1.2.1'])
  t.strictSame(await short('SRV', 'web.cluster.local'), [
    '10 50 18080 h1:c1:80.web.cluster.local.',
    '10 50 18081 h1:c2:80.web.cluster.local.',
  ])
  // neither a TTL nor a lease: 300 s (etcd.go)
  t.strictSame(await section('answer', 'A', 'web.cluster.local'), ['web.cluster.local. 300 IN A 10.1.2.1'])

  await put(made({ service: 'team/api' }))
  t.strictSame(await short('A', 'api.team.cluster.local'), ['10.1.2.1'], 'a "/" in a name is a dot')

  await put(made({ container: 'c'.repeat(80), port: 18082 }))
  t.strictSame(
    await short('SRV', 'web.cluster.local'),
    [
      '10 33 18080 h1:c1:80.web.cluster.local.',
      '10 33 18081 h1:c2:80.web.cluster.local.',
      '10 33 18082 web.cluster.local.',
    ],
    'an id of more than 63 octets keeps nobody from being found (msg/service.go, targetstrip)',
  )
})

t.test('keys of others below the same root', { timeout: 60_000 }, async (t) => {
  const { etcd, put, short, status } = await rig(t)
  await put([...(view.instance?.(service({}), about(h1)) ?? []), ...(view.vsm?.(vsm, about(h1)) ?? [])])

  // README, Special Behaviour: the key itself is looked for where there is nothing below it
  await put([['local/openebs/web', '{"host":"10.9.9.9","ttl":5}']])
  t.strictSame(await short('A', 'web.openebs.local'), ['10.1.2.1'], 'children win')

  // etcd.go, loopNodes: a value that cannot be read is an error of the whole query
  await put([['local/openebs/web/broken', 'no JSON']])
  t.equal(await status('A', 'web.openebs.local'), 'SERVFAIL', 'what is below the same name fails')
  t.equal(await status('SRV', 'web.openebs.local'), 'SERVFAIL')
  t.equal(await status('A', 'openebs.local'), 'SERVFAIL', 'and what is above it')
  t.strictSame(
    await short('SRV', '_web._tcp.web.openebs.local'),
    ['10 100 18080 c1-80.h1._web._tcp.web.openebs.local.'],
    'a longer name does not see it',
  )
  t.strictSame(await short('A', 'vsm1.vsm.openebs.local'), ['10.1.2.3'], 'nor does another name')

  // which is why this layout is not to share a root with those messages: its values are no JSON
  const [[key, value] = ['', '']] = registratorView().instance?.(service({}), about(h1)) ?? []
  await etcd.ctl('put', `/skydns/local/cluster/${key}`, value)
  t.equal(await status('A', 'web.cluster.local'), 'SERVFAIL')
})
