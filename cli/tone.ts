import type { Style } from './output.ts'

/** Colours a cell that says how something is. */
export const toned = (text: string, style: Style): string => {
  if (/^(healthy|ready|running(, healthy)?|enabled)$/.test(text)) return style.good(text)
  if (/^(unhealthy|running, unhealthy|dead|deny|removing|absent|exited \((?!0\)))/.test(text))
    return style.bad(text)
  if (/^(starting|paused|restarting|unknown|left|running, starting|GAP$)/.test(text)) return style.odd(text)
  return text
}
