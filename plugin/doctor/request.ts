import { z } from 'zod'
import { Failure } from '../../process/failure.ts'
import { doctorModes } from '../../registry/finding.ts'
import type { Handler } from '../requests.ts'
import type { Doctor } from './doctor.ts'

const Given = z.looseObject({ mode: z.enum(doctorModes), grace: z.number().nonnegative() })

/** A request of kind "doctor": `mode`, and `grace` in ms. Its answer has `findings`. */
export const doctorHandler =
  (doctor: Doctor): Handler =>
  async (given, progress) => {
    const parsed = Given.safeParse(given)
    if (!parsed.success)
      throw new Failure('invalid', `not a request to a doctor: ${z.prettifyError(parsed.error)}`)
    const { mode, grace } = parsed.data
    return { findings: await doctor.run(mode, { grace, progress }) }
  }
