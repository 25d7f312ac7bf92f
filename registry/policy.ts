import { posix } from 'node:path'
import { z } from 'zod'
import { parseStrict } from '../process/strict-json.ts'

/** What a denial does: it is one, or only recorded. */
export const guardModes = ['enforce', 'dry-run'] as const
export type GuardMode = (typeof guardModes)[number]

/** How far the guard of containers that are made reaches: plugin/guard/reach.ts. */
export const reaches = ['storage', 'ancestors', 'devices'] as const
export type Reach = (typeof reaches)[number]

const hostPath = z
  .string()
  .startsWith('/', 'expected an absolute path')
  .refine(
    (path) => path === '/' || (posix.normalize(path) === path && !path.endsWith('/') && !path.includes('\0')),
    'write it plainly: no "." or "..", no slash twice or at the end',
  )

/** Lets a bind of this path of the host, or of what is below it, pass although it reaches storage. */
const Exception = z.strictObject({
  path: hostPath,
  /** What it may be bound for; `any` by default. */
  access: z.enum(['read-only', 'any']).default('any'),
  /** For who reads the policy. */
  reason: z.string().regex(/\S/, 'say why'),
})
export type Exception = z.infer<typeof Exception>

/**
 * policy, durable: what the guards of all hosts go by. What it does not say each plugin's settings say. Strict, unlike
 * records: a word that a guard does not know might be the one that was to restrict it.
 */
export const Policy = z.strictObject({
  mode: z.enum(guardModes).optional(),
  reach: z.enum(reaches).optional(),
  /** Common names of client certificates whose owners may do anything. */
  operators: z.array(z.string().regex(/^\S(.*\S)?$/, 'expected a name, without blanks around it')).optional(),
  exceptions: z.array(Exception).optional(),
})
export type Policy = z.infer<typeof Policy>

/** What a guard goes by: its settings, and the policy over them. */
export interface EffectivePolicy {
  readonly mode: GuardMode
  readonly reach: Reach
  readonly operators: readonly string[]
  readonly exceptions: readonly Exception[]
}

/** Of a plugin that was given no settings. */
export const defaultPolicy: EffectivePolicy = {
  mode: 'dry-run',
  reach: 'ancestors',
  operators: [],
  exceptions: [],
}

export const effective = (settings: EffectivePolicy, policy: Policy = {}): EffectivePolicy => ({
  mode: policy.mode ?? settings.mode,
  reach: policy.reach ?? settings.reach,
  operators: policy.operators ?? settings.operators,
  exceptions: policy.exceptions ?? settings.exceptions,
})

/** Reads a policy's text. Errors: `invalid`, with each thing that is wrong and where it stands. */
export const parsePolicy = (text: string): Policy => parseStrict('the policy', Policy, text)
