import { z } from 'zod'
import { logLevels } from '../process/log.ts'
import { version } from '../process/version.ts'
import { hostName } from '../registry/keys.ts'
import { defaultPolicy, guardModes, reaches } from '../registry/policy.ts'
import { attachChoices } from './attach.ts'

const portRange = z
  .string()
  .regex(/^\d{1,5}-\d{1,5}$/, 'expected two port numbers, as in 23260-27259')
  .transform((text) => {
    const [first = 0, last = 0] = text.split('-').map(Number)
    return { first, last }
  })
  .refine(({ first, last }) => first > 0 && first <= last && last <= 65535, 'expected a range within 1-65535')

/** The plugin's settings. Their names are those of config.json's env, which a test compares. */
export const settings = {
  OPENEBS_STORE: z
    .string()
    .default('etcd://127.0.0.1:2379')
    .describe('The store of the registry: etcd://host:port[,host:port...][/prefix].'),
  OPENEBS_HOST: z
    .string()
    .regex(hostName, 'expected letters, digits and "_.-"')
    .optional()
    .describe("This host's name in the registry. Default: the Docker Engine's name."),
  OPENEBS_ADDRESS: z
    .union([z.ipv4(), z.ipv6()], 'expected an IP address of this host')
    .optional()
    .describe(
      'Address of this host where the portals of volumes with CHAP are. Default: one that only this host reaches.',
    ),
  OPENEBS_ROOT: z
    .string()
    .startsWith('/', 'expected an absolute path')
    .default('/var/lib/openebs')
    .describe('Folder on the host that holds a folder per volume.'),
  OPENEBS_PORTS: portRange
    .default({ first: 23260, last: 27259 })
    .describe('Ports for portals; outside the range of ephemeral ports, so that they are free at boot.'),
  OPENEBS_VSM_IMAGE: z
    .string()
    .default(`openebs/vsm:${version}`)
    .describe('Image of VSMs. The default one comes with the plugin and is loaded where it is missing.'),
  OPENEBS_ATTACH: z
    .enum(attachChoices)
    .default('auto')
    .describe(
      'How volumes are attached: by the kernel, in userspace, or auto: by the kernel where it has iscsi_tcp.',
    ),
  OPENEBS_REVIVE: z
    .enum(['yes', 'no'])
    .default('yes')
    .describe(
      'Whether containers that are to run always are started when their volume was not up at the restore.',
    ),
  OPENEBS_GUARD: z
    .enum(guardModes)
    .default(defaultPolicy.mode)
    .describe(
      'Where the plugin is an authorization plugin: enforce denies what harms volumes in use, dry-run only records it.',
    ),
  OPENEBS_GUARD_REACH: z
    .enum(reaches)
    .default(defaultPolicy.reach)
    .describe(
      'What new containers may not have: storage itself, writable ancestors of its folders too, or also devices and --privileged.',
    ),
  OPENEBS_OPERATORS: z
    .string()
    .default('')
    .transform((text) => text.split(',').flatMap((name) => (name.trim() === '' ? [] : [name.trim()])))
    .describe("Common names of client certificates whose owners the guard lets pass: 'alice,bob'."),
  OPENEBS_LOG_LEVEL: z
    .enum(logLevels)
    .default('info')
    .describe(`One of ${logLevels.join(', ')}.`),
  DOCKER_HOST: z
    .string()
    .default('unix:///run/docker-host/docker.sock')
    .describe("The Docker Engine, as seen from the plugin's root file system."),
} as const
export type Settings = z.infer<z.ZodObject<typeof settings>>
