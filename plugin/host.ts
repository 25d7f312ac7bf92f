import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import writeFileAtomic from 'write-file-atomic'
import { z } from 'zod'
import { pause } from '../process/backoff.ts'
import { isFailure } from '../process/failure.ts'
import type { Engine } from './engine.ts'
import { pluginId, readMounts } from './mount-table.ts'

/** What the plugin must know of its host, asked once and kept: at boot the Engine serves no API to ask. */
export const HostFacts = z.object({
  /** The host's name in the registry. */
  host: z.string().min(1),
  /** Host path of the folder that the plugin sees as its propagated mount. */
  data: z.string().startsWith('/'),
  /** Address that portals bind: the default bridge's, else loopback. Only this host reaches it. */
  portalAddress: z.string().min(1),
  /** /info's SecurityOptions. */
  security: z.array(z.string()),
})
export type HostFacts = z.infer<typeof HostFacts>

const loopback = '127.0.0.1'

/** Where the facts are kept, and the propagated mount as the plugin sees it. */
export interface HostPlace {
  folder: string
  propagatedMount: string
  /** The name that was set; else the first one that the Engine told is kept. */
  name?: string | undefined
}

/** The facts as they were kept, at once; on the first start asks the Engine, for as long as it takes. */
export const learnHost = async (
  engine: Engine,
  place: HostPlace,
  signal: AbortSignal,
): Promise<HostFacts> => {
  const kept = await readKept(place)
  if (!kept) return refreshHost(engine, place, signal)
  return { ...kept, host: place.name ?? kept.host }
}

/** Asks the Engine anew and keeps what it says, for the next start. */
export const refreshHost = async (
  engine: Engine,
  place: HostPlace,
  signal: AbortSignal,
): Promise<HostFacts> => {
  const kept = await readKept(place)
  const asked = await askHost(engine, place.propagatedMount, signal)
  const facts = { ...asked, host: place.name ?? kept?.host ?? asked.host }
  if (!isDeepStrictEqual(facts, kept)) await writeFileAtomic(fileOf(place), JSON.stringify(facts))
  return facts
}

const fileOf = ({ folder }: HostPlace): string => join(folder, 'host')

const readKept = async (place: HostPlace): Promise<HostFacts | undefined> => {
  try {
    return HostFacts.parse(JSON.parse(await readFile(fileOf(place), 'utf8')))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    // damaged, or of another version: the Engine knows it all, but for a name that it had before
    if (error instanceof SyntaxError || error instanceof z.ZodError) return undefined
    throw error
  }
}

const askHost = async (engine: Engine, propagatedMount: string, signal: AbortSignal): Promise<HostFacts> => {
  for (;;) {
    signal.throwIfAborted()
    try {
      const info = await engine.info()
      const id = pluginId(await readMounts(), propagatedMount)
      const data = id ? join(info.DockerRootDir, 'plugins', id, 'propagated-mount') : propagatedMount
      return {
        host: info.Name,
        data,
        portalAddress: (await engine.bridgeAddress()) ?? loopback,
        security: info.SecurityOptions,
      }
    } catch (error) {
      // also refused (another authorization plugin): that may pass, and volumes are served meanwhile
      if (!isFailure(error)) throw error
      await pause(500, signal)
    }
  }
}
