import { isIP } from 'node:net'
import { z } from 'zod'
import { parseAddress } from '../process/listener.ts'
import { logLevels } from '../process/log.ts'
import { seconds } from '../process/settings.ts'
import { hostName } from '../registry/keys.ts'

/** The sidecar's settings; each is also a flag (OPENEBS_STORE is --store). */
export const settings = {
  OPENEBS_STORE: z
    .string()
    .default('etcd://127.0.0.1:2379')
    .describe('The store of the registry: etcd://host:port[,host:port...][/prefix].'),
  OPENEBS_HOST: z
    .string()
    .regex(hostName, 'expected letters, digits and "_.-"')
    .optional()
    .describe("This host's name in the registry. Default: the Docker Engine's name (docker info)."),
  OPENEBS_ADDRESS: z
    .string()
    .refine((text) => isIP(text) !== 0, 'expected an IPv4 or IPv6 address')
    .optional()
    .describe(
      'Where other hosts reach this one. Default: what Swarm advertises, else the address of the default route; that needs the host network.',
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
    .describe('Seconds between two full comparisons with the Docker Engine and with the store.'),
  OPENEBS_LOG_LEVEL: z
    .enum(logLevels)
    .default('info')
    .describe(`One of ${logLevels.join(', ')}.`),
  DOCKER_HOST: z
    .string()
    .default('unix:///var/run/docker.sock')
    .describe('The Docker Engine: unix:///path or tcp://host:port.'),
  DOCKER_TLS_VERIFY: z.string().optional().describe('Any value but 0 and false: TLS to the Docker Engine.'),
  DOCKER_CERT_PATH: z.string().optional().describe('Folder with ca.pem, cert.pem and key.pem for that.'),
} as const
export type Settings = z.infer<z.ZodObject<typeof settings>>
