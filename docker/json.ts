import { z } from 'zod'

/** What Go's programs write for an empty value is null, an empty one, or nothing at all: all read as empty. */

export const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '')

export const list = <T extends z.ZodType>(of: T) =>
  z
    .array(of)
    .nullish()
    .transform((value) => value ?? [])

export const map = <T extends z.ZodType>(of: T) =>
  z
    .record(z.string(), of)
    .nullish()
    .transform((value): Record<string, z.output<T>> => value ?? {})
