import { explain, Failure, isFailure } from '../process/failure.ts'
import { Growth } from '../registry/growth.ts'
import { decode, keys } from '../registry/keys.ts'
import { size } from '../registry/size.ts'
import type { Store } from '../registry/store.ts'
import { json, type Output } from './output.ts'
import { ask } from './requests.ts'

/** `volumes grow`: has the plugin of the volume's host do it. Rejects as that does, and with `not-found`. */
export const grow = async (
  store: Store,
  volume: string,
  wanted: string,
  options: { json?: boolean },
  output: Output,
): Promise<void> => {
  const key = keys.volume(volume)
  const [entry] = (await store.readKeys([key])).entries
  if (!entry) throw new Failure('not-found', `no volume ${volume} (registrator ls volumes)`)
  const { host } = decode('volumes', key, entry.value).placement
  const progress = (doing: string) => output.say(`${host}: ${doing}`)
  const question = { kind: 'grow', arguments: { volume, size: wanted } }
  const answer = await ask(store, host, question, { progress }).catch((error: unknown) => {
    // the store has just answered: it is the plugin that does not
    throw isFailure(error, 'unavailable') ? new Failure('conflict', explain(error)) : error
  })
  const growth = Growth.parse(answer)
  output.print(options.json ? json(growth) : told(growth))
}

const told = ({ volume, before, size: now, waits }: Growth): string => {
  if (waits !== undefined)
    return `volume ${volume} has ${size(now)}; its file system grows at the next attach: ${waits}`
  if (now === before) return `volume ${volume} has ${size(now)} already`
  return `volume ${volume} has grown from ${size(before)} to ${size(now)}, file system and all`
}
