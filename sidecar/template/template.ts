import { Failure } from '../../process/failure.ts'
import { evaluate } from './evaluate.ts'
import { Budget, defaultLimits, type Limits } from './limits.ts'
import { parse } from './parse.ts'
import type { Node } from './tree.ts'
import { toValue } from './values.ts'

export { containerData } from './container.ts'
export type { Limits } from './limits.ts'

/** A template that was found to be right; docs/templates.md says what can be in one. It holds no state. */
export interface Template {
  readonly text: string
  readonly nodes: readonly Node[]
}

/** Bytes. */
const longest = 16 * 1024

/**
 * Reads a Go template. Throws Failure `invalid`, which says at which column (of which line, where there are several), what
 * is wrong, and what was expected; of a function or an action that it does not know also which there are.
 */
export const parseTemplate = (text: string): Template => {
  if (Buffer.byteLength(text) > longest)
    throw new Failure('invalid', `template: longer than ${longest} bytes`)
  return { text, nodes: parse(text) }
}

/**
 * Renders a template for data: JSON, whose objects are maps, or what containerData made, whose objects know their fields.
 * Pure. Throws Failure `invalid`, which says where in the template, for what Go would fail at too (a field that is not
 * there, an index out of range, a value of a wrong type), and at the limits, of which every one that is not given has
 * its default: 100,000 steps and 64 KiB.
 */
export const renderTemplate = (template: Template, data: unknown, limits: Partial<Limits> = {}): string => {
  const budget = new Budget({ ...defaultLimits, ...limits })
  return evaluate(template.nodes, template.text, toValue(data), budget)
}
