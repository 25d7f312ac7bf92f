import { isIPv6 } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { chooseAddresses, wildcardAddress } from '../../sidecar/addresses.ts'

const face = (address: string, internal = false) => {
  const family = isIPv6(address) ? ('IPv6' as const) : ('IPv4' as const)
  return { address, family, internal, netmask: '', mac: '', cidr: null, scopeid: 0 }
}
const faces = {
  lo: [face('127.0.0.1', true), face('::1', true)],
  docker0: [face('172.17.0.1'), face('fd00:d0::1')],
  eth0: [face('fe80::1'), face('2001:db8::2'), face('192.0.2.2')],
  wlan0: [face('2001:db8:1::3'), face('198.51.100.3')],
}
/** As /proc/net/route and /proc/net/ipv6_route have them. */
const ipv4 = [
  'Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT',
  'docker0 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0',
  'docker0 00000000 010200C0 0003 0 0 900 00000000 0 0 0',
  'eth0 00000000 010200C0 0003 0 0 100 00000000 0 0 0',
].join('\n')
const zero = '0'.repeat(32)
const route6 = (destination: string, metric: string, name: string) =>
  `${destination} ${zero} 00 fe800000000000000000000000000001 ${metric} 00000001 00000000 00000003 ${name}`
const ipv6 = [
  '20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0',
  route6(`${zero} 00`, '000000a0', 'eth0'),
  route6(`${zero} 00`, '00000064', 'wlan0'),
  route6(`${zero} 00`, 'ffffffff', 'lo'),
].join('\n')
const none = { ipv4: '', ipv6: '' }

t.test("a host's addresses are a defined choice", async (t) => {
  const choose = (setting: string[] | undefined, swarm: string, routes = none, of = faces) => {
    const { addresses, source } = chooseAddresses(setting, swarm, of, routes)
    return [source, ...addresses]
  }
  const routes = { ipv4, ipv6: '' }
  t.strictSame(
    choose(['10.0.0.1'], '10.0.0.2', routes),
    ['OPENEBS_ADDRESS', '10.0.0.1'],
    'no IPv6 unless named',
  )
  t.strictSame(choose(['fd00::1', '10.0.0.1'], ''), ['OPENEBS_ADDRESS', '10.0.0.1', 'fd00::1'])
  t.strictSame(choose(undefined, '10.0.0.2'), ['swarm', '10.0.0.2'])
  t.strictSame(
    choose(undefined, '198.51.100.3'),
    ['swarm', '198.51.100.3', '2001:db8:1::3'],
    'of one interface',
  )
  t.strictSame(choose(undefined, '2001:db8::2', routes), ['swarm', '192.0.2.2', '2001:db8::2'])
  t.strictSame(
    choose(undefined, '', routes),
    ['default route', '192.0.2.2', '2001:db8::2'],
    'the lowest metric; no IPv6 route: of the same interface',
  )
  t.strictSame(
    choose(undefined, '', { ipv4, ipv6 }),
    ['default route', '192.0.2.2', '2001:db8:1::3'],
    'each by its own route',
  )
  t.strictSame(
    choose(undefined, '', { ipv4: '', ipv6 }),
    ['default route', '198.51.100.3', '2001:db8:1::3'],
    'an IPv6 route alone',
  )
  t.strictSame(choose(undefined, ''), ['first interface', '172.17.0.1', 'fd00:d0::1'])
  const { lo, eth0 } = faces
  t.strictSame(choose(undefined, '', { ipv4: '', ipv6 }, { lo, eth0 } as never), [
    'first interface',
    '192.0.2.2',
    '2001:db8::2',
  ])
  t.strictSame(choose(undefined, '', none, { lo } as never), ['loopback', '127.0.0.1'])
})

t.test('at most one address of each family, IPv4 first, never one of the loopback or link', async () => {
  const names = fc.constantFrom('eth0', 'wlan0', 'docker0', 'lo')
  const table = fc.subarray(Object.keys(faces)).map((kept) => {
    const entries = Object.entries(faces).filter(([name]) => kept.includes(name))
    return Object.fromEntries(entries)
  })
  const routes = fc.record({
    ipv4: names.map((name) => `Iface\n${name} 00000000 0 0 0 0 1 00000000 0 0 0`),
    ipv6: names.map((name) => route6(`${zero} 00`, '00000001', name)),
  })
  fc.assert(
    fc.property(table, routes, fc.constantFrom('', '10.0.0.2', 'fd00::9', '192.0.2.2'), (of, by, swarm) => {
      const { addresses, source } = chooseAddresses(undefined, swarm, of, by)
      const families = addresses.map(isIPv6)
      return (
        [['false'], ['true'], ['false', 'true']].some((one) => one.join() === families.join()) &&
        (source === 'loopback' || !addresses.some((one) => /^(127\.|::1$|fe80:)/.test(one))) &&
        (swarm === '' || addresses.includes(swarm))
      )
    }),
  )
})

t.test('a wildcard stands for the address of its family', async (t) => {
  const two = ['192.0.2.2', '2001:db8::2']
  t.equal(wildcardAddress('0.0.0.0', two), '192.0.2.2')
  t.equal(wildcardAddress('::', two), '2001:db8::2')
  t.equal(wildcardAddress('::', ['192.0.2.2']), undefined)
  t.equal(wildcardAddress('0.0.0.0', ['2001:db8::2']), undefined)
})
