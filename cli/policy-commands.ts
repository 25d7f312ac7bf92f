import type { Command } from 'commander'
import type { Store } from '../registry/store.ts'
import { output } from './output.ts'
import { checkPolicy, clearPolicy, setPolicy, showPolicy } from './policy.ts'

/** Exit status of `policy test` for a call that is not allowed. */
export const deniedStatus = 5

/** `registrator policy …`. */
export const addPolicyCommands = (
  program: Command,
  withStore: (work: (store: Store) => Promise<void>) => Promise<void>,
  examples: (...lines: string[]) => string,
): void => {
  const policy = program
    .command('policy')
    .description('Show, set and try what the guards of all hosts go by (docs/security.md)')
  policy
    .command('show')
    .description('Show what stands in the registry, and which hosts go by it')
    .option('--json', 'as JSON, as `policy set` takes it')
    .action((options: { json?: boolean }) => withStore((store) => showPolicy(store, options, output)))
  policy
    .command('set')
    .description('Have all guards go by a policy, at once and without a restart')
    .argument('<file>', 'JSON; "-" for standard input')
    .addHelpText('after', examples('policy set policy.json', 'policy set - <policy.json'))
    .action((file: string) => withStore((store) => setPolicy(store, file, output)))
  policy
    .command('clear')
    .description("Take the policy away: each guard goes by its plugin's settings again")
    .action(() => withStore((store) => clearPolicy(store, output)))
  policy
    .command('check')
    .description('Say whether a policy is good, without a store')
    .argument('<file>', 'JSON; "-" for standard input')
    .action((file: string) => checkPolicy(file, output))
  policy
    .command('test')
    .description('Say what a guard would answer to a call by a policy, without a plugin and a store')
    .argument('<request>', 'JSON: method, path, user, auth, headers, body, world; "-" for standard input')
    .requiredOption('--policy <file>', 'JSON; "-" for standard input')
    .option('--json', 'as JSON: verdict, rule, reason')
    .addHelpText(
      'after',
      `${examples('policy test --policy policy.json stop.json')}

Exit status: 0 allow, ${deniedStatus} deny or would-deny.`,
    )
    .action(async (request: string, options: { policy: string; json?: boolean }) => {
      // the guard is read for this alone
      const { testPolicy } = await import('./policy-test.ts')
      const files = { policy: options.policy, call: request }
      if (!(await testPolicy(files, options, output))) process.exitCode = deniedStatus
    })
}
