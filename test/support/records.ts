import type { AuditedCall } from '../../registry/audit.ts'
import { encode, keys } from '../../registry/keys.ts'
import type {
  Alive,
  Host,
  Inventory,
  JournalEntry,
  Service,
  Target,
  Volume,
  Vsm,
} from '../../registry/records.ts'
import type { Change } from '../../registry/store.ts'

/** Records as sidecar and plugin write them, for tests of who reads them. `more` is what the test is about. */

const since = '2026-01-01T00:00:00.000Z'
const uuid = '7d4f2f6e-3b1c-4b52-9d53-0a6a3c0f7b11'

/** An ID of 64 digits, as Docker's. */
export const idOf = (name: string): string => Buffer.from(name).toString('hex').padEnd(64, '0').slice(0, 64)

const put = (key: string, value: string): Change => ({ kind: 'put', key, value, guard: 'any' })

export const raw = put
export const removal = (key: string): Change => ({ kind: 'delete', key, guard: 'any' })

export const hostPut = (host: string, more: Partial<Host> = {}): Change => {
  const record = hostRecord({ host, address: '10.0.0.1', ...more })
  return put(keys.host(host), encode('hosts', record))
}

export const alivePut = (host: string, more: Partial<Alive> = {}): Change =>
  put(keys.alive(host), encode('alive', { host, version: '0.1.0', since, boot: 'b', ...more }))

type Container = Extract<Inventory, { kind: 'container' }>

export const containerPut = (host: string, name: string, more: Partial<Container> = {}): Change => {
  const record: Container = {
    kind: 'container',
    host,
    id: idOf(name),
    name,
    image: 'web:1',
    state: 'running',
    health: 'none',
    labels: {},
    networks: [{ name: 'bridge', ipv4: '172.17.0.2' }],
    ports: [],
    volumes: [],
    created: since,
    ...more,
  }
  return put(keys.inventory(host, 'container', record.id), encode('inventory', record))
}

export const pluginPut = (host: string, name: string, enabled: boolean): Change => {
  const record: Inventory = {
    kind: 'plugin',
    host,
    id: idOf(name),
    name,
    enabled,
    reference: `docker.io/${name}`,
  }
  return put(keys.inventory(host, 'plugin', record.id), encode('inventory', record))
}

/** One instance, of the container of that name on that host. */
export const serviceRecord = (service: string, host = 'h1', more: Partial<Service> = {}): Service => {
  const container = more.container ?? `${service}-1`
  return {
    service,
    host,
    container,
    containerId: idOf(container),
    address: '10.0.0.1',
    port: 8080,
    exposedPort: 80,
    protocol: 'tcp',
    tags: [],
    attributes: {},
    health: 'none',
    ...more,
  }
}

export const servicePut = (service: string, host = 'h1', more: Partial<Service> = {}): Change => {
  const record = serviceRecord(service, host, more)
  return put(keys.service(record), encode('services', record))
}

export const vsmPut = (vsm: string, host: string, more: Partial<Vsm> = {}): Change => {
  const record: Vsm = {
    vsm,
    host,
    container: `vsm-${vsm}`,
    containerId: idOf(vsm),
    volume: vsm,
    portals: ['172.17.0.1:23260'],
    targets: [{ iqn: `iqn.2016-09.com.openebs:${vsm}`, luns: [{ lun: 1, size: 2 ** 30 }] }],
    health: 'healthy',
    ...more,
  }
  return put(keys.vsm(vsm, host), encode('vsms', record))
}

export const volumeRecord = (name: string, more: Partial<Volume> = {}): Volume => ({
  name,
  uuid,
  spec: { size: 2 ** 30, fs: 'ext4' },
  placement: { host: 'h1' },
  wanted: 'present',
  created: since,
  ...more,
})

export const volumePut = (name: string, host: string, more: Partial<Volume> = {}): Change =>
  put(keys.volume(name), encode('volumes', volumeRecord(name, { placement: { host }, ...more })))

/** Of the volume that `volumeRecord` makes. */
export const targetRecord = (volume: string, more: Partial<Target> = {}): Target => ({
  volume,
  host: 'h1',
  uuid,
  iqn: `iqn.2016-09.com.openebs:${volume}`,
  portal: '172.17.0.1:23260',
  epoch: 1,
  phase: 'ready',
  container: `vsm-${volume}`,
  containerId: idOf(volume),
  ...more,
})

export const targetPut = (volume: string, host: string): Change =>
  put(keys.target(host, volume), encode('targets', targetRecord(volume, { host })))

export const attachmentPut = (volume: string, host: string): Change =>
  put(keys.attachment(volume), encode('attachments', { volume, host, epoch: 1, state: 'claimed', since }))

type EventEntry = Extract<JournalEntry, { kind: 'event' }>
type GapEntry = Extract<JournalEntry, { kind: 'gap' }>

const journalKey = (host: string, time: string): string =>
  keys.event(host, `${Date.parse(time)}000000`, '0badcafe')

export const eventPut = (host: string, time: string, more: Partial<EventEntry> = {}): Change => {
  const record: EventEntry = {
    kind: 'event',
    host,
    time,
    type: 'container',
    action: 'start',
    id: idOf('web-1'),
    name: 'web-1',
    attributes: { image: 'web:1' },
    ...more,
  }
  return put(journalKey(host, time), encode('events', record))
}

export const gapPut = (host: string, time: string, more: Partial<GapEntry> = {}): Change =>
  put(
    journalKey(host, time),
    encode('events', { kind: 'gap', host, time, to: time, reason: 'the Docker Engine restarted', ...more }),
  )

/** A call on a container of the host, by a name in the certificate or by nobody's. */
export const auditPut = (host: string, time: string, more: Partial<AuditedCall> = {}): Change => {
  const record: AuditedCall = {
    host,
    time,
    user: '',
    method: 'POST',
    uri: '/containers/web-1/start',
    action: 'start',
    object: { kind: 'container', name: 'web-1', id: idOf('web-1') },
    verdict: 'allow',
    status: 204,
    ...more,
  }
  return put(keys.audit(host, Date.parse(time), 1), encode('audit', record))
}

export const auditGapPut = (host: string, time: string, to: string, count: number): Change =>
  put(
    keys.audit(host, Date.parse(time), 999_999),
    encode('audit', { kind: 'gap', host, time, to, count, reason: 'the store did not take them' }),
  )

/** The instance of container c1 on h1 that serves port 80 as "web", by the port 32768 of its host. */
export const webInstance = (more: Partial<Service> = {}): Service =>
  serviceRecord('web', 'h1', {
    container: 'c1',
    containerId: 'a'.repeat(64),
    address: '10.1.2.3',
    port: 32768,
    ...more,
  })

export const hostRecord = (more: Partial<Host> = {}): Host => ({
  host: 'h1',
  address: '10.1.2.3',
  engine: { version: '28.5.1', os: 'linux', arch: 'amd64', kernel: '6.1.0', storage: 'overlay2' },
  versions: { sidecar: '0.1.0' },
  capacity: { cpus: 2, memory: 2 ** 32 },
  instance: 'i',
  since,
  ...more,
})

export const vsmRecord = (more: Partial<Vsm> = {}): Vsm => ({
  vsm: 'vsm1',
  host: 'h1',
  container: 'vsm1',
  containerId: 'b'.repeat(64),
  portals: ['10.1.2.3:3260'],
  targets: [],
  health: 'healthy',
  ...more,
})
