import { z } from 'zod'

const time = z.iso.datetime({ offset: true })

/** `would-deny`: what a dry run lets pass. */
export const verdicts = ['allow', 'deny', 'would-deny'] as const
export type Verdict = (typeof verdicts)[number]

export const objectKinds = ['container', 'volume', 'network', 'image', 'plugin', 'service', 'other'] as const
export type ObjectKind = (typeof objectKinds)[number]

/** A call on the Engine, as authz saw it. What is optional older versions did not write, or the call had none of it. */
const Call = z.looseObject({
  kind: z.undefined().optional(),
  time,
  host: z.string(),
  /** Empty on the unix socket, the certificate's common name with TLS. */
  user: z.string(),
  /** How the Engine knows the user, in its words: "TLS". */
  auth: z.string().optional(),
  /** Common name of the first certificate that the client showed. */
  peer: z.string().optional(),
  method: z.string(),
  /** The path, and of the query what is harmless. */
  uri: z.string(),
  /** The Engine's HTTP status; 0 of a call that it was kept from. */
  status: z.number().int(),
  /** ms from the request to the Engine's answer. */
  ms: z.number().nonnegative().optional(),
  verdict: z.enum(verdicts),
  /** The rule that decided: "target-in-use", "operator" … */
  rule: z.string().optional(),
  /** What the user was told of a denial, or gave as the reason to pass (break-glass). */
  reason: z.string().optional(),
  /** create, start, kill, remove … */
  action: z.string(),
  /** What the call was about. */
  object: z
    .looseObject({ kind: z.enum(objectKinds), name: z.string().optional(), id: z.string().optional() })
    .optional(),
  /** The container of ours that it was about. */
  subject: z
    .looseObject({
      container: z.string(),
      containerId: z.string(),
      role: z.string().optional(),
      volume: z.string().optional(),
    })
    .optional(),
  volume: z.string().optional(),
})

/** Calls that were seen and could not be kept: `count` of them, from the first to the last. */
const Gap = z.looseObject({
  kind: z.literal('gap'),
  host: z.string(),
  /** When it began, as in the key. */
  time,
  to: time,
  count: z.number().int().positive(),
  reason: z.string(),
})

/** audit/<host>/<time>-<seq>, TTL, written by the plugin: what the Engine was asked to do, and whether it was let. */
export const Audit = z.discriminatedUnion('kind', [Call, Gap])
export type Audit = z.infer<typeof Audit>
export type AuditedCall = Exclude<Audit, { kind: 'gap' }>
export type AuditGap = Extract<Audit, { kind: 'gap' }>
