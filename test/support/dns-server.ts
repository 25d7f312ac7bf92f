import type { AddressInfo } from 'node:net'
import { isIPv4, isIPv6 } from 'node:net'
import { createUDPServer, Packet, type Resource } from 'dns2'
import type { EtcdCluster, Teardown } from './etcd.ts'

/**
 * What CoreDNS' etcd plugin answers, by its documentation and sources (coredns/coredns: plugin/etcd/README.md, plugin/etcd/etcd.go,
 * plugin/etcd/msg, plugin/backend_lookup.go), made anew for tests: real packets over UDP, out of a real etcd. Left out: groups, MX, NS,
 * CNAME, names outside of its zones (it answers REFUSED). A message whose host is a name is followed once, in the zone.
 */
export interface DnsServer {
  readonly port: number
}

/** `zones`: "openebs.local", "in-addr.arpa". */
export const startDnsServer = async (
  t: Teardown,
  etcd: EtcdCluster,
  zones: readonly string[],
): Promise<DnsServer> => {
  const server = createUDPServer((request, send) => {
    const response = Packet.createResponseFromRequest(request)
    const [question] = request.questions as unknown as { name: string; type: number }[]
    const name = (question?.name ?? '').toLowerCase()
    const zone = zones.find((one) => name === one || name.endsWith(`.${one}`))
    const answered = zone && question ? answer(etcd, zone, question.name, question.type) : undefined
    void (answered ?? Promise.resolve({ rcode: Packet.RCODE.REFUSED, answers: [], additionals: [] })).then(
      ({ rcode, answers, additionals }) => {
        response.header.rcode = rcode
        response.header.aa = zone ? 1 : 0
        response.answers = answers
        response.additionals = additionals
        send(response)
      },
    )
  })
  await server.listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  return { port: (server.address() as AddressInfo).port }
}

/** msg/service.go: what of a message counts here. */
interface Message {
  readonly key: string
  readonly host: string
  readonly text: string
  readonly port: number
  readonly priority: number
  readonly weight: number
  readonly ttl: number
  readonly targetStrip: number
}

interface Answer {
  readonly rcode: number
  readonly answers: Resource[]
  readonly additionals: Resource[]
}

class NotFound extends Error {}

const { TYPE, RCODE, CLASS } = Packet

/** handler.go: no key is NXDOMAIN, any other error SERVFAIL, keys without such a record NOERROR with no answer. */
const answer = async (etcd: EtcdCluster, zone: string, name: string, type: number): Promise<Answer> => {
  try {
    const none: Answer = { rcode: RCODE.NOERROR, answers: [], additionals: [] }
    if (type === TYPE.SRV) return { ...none, ...(await srv(etcd, zone, name)) }
    if (type === TYPE.TXT) return { ...none, answers: txt(name, await messages(etcd, name)) }
    if (type === TYPE.PTR) return { ...none, answers: ptr(name, await messages(etcd, name, 'exact')) }
    const found = await addresses(etcd, zone, name, type)
    return type === TYPE.A || type === TYPE.AAAA ? { ...none, answers: found } : none
  } catch (error) {
    const rcode = error instanceof NotFound ? RCODE.NXDOMAIN : RCODE.SERVFAIL
    return { rcode, answers: [], additionals: [] }
  }
}

/** A and AAAA: of each address once; at the zone's own name those below apex.dns, else those of the whole zone. */
const addresses = async (
  etcd: EtcdCluster,
  zone: string,
  name: string,
  type: number,
): Promise<Resource[]> => {
  const below = async () => {
    if (name.toLowerCase() !== zone) return await messages(etcd, name)
    return await messages(etcd, `apex.dns.${zone}`).catch(() => messages(etcd, name))
  }
  const isOne = type === TYPE.AAAA ? isIPv6 : isIPv4
  const found = (await below()).filter(({ host, key }) => isOne(host) && !hasNoAddress(key))
  const unique = new Map(found.map((message) => [message.host, message]))
  return [...unique.values()].map(({ host, ttl }) => record(name, type, ttl, { address: host }))
}

/** msg/type.go: a key whose last label begins with "_" gives no address. */
const hasNoAddress = (key: string): boolean => key.slice(key.lastIndexOf('/') + 1).startsWith('_')

