import { field } from './body.ts'
import type { Wish } from './reach.ts'

/** What a create body asks for of the host, and of other containers (references, as the body has them). */
export interface Asked {
  readonly wishes: readonly Wish[]
  readonly containers: readonly string[]
}

/** Of POST /containers/create. Names of fields count however they are cased, as the Engine takes them. */
export const ofContainer = (body: unknown): Asked => {
  const host = field(body, 'HostConfig')
  const modes = ['PidMode', 'IpcMode', 'NetworkMode', 'UTSMode', 'UsernsMode', 'CgroupnsMode'].flatMap(
    (mode) => texts(field(host, mode)),
  )
  return {
    wishes: [
      ...texts(field(host, 'Binds')).map(ofBind),
      ...list(field(host, 'Mounts')).flatMap(ofMount),
      ...list(field(host, 'Devices')).flatMap((device) => texts(field(device, 'PathOnHost')).map(ofDevice)),
      ...(field(host, 'Privileged') === true ? [{ kind: 'devices', by: '--privileged' } as const] : []),
      ...texts(field(host, 'DeviceCgroupRules')).map(
        (rule): Wish => ({
          kind: 'devices',
          by: `--device-cgroup-rule '${rule}'`,
        }),
      ),
    ],
    containers: [
      ...texts(field(host, 'VolumesFrom')).map((from) => from.replace(/:[^:]*$/, '')),
      ...modes.flatMap((mode) => (mode.startsWith('container:') ? [mode.slice('container:'.length)] : [])),
    ],
  }
}

/** Of POST /services/create and /services/{id}/update. */
export const ofService = (body: unknown): Asked => ({
  wishes: list(field(field(field(body, 'TaskTemplate'), 'ContainerSpec'), 'Mounts')).flatMap(ofMount),
  containers: [],
})

/** Of POST /volumes/create: the driver `local` mounts what it is told to. */
export const ofVolume = (body: unknown): Asked => ({
  wishes: ofLocal(texts(field(body, 'Driver'))[0] ?? '', field(body, 'DriverOpts')),
  containers: [],
})

/** "source:destination:options"; a source without a slash is a volume's name. */
const ofBind = (bind: string): Wish => {
  const [source = '', , options = ''] = bind.split(':')
  if (!source.startsWith('/')) return { kind: 'volume', name: source }
  return { kind: 'path', path: source, writable: !options.split(',').includes('ro') }
}

const ofMount = (mount: unknown): Wish[] => {
  const [type = '', source = ''] = ['Type', 'Source'].map((name) => texts(field(mount, name))[0])
  const writable = field(mount, 'ReadOnly') !== true
  if (type === 'bind') return [{ kind: 'path', path: source, writable }]
  const driver = field(field(mount, 'VolumeOptions'), 'DriverConfig')
  return [
    ...(source === '' ? [] : [{ kind: 'volume', name: source } as const]),
    ...ofLocal(texts(field(driver, 'Name'))[0] ?? '', field(driver, 'Options')),
  ]
}

const ofLocal = (driver: string, options: unknown): Wish[] => {
  if (!['', 'local'].includes(driver)) return []
  return texts(field(options, 'device')).map(
    (device): Wish =>
      device.startsWith('/dev/') ? ofDevice(device) : { kind: 'path', path: device, writable: true },
  )
}

const ofDevice = (path: string): Wish => ({ kind: 'device', path })

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])
/** A string, or the strings of a list. */
const texts = (value: unknown): string[] =>
  (Array.isArray(value) ? value : [value]).filter((one) => typeof one === 'string')
