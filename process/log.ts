import { type Logger, pino } from 'pino'
import { explain, isFailure } from './failure.ts'

export type Log = Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** Structured JSON lines on stdout; quiet by default: one line per change of state that matters. */
export const createLog = (name: string, level: LogLevel): Log =>
  pino({
    // a Failure is expected and says all in a line; anything else is a bug, whose stack is needed
    serializers: {
      error: (error: unknown) =>
        isFailure(error) ? explain(error) : pino.stdSerializers.err(error as Error),
    },
    name,
    level,
    base: { name },
    timestamp: pino.stdTimeFunctions.isoTime,
    errorKey: 'error',
  })
