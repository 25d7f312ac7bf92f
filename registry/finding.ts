import { z } from 'zod'

/** What a doctor found on a host, as its plugin answers and the command line shows it. */
export const HostFinding = z.looseObject({
  /** The same for the same state of the same thing. */
  id: z.string(),
  /** What was looked at: container, volume, mount, loop device, folder, registry, guard. */
  check: z.string(),
  subject: z.string(),
  /** `note`: worth knowing, and nothing is done about it. */
  state: z.enum(['wrong', 'note']),
  /** How it stands. */
  text: z.string(),
  /** What `fix` or `adopt` does, or a person can do, in words. */
  action: z.string().optional(),
  /** Who does it; absent where nothing is to be done. */
  by: z.enum(['fix', 'adopt', 'person']).optional(),
  /** After a fix: done, or why not. */
  outcome: z.looseObject({ done: z.boolean(), reason: z.string().optional() }).optional(),
})
export type HostFinding = z.infer<typeof HostFinding>

/** What a doctor may do: only look; mend what is safe to mend; write this host's volumes into a registry that lacks them. */
export const doctorModes = ['look', 'fix', 'adopt'] as const
export type DoctorMode = (typeof doctorModes)[number]

/** The answer to a request of kind "doctor". */
export const DoctorAnswer = z.looseObject({ findings: z.array(HostFinding) })
