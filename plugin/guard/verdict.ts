import type { GuardMode } from '../../registry/policy.ts'

/** A decision, and the rule that made it; `reason` is what the user reads, or has said to pass. */
export type Verdict =
  | { readonly allow: true; readonly rule?: string; readonly reason?: string }
  | {
      readonly allow: false
      readonly rule: string
      readonly reason: string
      /** What it would have hit. */
      readonly container?: string
      readonly volume?: string
    }

export const allowed: Verdict = { allow: true }

export const denied = (
  rule: string,
  reason: string,
  about: { container?: string; volume?: string } = {},
): Verdict => ({ allow: false, rule, reason, ...about })

/** What becomes of a verdict: `would-deny` passes, and is recorded so. An empty request is nobody's call, whatever the mode: what is said of it cannot do harm. */
export const outcome = (verdict: Verdict, mode: GuardMode): 'allow' | 'deny' | 'would-deny' => {
  if (verdict.allow) return 'allow'
  return mode === 'enforce' || verdict.rule === 'empty' ? 'deny' : 'would-deny'
}
