import { registratorView } from './registrator.ts'
import { skydnsView } from './skydns.ts'
import { traefikView } from './traefik.ts'
import type { View } from './view.ts'

/** A view as it is kept beside the registry: what all its keys begin with, before their "/". */
export interface RootedView {
  readonly view: View
  readonly root: string
}

/** Makes a view; `argument` is what follows its name and "=". */
type Maker = (argument: string | undefined) => RootedView

/** A new view is a line here. */
const makers: Readonly<Record<string, Maker>> = {
  registrator: (root = '/services') => ({ view: registratorView(), root: rooted(root) }),
  skydns: (domain = 'openebs.local') => ({ view: skydnsView({ domain }), root: '/skydns' }),
  traefik: (root = 'traefik') => ({ view: traefikView(), root: rooted(root) }),
}

export const viewNames = Object.keys(makers)

/** "skydns=example.org" -> its name, and the view. Undefined where there is none of this name. */
export const readView = (text: string): ({ readonly name: string } & RootedView) | undefined => {
  const [name = '', ...argument] = text.split('=')
  const make = Object.hasOwn(makers, name) ? makers[name] : undefined
  return make && { name, ...make(argument.length > 0 ? argument.join('=') : undefined) }
}

const rooted = (root: string): string => root.replace(/\/+$/, '')
