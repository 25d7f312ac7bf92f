import { z } from 'zod'

/** What the plugin reads of the Engine's answers: the fields that it uses, and no more. */
export const Info = z.object({
  Name: z.string().min(1),
  DockerRootDir: z.string().min(1),
  Plugins: z.object({ Authorization: z.array(z.string()).nullish() }).optional(),
  SecurityOptions: z
    .array(z.string())
    .nullish()
    .transform((list) => list ?? []),
})
export type Info = z.infer<typeof Info>

export const Bridge = z.object({
  IPAM: z.object({
    Config: z.array(z.object({ Subnet: z.string(), Gateway: z.string().optional() })).nullish(),
  }),
})

export const Inspected = z.object({
  Id: z.string(),
  Name: z.string(),
  Image: z.string(),
  Config: z.object({ Labels: z.record(z.string(), z.string()).nullish() }),
  State: z.object({
    Running: z.boolean(),
    Status: z.string(),
    ExitCode: z.number(),
    StartedAt: z.string(),
  }),
})
export type Inspected = z.infer<typeof Inspected>

/** Of a list of containers. */
export const Listed = z.object({
  Id: z.string(),
  Names: z.array(z.string()),
  Labels: z
    .record(z.string(), z.string())
    .nullish()
    .transform((of) => of ?? {}),
  State: z.string(),
  /** Seconds since 1970. */
  Created: z.number(),
})
export type Listed = z.infer<typeof Listed>

/**
 * What a container printed on its standard output, as the Engine's log has it: each part behind a header of eight bytes, with
 * the stream (1: output, 2: errors) in the first and the length in the last four.
 */
export const printed = (log: Buffer): string => {
  const parts: Buffer[] = []
  for (let at = 0; at + 8 <= log.length; ) {
    const length = log.readUInt32BE(at + 4)
    if (log[at] === 1) parts.push(log.subarray(at + 8, at + 8 + length))
    at += 8 + length
  }
  return Buffer.concat(parts).toString('utf8')
}

/**
 * What the status of a program in one of our containers says: 75 asks to be repeated (vsm/lib.sh), and of one that a signal
 * ended, or whose container ended, nobody knows how far it came. Undefined for success.
 */
export const failureOf = (status: number | null): 'invalid' | 'unavailable' | undefined => {
  if (status === 0) return undefined
  return status === null || status === 75 || status > 128 ? 'unavailable' : 'invalid'
}

export const Stopped = z.object({
  Name: z.string(),
  HostConfig: z.object({ RestartPolicy: z.object({ Name: z.string() }) }),
  State: z.object({ Error: z.string() }),
})

/** An Engine that made its bridge in this run names no gateway: it is the subnet's first address ("172.17.0.0/16"). */
export const firstAddress = (subnet: string): string =>
  (subnet.split('/')[0] ?? '').replace(/\d+$/, (last) => String(Number(last) + 1))
