import { field } from './body.ts'
import { clean, type Wish } from './reach.ts'

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
      ...(field(host, 'Privileged') === true ? [{ kind: 'host', by: '--privileged' } as const] : []),
      ...texts(field(host, 'DeviceCgroupRules')).map(
        (rule): Wish => ({ kind: 'host', by: `--device-cgroup-rule '${rule}'` }),
      ),
      ...texts(field(host, 'CapAdd')).flatMap(ofCapability),
    ],
    containers: [
      ...texts(field(host, 'VolumesFrom')).map((from) => from.replace(/:[^:]*$/, '')),
      ...modes.flatMap((mode) => (mode.startsWith('container:') ? [mode.slice('container:'.length)] : [])),
    ],
  }
}

/** Of POST /services/create and /services/{id}/update. */
export const ofService = (body: unknown): Asked => {
  const container = field(field(body, 'TaskTemplate'), 'ContainerSpec')
  return {
    wishes: [
      ...list(field(container, 'Mounts')).flatMap(ofMount),
      ...texts(field(container, 'CapabilityAdd')).flatMap(ofCapability),
    ],
    containers: [],
  }
}

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

/** A volume's driver and options, of which `local` mounts `device`; an overlay's folders stand in `o`. */
export const ofLocal = (driver: string, options: unknown): Wish[] => {
  if (!['', 'local'].includes(driver)) return []
  // whether a folder or a device: that may be for its links to tell
  const devices = texts(field(options, 'device')).flatMap((device): Wish[] => [
    ...(clean(device).startsWith('/dev/') ? [] : [{ kind: 'path', path: device, writable: true } as const]),
    ofDevice(device),
  ])
  const folders = texts(field(options, 'o'))
    .flatMap((text) => text.split(','))
    .flatMap((option) => {
      const [key = '', value = ''] = option.split('=')
      return /^(lowerdir|upperdir|workdir)\+?$/.test(key)
        ? value.split(':').map((path) => ({ key, path }))
        : []
    })
    .filter(({ path }) => path !== '')
    .map(({ key, path }): Wish => ({ kind: 'path', path, writable: !key.startsWith('lowerdir') }))
  return [...devices, ...folders]
}

/** By which a container reaches disks, memory or processes of the host whatever else it is given. */
const mighty = ['ALL', 'SYS_ADMIN', 'SYS_MODULE', 'SYS_RAWIO', 'SYS_PTRACE', 'DAC_READ_SEARCH']

const ofCapability = (name: string): Wish[] =>
  mighty.includes(name.toUpperCase().replace(/^CAP_/, '')) ? [{ kind: 'host', by: `--cap-add ${name}` }] : []

const ofDevice = (path: string): Wish => ({ kind: 'device', path })

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])
/** A string, or the strings of a list. */
const texts = (value: unknown): string[] =>
  (Array.isArray(value) ? value : [value]).filter((one) => typeof one === 'string')
