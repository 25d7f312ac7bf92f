import { posix } from 'node:path'
import type { Exception, Reach } from '../../registry/policy.ts'
import type { Ground } from './world.ts'

/** Something of the host that a container asks for. */
export type Wish =
  | { readonly kind: 'path'; readonly path: string; readonly writable: boolean }
  | { readonly kind: 'volume'; readonly name: string }
  | { readonly kind: 'device'; readonly path: string }
  /** All of the host, its devices among it: privileged, a rule for whole classes of devices, some capabilities. */
  | { readonly kind: 'host'; readonly by: string }

/** For a message. */
export const nameOf = (wish: Wish): string => {
  switch (wish.kind) {
    case 'path':
    case 'device':
      return wish.path
    case 'volume':
      return `volume ${wish.name}`
    case 'host':
      return wish.by
  }
}

/**
 * Why a wish reaches storage; undefined where it does not. `storage`: what names it itself, or lies in it. `ancestors`: also
 * folders above it, if writable. `devices`: also all that could open the disks below.
 */
export const reachesStorage = (wish: Wish, ground: Ground, reach: Reach): string | undefined => {
  switch (wish.kind) {
    case 'path':
      return ofPath(wish, ground, reach)
    case 'volume':
      return ground.volumes.includes(wish.name) ? `volume ${wish.name} holds the registry` : undefined
    case 'device':
      return ofDevice(wish.path, reach)
    case 'host':
      return reach === 'devices' ? `${wish.by} gives it all devices of the host` : undefined
  }
}

/** Whether the policy lets a wish pass, as that of a path which it names or of one below. Devices and volumes are never excepted. */
export const isExcepted = (wish: Wish, exceptions: readonly Exception[]): boolean => {
  if (wish.kind !== 'path') return false
  const asked = clean(wish.path)
  return exceptions.some(({ path, access }) => (access === 'any' || !wish.writable) && isWithin(asked, path))
}

const ofPath = (
  { path, writable }: { path: string; writable: boolean },
  { paths }: Ground,
  reach: Reach,
): string | undefined => {
  const asked = clean(path)
  const within = paths.find((own) => isWithin(asked, own.path))
  if (within) return `${path} is in ${within.path}, which holds ${within.holds}`
  if (reach === 'storage' || !writable) return undefined
  const below = paths.find((own) => isWithin(own.path, asked))
  return below && `${path} is writable, and ${below.path} in it holds ${below.holds}`
}

/** Links that udev makes of disks and partitions, and of no loop device without partitions. */
const ofNoLoop = /^\/dev\/disk\/by-(id|path|partuuid|partlabel)\/./

/** Loop devices are what volumes are attached by; disks of the kernel's way have names of all kinds. */
const ofDevice = (path: string, reach: Reach): string | undefined => {
  const asked = clean(path)
  if (/^\/dev\/loop\d+$/.test(asked)) return `${path} may be a volume that is attached here`
  if (asked === '/dev') return `${path} has all devices of the host`
  if (isWithin(asked, '/dev/block') || (isWithin(asked, '/dev/disk') && !ofNoLoop.test(asked)))
    return `${path} is a link, which may lead to a volume that is attached here: write the name of the device itself, or that of /dev/disk/by-id or by-partuuid`
  return reach === 'devices' && /^\/dev\/(sd|vd|nvme|dm-|mapper\/|disk\/)/.test(asked)
    ? `${path} is a disk of the host`
    : undefined
}

/** Both clean. */
const isWithin = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`)

/** As the Engine takes it, whose folder is the root: without dots and repeated slashes, and none at the end. */
export const clean = (path: string): string => {
  const normal = posix.normalize(`/${path}`)
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal
}
