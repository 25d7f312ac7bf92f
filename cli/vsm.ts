import { Failure } from '../process/failure.ts'
import { readCollection, shown } from '../registry/collections.ts'
import { keys, part, type RecordOf } from '../registry/keys.ts'
import { sizeOf } from '../registry/records.ts'
import { size } from '../registry/size.ts'
import type { Store } from '../registry/store.ts'
import { verdict } from './columns.ts'
import { short, time } from './format.ts'
import { aligned, json, type Output, type Style } from './output.ts'
import { toned } from './tone.ts'

type Vsm = RecordOf<'vsms'>

/** A VSM with what the registry knows of the volume that it serves. */
interface Whole {
  readonly vsm: Vsm
  readonly volume?: RecordOf<'volumes'>
  readonly target?: RecordOf<'targets'>
  readonly attachment?: RecordOf<'attachments'>
}

/** `vsm show <name>`: all about it, once for each host that has one of that name. Errors: `not-found`. */
export const showVsm = async (
  store: Store,
  name: string,
  options: { readonly json?: boolean; readonly host?: string },
  output: Output,
): Promise<void> => {
  const { records, unreadable } = await readCollection(store, 'vsms', {
    below: `vsms/${part(name)}/`,
    host: options.host,
  })
  for (const { key, reason } of unreadable) output.say(`${key} cannot be read: ${reason}`)
  if (records.length === 0) throw new Failure('not-found', `no VSM ${name}${await others(store)}`)
  const all = await Promise.all(records.map(({ record }) => whole(store, record)))
  if (options.json) output.print(json(all))
  else output.print(all.map((one) => vsmLines(one, output.style).join('\n')).join('\n\n'))
}

const others = async (store: Store): Promise<string> => {
  const { records } = await readCollection(store, 'vsms')
  const names = [...new Set(records.map(({ record }) => record.vsm))]
  const shownNames = names.slice(0, 10).join(', ') + (names.length > 10 ? ' …' : '')
  return names.length > 0 ? ` in the registry (there are ${shownNames})` : ' in the registry, and no other'
}

const whole = async (store: Store, vsm: Vsm): Promise<Whole> => {
  if (vsm.volume === undefined) return { vsm }
  const { entries } = await store.readKeys([
    keys.volume(vsm.volume),
    keys.target(vsm.host, vsm.volume),
    keys.attachment(vsm.volume),
  ])
  const find = <C extends 'volumes' | 'targets' | 'attachments'>(collection: C): RecordOf<C> | undefined => {
    const entry = entries.find(({ key }) => key.startsWith(`${collection}/`))
    const one = entry && shown(collection, entry)
    return one && 'record' in one ? one.record : undefined
  }
  const volume = find('volumes')
  const target = find('targets')
  const attachment = find('attachments')
  return { vsm, ...(volume && { volume }), ...(target && { target }), ...(attachment && { attachment }) }
}

const vsmLines = ({ vsm, volume, target, attachment }: Whole, style: Style): string[] => {
  const row = (title: string, ...lines: string[]): string[][] =>
    lines.map((line, index) => [`  ${index === 0 ? title : ''}`, line])
  const rows = [
    ...row('health', toned(verdict(vsm), style)),
    ...row('portals', ...(vsm.portals.length > 0 ? vsm.portals : ['none'])),
    ...row('targets', ...targetLines(vsm)),
    ...row('sessions', ...sessionLines(vsm)),
    ...row('container', `${vsm.container} (${short(vsm.containerId)})`),
    ...(vsm.volume === undefined ? [] : row('volume', volumeLine(vsm.volume, volume, target))),
    ...(vsm.volume === undefined ? [] : row('attached', attachmentLine(attachment))),
  ]
  return [style.heading(`${vsm.vsm} on ${vsm.host}`), ...aligned(rows)]
}

const targetLines = ({ targets }: Vsm): string[] =>
  targets.length === 0
    ? ['not known']
    : targets.flatMap(({ iqn, luns }) => [
        iqn,
        ...luns.map(({ lun, size: bytes }) => `  LUN ${lun}: ${size(bytes)}`),
      ])

const sessionLines = ({ sessions }: Vsm): string[] => {
  if (sessions === undefined) return ['not known']
  if (sessions.length === 0) return ['none']
  return sessions.map(
    ({ initiator, address }) => `${initiator}${address === undefined ? '' : ` from ${address}`}`,
  )
}

const volumeLine = (name: string, volume: Whole['volume'], target: Whole['target']): string =>
  volume
    ? `${name}, ${size(sizeOf(volume))} ${volume.spec.fs}, ${volume.wanted === 'absent' ? 'removing' : (target?.phase ?? 'pending')}`
    : `${name}, which is not in the registry`

const attachmentLine = (attachment: Whole['attachment']): string =>
  attachment ? `to ${attachment.host}, ${attachment.state} since ${time(attachment.since)}` : 'to no host'
