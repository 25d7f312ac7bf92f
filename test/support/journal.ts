import type { Ask } from './truth.ts'

/** A container that was killed between two times (ms since 1970). */
export interface KilledContainer {
  readonly id: string
  readonly from: number
  readonly to: number
}

interface Entry {
  kind: string
  time: string
  type?: string
  action?: string
  id?: string
  from?: string
  to?: string
}

/**
 * What is wrong in the journal of a host, by what etcdctl prints: its keys are in the order of time and name the time of
 * their entry, no event is there twice, and of every container that was killed the end is there, or a gap that spans it.
 */
export const journalFaults = async (
  etcdctl: Ask,
  host: string,
  killed: readonly KilledContainer[],
  prefix = '/openebs/v1',
): Promise<string[]> => {
  const printed = (await etcdctl('get', '--prefix', `${prefix}/events/${host}/`)).split('\n')
  const entries: { nano: string; entry: Entry }[] = []
  const wrong: string[] = []
  for (let at = 0; at + 1 < printed.length; at += 2) {
    const key = printed[at]?.split('/').at(-1) ?? ''
    const entry = JSON.parse(printed[at + 1] ?? '') as Entry
    const nano = /^(\d{19})-[0-9a-f]{8}$/.exec(key)?.[1]
    if (nano === undefined) wrong.push(`${key} is no key of a journal`)
    else if (Math.floor(Number(nano.slice(0, 13))) !== Date.parse(entry.time))
      wrong.push(`${key} holds an entry of ${entry.time}`)
    const before = entries.at(-1)
    if (before && nano !== undefined && nano < before.nano) wrong.push(`${key} is not in order`)
    entries.push({ nano: nano ?? '', entry })
  }
  const events = entries.filter(({ entry }) => entry.kind === 'event')
  const texts = events.map(({ nano, entry: { type, action, id } }) => `${nano} ${type} ${action} ${id}`)
  wrong.push(...texts.filter((text, index) => texts.indexOf(text) !== index).map((text) => `twice: ${text}`))
  const died = new Set(events.flatMap(({ entry }) => (entry.action === 'die' ? [entry.id] : [])))
  const gaps = entries.filter(({ entry }) => entry.kind === 'gap').map(({ entry }) => entry)
  for (const { id, from, to } of killed) {
    const spanned = gaps.some(
      (gap) => (gap.from ? Date.parse(gap.from) : 0) <= to && Date.parse(gap.to ?? gap.time) >= from,
    )
    if (!died.has(id) && !spanned)
      wrong.push(`the end of ${id} at ${new Date(from).toISOString()} is missing`)
  }
  return wrong
}
