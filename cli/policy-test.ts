import { z } from 'zod'
import { Guard } from '../plugin/guard/guard.ts'
import { outcome } from '../plugin/guard/verdict.ts'
import type { Guarded, World } from '../plugin/guard/world.ts'
import { Failure } from '../process/failure.ts'
import { parseStrict } from '../process/strict-json.ts'
import { version } from '../process/version.ts'
import { defaultPolicy, type EffectivePolicy, effective, parsePolicy } from '../registry/policy.ts'
import { json, type Output } from './output.ts'
import { readInput } from './policy.ts'

const Volume = z.strictObject({
  name: z.string().min(1),
  used: z.boolean(),
  users: z.array(z.string()).optional(),
})

/** A call to be tried, and the host that it is made on. */
export const TriedCall = z.strictObject({
  method: z.string(),
  path: z.string(),
  user: z.string().default(''),
  /** "TLS" for who has a client certificate. */
  auth: z.string().default(''),
  headers: z.record(z.string(), z.string()).default({}),
  body: z.record(z.string(), z.unknown()).optional(),
  world: z
    .strictObject({
      host: z.string().default('host'),
      volumes: z.array(Volume).default([]),
      root: z.string().startsWith('/', 'expected an absolute path').default('/var/lib/openebs'),
      /** Whether etcd runs on this host. */
      etcd: z.boolean().default(true),
    })
    .prefault({}),
})
export type TriedCall = z.infer<typeof TriedCall>

export interface Tried {
  readonly verdict: ReturnType<typeof outcome>
  readonly rule?: string
  readonly reason?: string
}

/** What the guard of such a host would say. Its container IDs are nobody's, so containers are known by their names alone. */
export const tryCall = async (policy: EffectivePolicy, tried: TriedCall): Promise<Tried> => {
  const guard = new Guard({ isOwn: () => false, policy: () => policy, within: 1000 }, () =>
    worldOf(tried.world, policy),
  )
  const { method, path, user, auth, headers, body } = tried
  const { verdict } = await guard.decide({
    method,
    uri: path,
    user,
    auth,
    headers,
    body: body ? Buffer.from(JSON.stringify(body)).toString('base64') : '',
  })
  return {
    verdict: outcome(verdict, policy.mode),
    ...(verdict.rule !== undefined && { rule: verdict.rule }),
    ...(verdict.reason !== undefined && { reason: verdict.reason }),
  }
}

const pluginId = '0'.repeat(64)

const worldOf = ({ host, volumes, root, etcd }: TriedCall['world'], policy: EffectivePolicy): World => {
  const shared: Guarded[] = [
    { id: '', name: 'openebs-iscsid', role: 'iscsid' },
    { id: '', name: 'openebs-registrator', role: 'registrator' },
    ...(etcd ? [{ id: '', name: 'openebs-etcd', role: 'etcd' } as const] : []),
  ]
  const guarded = volumes.flatMap(({ name: volume }): Guarded[] => [
    { id: '', name: `vsm-${volume}`, role: 'target', volume },
    { id: '', name: `initiator-${volume}`, role: 'initiator', volume },
  ])
  return {
    host,
    policy: () => policy,
    ground: async () => ({
      paths: [
        { path: root, holds: 'volumes' },
        { path: `/var/lib/docker/plugins/${pluginId}`, holds: 'volumes' },
        { path: '/var/lib/docker/volumes/openebs-etcd', holds: 'the registry' },
      ],
      volumes: ['openebs-etcd'],
    }),
    plugin: { names: ['openebs', 'openebs:latest'], id: pluginId },
    image: `openebs/vsm:${version}`,
    guarded: () => [...shared, ...guarded],
    volumes: () => volumes.map(({ name }) => name),
    elsewhere: () => undefined,
    isUsed: (volume) => volumes.some(({ name, used }) => used && (volume ?? name) === name),
    users: async (volume) => volumes.find(({ name }) => name === volume)?.users ?? [],
    resolve: async () => undefined,
    imageOf: async (reference) => reference,
    pluginOf: async () => undefined,
    execOf: async () => undefined,
    readLink: async () => undefined,
    volumeOf: async () => undefined,
    stopped: async () => [],
  }
}

/** `policy test`: returns whether the call is allowed. Errors: `invalid`. */
export const testPolicy = async (
  files: { readonly policy: string; readonly call: string },
  options: { readonly json?: boolean },
  output: Output,
): Promise<boolean> => {
  if (files.policy === '-' && files.call === '-')
    throw new Failure('invalid', 'policy and request cannot both come from standard input')
  const policy = effective(defaultPolicy, parsePolicy(await readInput(files.policy)))
  const tried = await tryCall(policy, parseStrict('the request', TriedCall, await readInput(files.call)))
  output.print(options.json ? json(tried) : line(tried))
  return tried.verdict === 'allow'
}

const line = ({ verdict, rule, reason }: Tried): string =>
  `${verdict}${rule === undefined ? '' : ` by rule ${rule}`}${reason === undefined ? '' : `: ${reason}`}`
