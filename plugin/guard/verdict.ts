/** A decision, and the rule that made it; `reason` is what the user reads. */
export type Verdict =
  | { readonly allow: true; readonly rule?: string }
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
