import { Command } from 'commander'
import { explain, Failure, type FailureKind, isFailure } from '../process/failure.ts'
import { version } from '../process/version.ts'
import { DoctorAnswer } from '../registry/finding.ts'
import type { Store } from '../registry/store.ts'
import { type EtcdSettings, openEtcd, parseStoreUri } from '../registry/stores/etcd.ts'
import { etcdSettings } from '../registry/stores/settings.ts'
import { type AuditOptions, audit } from './audit.ts'
import { type DoctorOptions, doctor, type MemberStore } from './doctor.ts'
import { type EventsOptions, events } from './events.ts'
import { duration } from './format.ts'
import { get } from './get.ts'
import { grow } from './grow.ts'
import type { AskHost } from './host-doctor.ts'
import { type LsOptions, ls } from './ls.ts'
import { endWithReader, output } from './output.ts'
import { addPolicyCommands, deniedStatus } from './policy-commands.ts'
import { ask } from './requests.ts'
import { addSettings, readStoreSettings } from './settings.ts'
import { showVsm } from './vsm.ts'
import { type WatchOptions, watch } from './watch.ts'

/** 0 done; 1 failed; 2 wrong arguments or settings; 3 no such thing; 4 the store is away; 5 is of `policy test`. */
const statuses: Record<FailureKind, number> = {
  invalid: 2,
  denied: 1,
  conflict: 1,
  'in-use': 1,
  'not-found': 3,
  unavailable: 4,
}

const program = new Command('registrator')
  .description('Shows what the OpenEBS registry holds; `registrator run` is the sidecar that fills it.')
  .version(version)
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError('(--help tells more)')
  .exitOverride((exit) => {
    process.exit(exit.exitCode === 0 ? 0 : statuses.invalid)
  })
addSettings(program)

const settings = (): EtcdSettings => etcdSettings(readStoreSettings(program.opts(), process.env))

