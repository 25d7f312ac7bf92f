import { z } from 'zod'
import type { Entry, Lease } from './store.ts'

const time = z.iso.datetime({ offset: true })

/** asked by whoever wants something; the rest by the plugin of the host, in the same key. */
export const requestStates = ['asked', 'working', 'done', 'failed'] as const

/** requests/<host>/<id>, leased by who asks: a question that nobody waits for any more goes by itself. */
export const Request = z.looseObject({
  host: z.string(),
  id: z.string(),
  /** What is wanted; each kind has a handler in the plugin. */
  kind: z.string(),
  arguments: z.record(z.string(), z.unknown()),
  asked: time,
  state: z.enum(requestStates),
  /** Who works at it: one run of the plugin. */
  worker: z.string().optional(),
  /** What it is at, in words. */
  progress: z.string().optional(),
  /** Of one that is done. */
  answer: z.unknown().optional(),
  /** Of one that has failed: a kind of Failure, and why. */
  failure: z.looseObject({ kind: z.string(), text: z.string() }).optional(),
})
export type Request = z.infer<typeof Request>

/** For a rewrite that leaves an entry on its lease, which another holds and renews. */
export const leaseOf = ({ lease }: Entry): { lease?: Lease } => {
  if (lease === undefined) return {}
  const notOurs = async () => {
    throw new Error(`lease ${lease} is another's`)
  }
  return { lease: { id: lease, ttl: 0, keepAlive: notOurs, revoke: notOurs } }
}
