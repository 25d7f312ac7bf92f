import { isIP } from 'node:net'
import { z } from 'zod'
import { parseAddress } from '../process/listener.ts'
import { logLevels } from '../process/log.ts'
import { list, seconds } from '../process/settings.ts'
import { hostName } from '../registry/keys.ts'
import { storeCredentials, storeUri } from '../registry/stores/settings.ts'
import { readView, viewNames } from '../registry/views/views.ts'

/** The sidecar's settings; each is also a flag (OPENEBS_STORE is --store). */
export const settings = {
  OPENEBS_STORE: storeUri,
  ...storeCredentials,
  OPENEBS_HOST: z
    .string()
    .regex(hostName, 'expected letters, digits and "_.-"')
    .optional()
    .describe("This host's name in the registry. Default: the Docker Engine's name (docker info)."),
  OPENEBS_ADDRESS: list(z.string().refine((text) => isIP(text) !== 0, 'expected an IPv4 or IPv6 address'))
    .refine(
      (all) => new Set(all.map(isIP)).size === all.length,
      'expected at most one IPv4 and one IPv6 address',
    )
    .optional()
    .describe(
      'Where other hosts reach this one: an IPv4 or an IPv6 address, or one of each (a,b). Default: what Swarm advertises, else the address of the default route; that needs the host network.',
    ),
  OPENEBS_LISTEN: z
    .string()
    .refine((text) => parseAddress(text) !== undefined, 'expected address:port or unix:///path')
    .default('127.0.0.1:9190')
    .describe('Where /healthz, /readyz, /metrics and /v1 are served.'),
  OPENEBS_TTL: seconds(5, 3600)
    .default(15)
    .describe(
      'Seconds that the records outlive a sidecar that was killed. Below 10 an election in etcd can drop them.',
    ),
  OPENEBS_RESYNC: seconds(1, 86_400)
    .default(60)
    .describe(
      'Seconds between two comparisons of all with the Docker Engine and with what stands in the store.',
    ),
  OPENEBS_ON_EXIT: z
    .enum(['withdraw', 'keep'])
    .default('withdraw')
    .describe(
      'What SIGTERM does to the records: withdraw, or keep them for a successor until their lease ends.',
    ),
  OPENEBS_LABELS: list(z.string())
    .default(['*'])
    .describe(
      'Labels that are registered: * (all), none, or names and prefixes (com.example.*), comma-separated.',
    ),
  OPENEBS_SERVICES: z
    .enum(['published', 'internal'])
    .default('published')
    .describe(
      "Which ports are services: those published on the host, or all, at the container's own address.",
    ),
  OPENEBS_NETWORKS: list(z.string())
    .default([])
    .describe("Docker networks whose addresses are taken for a container's own, most wanted first."),
  OPENEBS_ADDRESS_LABEL: z
    .string()
    .optional()
    .describe("A label that holds a container's address (an IP, or IP/prefix), where it has one."),
  OPENEBS_UNHEALTHY: z
    .enum(['mark', 'withdraw'])
    .default('mark')
    .describe(
      'What becomes of the services of an unhealthy container: marked by their health, or withdrawn.',
    ),
  OPENEBS_PAUSED: z
    .enum(['withdraw', 'mark'])
    .default('withdraw')
    .describe('What becomes of the services of a paused container: withdrawn, or marked by their state.'),
  OPENEBS_VIEWS: list(
    z
      .string()
      .refine((text) => readView(text) !== undefined, `expected views out of ${viewNames.join(', ')}`),
  )
    .refine(
      (all) => new Set(all.map((text) => readView(text)?.name)).size === all.length,
      'expected each view once',
    )
    .default([])
    .describe(
      `Layouts of other tools that are kept in the same etcd, comma-separated: ${viewNames.join(', ')}. After "=" a domain (skydns) or a prefix.`,
    ),
  OPENEBS_SWARM_POLL: seconds(1, 3600)
    .default(5)
    .describe('Seconds between two looks at the tasks of a swarm, on a manager: no event tells of them.'),
  OPENEBS_EVENTS_TTL: seconds(60, 31_536_000)
    .default(86_400)
    .describe('Seconds that an event is kept in the journal (events/<host>/).'),
  OPENEBS_EVENTS_MOST: z.coerce
    .number({ error: 'expected a whole number from 0 to 1000000' })
    .int()
    .min(0)
    .max(1_000_000)
    .default(10_000)
    .describe('Events that are kept in the journal at most; the oldest go first. 0: no journal.'),
  OPENEBS_PROMETHEUS_FILE: z
    .string()
    .regex(/^\/.*[^/]\.json$/, 'expected an absolute path that ends in .json')
    .optional()
    .describe(
      "A file that holds the services of all hosts as targets for Prometheus' file_sd_configs. Default: none.",
    ),
  OPENEBS_LOG_LEVEL: z
    .enum(logLevels)
    .default('info')
    .describe(`One of ${logLevels.join(', ')}.`),
  DOCKER_HOST: z
    .string()
    .regex(
      /^(unix:\/\/\/.+|(tcp|https?):\/\/[^/@\s]+\/?)$/,
      'expected unix:///path or tcp://host:port (an ssh:// one must be forwarded to a socket)',
    )
    .default('unix:///var/run/docker.sock')
    .describe('The Docker Engine: unix:///path or tcp://host:port.'),
  DOCKER_TLS_VERIFY: z.string().optional().describe('Any value but 0 and false: TLS to the Docker Engine.'),
  DOCKER_CERT_PATH: z.string().optional().describe('Folder with ca.pem, cert.pem and key.pem for that.'),
} as const
export type Settings = z.infer<z.ZodObject<typeof settings>>
