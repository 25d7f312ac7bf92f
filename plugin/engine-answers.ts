import { z } from 'zod'

/** What the plugin reads of the Engine's answers: the fields that it uses, and no more. */
export const Info = z.object({
  Name: z.string().min(1),
  DockerRootDir: z.string().min(1),
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

export const Stopped = z.object({
  Name: z.string(),
  HostConfig: z.object({ RestartPolicy: z.object({ Name: z.string() }) }),
  State: z.object({ Error: z.string() }),
})

/** An Engine that made its bridge in this run names no gateway: it is the subnet's first address ("172.17.0.0/16"). */
export const firstAddress = (subnet: string): string =>
  (subnet.split('/')[0] ?? '').replace(/\d+$/, (last) => String(Number(last) + 1))