const withStore = async (work: (store: Store) => Promise<void>): Promise<void> => {
  const store = await openEtcd(settings())
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

/** Fires at Ctrl-C, or SIGTERM: the end that who follows something has asked for. */
const stopped = (): AbortSignal => {
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
  return stop.signal
}

const examples = (...lines: string[]): string =>
  `\nExamples:\n${lines.map((line) => `  registrator ${line}`).join('\n')}`

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
  .description('Show hosts with their volumes, VSMs, services and what Docker has there, or one collection')
  .argument('[collection]', 'hosts, inventory, services, vsms, volumes …; a table of its records')
  .option('--host <host>', 'only this host')
  .option('--kind <kind>', 'of the inventory: only container, image, network, plugin, volume …')
  .option('--json', 'as JSON')
  .addHelpText(
    'after',
    examples('ls', 'ls services --host h1', 'ls inventory --kind container', 'ls vsms --json'),
  )
  .action((collection: string | undefined, options: LsOptions) =>
    withStore((store) => ls(store, collection, options, output)),
  )

program
  .command('get')
  .description('Show the record at a key, or all below one that ends with "/"')
  .argument('<key>')
  .option('--json', 'as JSON, with key and revision')
  .addHelpText('after', examples('get hosts/h1', 'get inventory/h1/container/', 'get volumes/data --json'))
  .action((key: string, options: { json?: boolean }) =>
    withStore((store) => get(store, key, options, output)),
  )

program
  .command('watch')
  .description('Print a line for each change, as it comes; Ctrl-C ends')
  .argument('[prefix]', 'only keys that begin with it', '')
  .option('--from <revision>', 'begin just after it, not now')
  .option('--json', 'JSON lines')
  .addHelpText('after', examples('watch', 'watch services/web/', 'watch services/ --json --from 1234'))
  .action((prefix: string, options: WatchOptions) =>
    withStore((store) => watch(store, prefix, options, stopped(), output)),
  )

program
  .command('events')
  .description('Show the journal of what happened on the hosts, oldest first')
  .option('--host <host>', 'only this host')
  .option('--since <time>', 'only after it: 30s, 10m, 2h, 1d ago, or a time (ISO 8601)')
  .option('--type <type>', 'only these: container, image, network, volume …')
  .option('-f, --follow', 'go on with what comes; Ctrl-C ends')
  .option('--json', 'JSON lines')
  .addHelpText('after', examples('events --since 10m', 'events --host h1 --type container --follow'))
  .action((options: EventsOptions) => withStore((store) => events(store, options, stopped(), output)))

program
  .command('audit')
  .description('Show who asked the Docker Engines for what, and whether it was done, oldest first')
  .option('--host <host>', 'only this host')
  .option('--since <time>', 'only after it: 30s, 10m, 2h, 1d ago, or a time (ISO 8601)')
  .option('--user <user>', 'only of this user; "-" for who comes by the unix socket')
  .option('--verdict <verdict>', 'only these: allow, deny, would-deny')
  .option('--action <action>', 'only these: create, start, stop, kill, remove …')
  .option('--volume <volume>', 'only about this volume')
  .option('--container <container>', 'only about this container: its name, or the beginning of its ID')
  .option('--events', 'between them what the journal has of that container')
  .option('-f, --follow', 'go on with what comes; Ctrl-C ends')
  .option('--json', 'JSON lines')
  .addHelpText(
    'after',
    examples(
      'audit --since 1h',
      'audit --verdict deny --follow',
      'audit --volume data --user ops',
      'audit --container vsm-data --events',
    ),
  )
  .action((options: AuditOptions) => withStore((store) => audit(store, options, stopped(), output)))

const vsm = program.command('vsm').description('Show VSMs: the containers that serve volumes over iSCSI')
vsm
  .command('ls')
  .description('Show a table of VSMs')
  .option('--host <host>', 'only this host')
  .option('--json', 'as JSON')
  .action((options: LsOptions) => withStore((store) => ls(store, 'vsms', options, output)))
vsm
  .command('show')
  .description('Show all about one: portals, IQN, LUNs, sessions, health, container, volume')
  .argument('<name>')
  .option('--host <host>', 'only the one of this host')
  .option('--json', 'as JSON')
  .addHelpText('after', examples('vsm show data'))
  .action((name: string, options: LsOptions) => withStore((store) => showVsm(store, name, options, output)))

const volumes = program.command('volumes').description('Show and change volumes')
volumes
  .command('ls')
  .description('Show a table of volumes')
  .option('--host <host>', 'only of this host')
  .option('--json', 'as JSON')
  .action((options: LsOptions) => withStore((store) => ls(store, 'volumes', options, output)))
volumes
  .command('grow')
  .description(
    'Make a volume larger, in use or not; it says whether its file system grows now or at the next attach',
  )
  .argument('<name>')
  .argument('<size>', 'its new size, as in 10G; never less than it has')
  .option('--json', 'as JSON')
  .addHelpText('after', examples('volumes grow data 20G'))
  .action((name: string, size: string, options: { json?: boolean }) =>
    withStore((store) => grow(store, name, size, options, output)),
  )

addPolicyCommands(program, withStore, examples)

program
  .command('doctor')
  .description(
    "Check store, sidecar and records, and have each host's plugin look after its volumes; say what is wrong and what to do (status 1)",
  )
  .option(
    '--fix',
    'do what the plugins say they would: leftovers of volumes go, what is missing is made anew',
  )
  .option('--adopt', 'after etcd was wiped or replaced: write what the hosts have into it, and use it')
  .option('--host <host>', "only this host's plugin; default: each that lives")
  .option('--grace <time>', 'what is younger is left alone, as it may be being made', '60s')
  .option('--listen <address>', "this host's sidecar (OPENEBS_LISTEN, default 127.0.0.1:9190)")
  .option('--json', 'as JSON')
  .addHelpText('after', examples('doctor', 'doctor --json', 'doctor --fix', 'doctor --adopt --host h1'))
  .action((options: DoctorOptions & { grace: string }) =>
    withStore(async (store) => {
      const grace = duration(options.grace, '--grace')
      await using stack = new AsyncDisposableStack()
      const members = await openMembers(settings(), stack)
      const listen = options.listen ?? (process.env.OPENEBS_LISTEN || undefined)
      const askHost: AskHost = async (host, mode) => {
        const progress = (doing: string) => {
          if (mode !== 'look') output.say(`${host}: ${doing}`)
        }
        const question = { kind: 'doctor', arguments: { mode, grace } }
        return DoctorAnswer.parse(await ask(store, host, question, { progress })).findings
      }
      if (!(await doctor(store, members, { ...options, listen }, output, askHost))) process.exitCode = 1
    }),
  )

/** Each member by itself: a cluster hides one that is down. */
const openMembers = (own: EtcdSettings, stack: AsyncDisposableStack): Promise<MemberStore[]> => {
  const { hosts, tls, prefix } = parseStoreUri(own.uri)
  return Promise.all(
    hosts.map(async (address) => {
      const uri = `${tls ? 'etcds' : 'etcd'}://${address}${prefix}`
      const store = await openEtcd({ ...own, uri, limit: 2000 })
      stack.defer(() => store.close())
      return { address, store }
    }),
  )
}

program.addHelpText(
  'after',
  `${examples('run --help', 'ls', 'ls services', 'vsm show data', 'watch services/', 'events --since 10m', 'audit --since 1h', 'doctor')}

Exit status: 0 done, 1 failed (doctor: something is wrong), 2 wrong arguments or settings, 3 no such thing, 4 the store
is away, ${deniedStatus} policy test: not allowed.`,
)

endWithReader()
try {
  await program.parseAsync()
} catch (error) {
  process.stderr.write(`registrator: ${explain(error)}\n`)
  process.exitCode = isFailure(error) ? statuses[error.kind] : 1
}
