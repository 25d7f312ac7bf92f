import { styleText } from 'node:util'
import { Command } from 'commander'
import { explain, Failure, type FailureKind, isFailure } from '../process/failure.ts'
import { version } from '../process/version.ts'
import type { Store } from '../registry/store.ts'
import { openEtcd } from '../registry/stores/etcd.ts'
import { readEntries, readTree, type Style, showTree, showValue } from './commands.ts'

/** 0 done; 1 failed; 2 wrong arguments or settings; 3 no such thing; 4 the store is away. */
const statuses: Record<FailureKind, number> = {
  invalid: 2,
  denied: 1,
  conflict: 1,
  'in-use': 1,
  'not-found': 3,
  unavailable: 4,
}

const print = (text: string): void => void process.stdout.write(`${text}\n`)

/** styleText looks at the stream itself: no colours into a file or a pipe, nor with NO_COLOR. */
const style: Style = {
  heading: (text) => styleText('bold', text),
  title: (text) => styleText('dim', text),
  good: (text) => styleText('green', text),
  bad: (text) => styleText('red', text),
}

const program = new Command('registrator')
  .description('Shows what the OpenEBS registry holds; `registrator run` is the sidecar that fills it.')
  .version(version)
  .option('--store <uri>', 'the store (OPENEBS_STORE)', process.env.OPENEBS_STORE || 'etcd://127.0.0.1:2379')
  .exitOverride((exit) => {
    process.exit(exit.exitCode === 0 ? 0 : statuses.invalid)
  })

const withStore = async (work: (store: Store) => Promise<void>): Promise<void> => {
  const store = await openEtcd({ uri: program.opts<{ store: string }>().store })
  try {
    await work(store)
  } catch (error) {
    throw isFailure(error, 'unavailable')
      ? new Failure('unavailable', `${store.description} is away`, error)
      : error
  } finally {
    await store.close()
  }
}

program
  .command('run')
  .description('Register this host and keep the registry equal to it (registrator run --help)')
  .allowUnknownOption()
  .helpOption(false)
  .action(() => {
    throw new Failure(
      'invalid',
      'start the sidecar through the `registrator` command, not through cli/main.ts',
    )
  })

program
  .command('ls')
  .description('Show hosts with their volumes, VSMs, services and what Docker has there')
  .option('--json', 'as JSON')
  .option('--host <host>', 'only this host')
  .action((options: { json?: boolean; host?: string }) =>
    withStore(async (store) => {
      const hosts = await readTree(store, options.host)
      print(options.json ? JSON.stringify(hosts, null, 2) : showTree(hosts, style).join('\n'))
    }),
  )

program
  .command('get')
  .description('Show the record at a key (hosts/h1), or all below it (hosts/)')
  .argument('<key>')
  .action((key: string) =>
    withStore(async (store) => {
      const entries = await readEntries(store, key)
      const one = entries.length === 1 && !key.endsWith('/')
      for (const entry of entries)
        print(one ? showValue(entry.value) : `${entry.key}\n${showValue(entry.value)}`)
    }),
  )

try {
  await program.parseAsync()
} catch (error) {
  process.stderr.write(`registrator: ${explain(error)}\n`)
  process.exitCode = isFailure(error) ? statuses[error.kind] : 1
}
