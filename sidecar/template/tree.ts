/** A template as parsed: plain data. `at` is an offset in its text, for messages. */
export type Node =
  | { readonly kind: 'text'; readonly at: number; readonly text: string }
  | { readonly kind: 'action'; readonly at: number; readonly pipe: Pipe }
  | {
      readonly kind: 'if' | 'with' | 'range'
      readonly at: number
      readonly pipe: Pipe
      readonly body: readonly Node[]
      readonly otherwise: readonly Node[]
    }
  | { readonly kind: 'break' | 'continue'; readonly at: number }

/** Commands, each of which gets what the one before it gives as its last argument. */
export interface Pipe {
  readonly at: number
  /** What it sets: none or one; of a range up to two. */
  readonly variables: readonly string[]
  /** By = and not by := */
  readonly assigns: boolean
  readonly commands: readonly Command[]
}

/** One operand, or a function and its arguments. */
export type Command =
  | { readonly kind: 'call'; readonly at: number; readonly name: string; readonly args: readonly Operand[] }
  | { readonly kind: 'operand'; readonly at: number; readonly operand: Operand }

/** `fields` are asked for one after the other. */
export type Operand = { readonly at: number; readonly fields: readonly string[] } & (
  | { readonly kind: 'dot' | 'nil' }
  | { readonly kind: 'literal'; readonly value: string | boolean | bigint | number }
  | { readonly kind: 'variable'; readonly name: string }
  | { readonly kind: 'pipe'; readonly pipe: Pipe }
)