/** The target is the key as a name, without its first `targetstrip` labels, and its address comes along. */
const srv = async (
  etcd: EtcdCluster,
  zone: string,
  name: string,
): Promise<Pick<Answer, 'answers' | 'additionals'>> => {
  const found = (await messages(etcd, name, 'subtree')).filter(
    ({ host, key }) => host !== '' && !hasNoAddress(key),
  )
  const total = found.reduce((sum, { weight }) => sum + (weight || 100), 0)
  const answers = new Map<string, Resource>()
  const additionals = new Map<string, Resource>()
  for (const { key, host, port, priority, weight, ttl, targetStrip } of found) {
    const isName = !isIPv4(host) && !isIPv6(host)
    const target = isName ? host.replace(/\.$/, '') : domainOf(key).split('.').slice(targetStrip).join('.')
    // one that is too long cannot be packed, and with it no answer can be
    if (
      target.length > 253 ||
      target.split('.').some((label) => label === '' || Buffer.byteLength(label) > 63)
    )
      throw new Error(`${target} is no name`)
    const share = Math.max(1, Math.floor((100 / total) * (weight || 100)))
    answers.set(`${target} ${port}`, record(name, TYPE.SRV, ttl, { priority, weight: share, port, target }))
    if (isName) {
      for (const one of await addresses(etcd, zone, target, TYPE.A).catch(() => []))
        additionals.set(`${target} ${String(Reflect.get(one, 'address'))}`, one)
    } else
      additionals.set(
        `${target} ${host}`,
        record(target, isIPv4(host) ? TYPE.A : TYPE.AAAA, ttl, { address: host }),
      )
  }
  return { answers: [...answers.values()], additionals: [...additionals.values()] }
}

/** msg/type.go: text counts where no address is beside it. */
const txt = (name: string, found: readonly Message[]): Resource[] => {
  const texts = new Map(
    found
      .filter(({ host, text }) => text !== '' && !isIPv4(host) && !isIPv6(host))
      .map((one) => [one.text, one]),
  )
  return [...texts.values()].map(({ text, ttl }) => record(name, TYPE.TXT, ttl, { data: text }))
}

/** Only a host that is a name. */
const ptr = (name: string, found: readonly Message[]): Resource[] =>
  found
    .filter(({ host }) => host !== '' && !isIPv4(host) && !isIPv6(host))
    .map(({ host, ttl }) => record(name, TYPE.PTR, ttl, { domain: host.replace(/\.$/, '') }))

const record = (name: string, type: number, ttl: number, data: object): Resource =>
  ({ name, type, class: CLASS.IN, ttl, ...data }) as unknown as Resource

/**
 * etcd.go: all keys below the name's; only where there are none, the name's own ("children win"). PTR asks for that one alone. A value
 * that is no message fails the query.
 */
const messages = async (
  etcd: EtcdCluster,
  name: string,
  how: 'subtree' | 'exact' = 'subtree',
): Promise<Message[]> => {
  const path = `/skydns/${name.toLowerCase().split('.').reverse().join('/')}`
  const below = how === 'subtree' ? await read(etcd, `${path}/`, '--prefix') : []
  const found = below.length > 0 ? below : await read(etcd, path)
  if (found.length === 0) throw new NotFound(name)
  return found.map(readMessage)
}

/** encoding/json: names in any case, unknown fields are ignored, a field of another type is an error. */
const readMessage = ({ key, value, lease }: Stored): Message => {
  const json: unknown = JSON.parse(value)
  if (typeof json !== 'object' || Array.isArray(json)) throw new Error(`${key} is no message`)
  const fields = new Map(Object.entries(json ?? {}).map(([name, field]) => [name.toLowerCase(), field]))
  const field = <T extends string | number>(name: string, without: T): T => {
    const found: unknown = fields.get(name) ?? without
    if (typeof found !== typeof without) throw new Error(`${key}: ${name} is of another type`)
    return found as T
  }
  return {
    key,
    host: field('host', ''),
    text: field('text', ''),
    port: field('port', 0),
    priority: field('priority', 0) || 10,
    weight: field('weight', 0),
    ttl: ttlOf(field('ttl', 0), lease),
    targetStrip: field('targetstrip', 0),
  }
}

/** Up to CoreDNS 1.12 the lease's ID in 32 bits goes for its TTL: the smaller one counts; 300 without any. */
const ttlOf = (own: number, lease: bigint): number => {
  const leased = Number(lease & 0xffffffffn)
  if (own === 0 || leased === 0) return own || leased || 300
  return Math.min(own, leased)
}

/** msg/path.go: "/skydns/local/openebs/web/x" -> "x.web.openebs.local". */
const domainOf = (key: string): string => key.split('/').slice(2).reverse().join('.')

interface Stored {
  readonly key: string
  readonly value: string
  readonly lease: bigint
}

const read = async (etcd: EtcdCluster, ...key: string[]): Promise<Stored[]> => {
  // a lease's ID has more digits than a number holds
  const printed = (await etcd.ctl('get', ...key, '-w', 'json')).replace(/"lease":(\d+)/g, '"lease":"$1"')
  const { kvs = [] } = JSON.parse(printed) as { kvs?: { key: string; value?: string; lease?: string }[] }
  const text = (base64: string) => Buffer.from(base64, 'base64').toString()
  return kvs.map((one) => ({
    key: text(one.key),
    value: text(one.value ?? ''),
    lease: BigInt(one.lease ?? 0),
  }))
}
