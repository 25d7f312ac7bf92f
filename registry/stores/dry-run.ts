import type { Log } from '../../process/log.ts'
import type { OpenBackend } from '../backend.ts'
import type { View } from '../views/view.ts'
import { MemoryStore } from './memory.ts'
import { onOwnLease } from './view-store.ts'

/**
 * A registry in the memory of this process, which prints what it would write: "put <key> <value>" and "delete <key>", a line each, on
 * `out`. Control characters are escaped as in JSON, so a line is always one.
 */
export const dryRun = (
  { view, root }: { view: View; root: string },
  { host, log, out = process.stdout }: { host: string; log: Log; out?: { write(text: string): unknown } },
): OpenBackend => {
  const at = (key: string) => oneLine(root === '' ? key : `${root}/${key}`)
  return onOwnLease(
    new MemoryStore(),
    { ttl: 15 },
    {
      host,
      view,
      log,
      hooks: {
        written: (changes) => {
          for (const change of changes)
            out.write(
              change.kind === 'put'
                ? `put ${at(change.key)} ${oneLine(change.value)}\n`
                : `delete ${at(change.key)}\n`,
            )
        },
      },
    },
  )
}

const oneLine = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  text.replace(/[\u0000-\u001f\u007f]/g, (one) => JSON.stringify(one).slice(1, -1))
