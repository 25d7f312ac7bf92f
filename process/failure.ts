/** What the caller does next decides the kind: retry, give up, pick another name, wait, ask an operator. */
export const failureKinds = ['not-found', 'conflict', 'unavailable', 'invalid', 'in-use', 'denied'] as const
export type FailureKind = (typeof failureKinds)[number]

/**
 * The one error class of this project. `doing` says what was being done or what is wrong, in a sentence for a
 * person; the cause says why. Anything else that is thrown is a bug.
 */
export class Failure extends Error {
  readonly kind: FailureKind

  constructor(kind: FailureKind, doing: string, cause?: unknown) {
    super(doing, cause === undefined ? undefined : { cause })
    this.name = 'Failure'
    this.kind = kind
  }
}

export const isFailure = (error: unknown, kind?: FailureKind): error is Failure =>
  error instanceof Failure && (kind === undefined || error.kind === kind)

/** The whole chain of causes in one line: "create volume demo: read volumes/demo: etcd does not answer". */
export const explain = (error: unknown): string => {
  const parts: string[] = []
  for (let e: unknown = error; e !== undefined && e !== null; e = e instanceof Error ? e.cause : undefined) {
    const text = e instanceof Error ? e.message || e.name : String(e)
    if (!parts.some((part) => part.includes(text))) parts.push(text)
  }
  return parts.join(': ')
}
