import { type Logger, pino } from 'pino'

export type Log = Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** Structured JSON lines on stdout; quiet by default: one line per change of state that matters. */
export const createLog = (name: string, level: LogLevel): Log =>
  pino({ name, level, base: { name }, timestamp: pino.stdTimeFunctions.isoTime, errorKey: 'error' })
