import type { ObjectKind, Verdict } from '../../registry/audit.ts'

/** What a call was about, as far as the call tells: a name or an id, both or neither. */
export type AuditObject = { kind: ObjectKind; name?: string; id?: string }

/** A call on the Engine for the audit trail: registry/audit.ts has the meaning of each field, and the host besides. */
export interface AuditEntry {
  time: string
  user: string
  auth?: string
  peer?: string
  method: string
  /** As `auditUri` has it. */
  uri: string
  action: string
  object: AuditObject
  /** Of a container of ours. */
  subject?: { container: string; containerId: string; role?: string; volume?: string }
  volume?: string
  verdict: Verdict
  rule?: string
  reason?: string
  status: number
  ms?: number
}

/** Most characters of each text; what a client says can be as long as it likes. Together they are less than 3,000. */
const most = {
  user: 128,
  auth: 32,
  peer: 128,
  method: 16,
  uri: 640,
  action: 64,
  name: 256,
  id: 128,
  volume: 128,
  role: 32,
  rule: 64,
  reason: 512,
}

/** The entry with each text cut to its size, and without control characters, which would play tricks with terminals. Pure. */
export const bounded = (entry: AuditEntry): AuditEntry => {
  const { object, subject, ...call } = entry
  return {
    ...call,
    time: entry.time,
    user: cut(entry.user, most.user),
    ...optional('auth', entry.auth, most.auth),
    ...optional('peer', entry.peer, most.peer),
    method: cut(entry.method, most.method),
    uri: cut(entry.uri, most.uri),
    action: cut(entry.action, most.action),
    object: {
      kind: object.kind,
      ...optional('name', object.name, most.name),
      ...optional('id', object.id, most.id),
    },
    ...(subject && {
      subject: {
        container: cut(subject.container, most.name),
        containerId: cut(subject.containerId, most.id),
        ...optional('role', subject.role, most.role),
        ...optional('volume', subject.volume, most.volume),
      },
    }),
    ...optional('volume', entry.volume, most.volume),
    ...optional('rule', entry.rule, most.rule),
    ...optional('reason', entry.reason, most.reason),
  }
}

const optional = <N extends string>(
  name: N,
  text: string | undefined,
  most: number,
): { [K in N]?: string } => (text === undefined ? {} : ({ [name]: cut(text, most) } as { [K in N]: string }))

const cut = (text: string, most: number): string => {
  const short = text.length > most ? `${text.slice(0, most - 1)}…` : text
  return short.replace(/\p{Cc}/gu, '\ufffd').toWellFormed()
}
