import { styleText } from 'node:util'
import Table from 'cli-table3'

/** How text is shown; the identity where the output is no terminal. */
export interface Style {
  heading(text: string): string
  title(text: string): string
  good(text: string): string
  bad(text: string): string
  odd(text: string): string
}

/** styleText looks at the stream itself: no colours into a file or a pipe, nor with NO_COLOR. */
export const style: Style = {
  heading: (text) => styleText('bold', text),
  title: (text) => styleText('dim', text),
  good: (text) => styleText('green', text),
  bad: (text) => styleText('red', text),
  odd: (text) => styleText('yellow', text),
}

export const plain: Style = {
  heading: (text) => text,
  title: (text) => text,
  good: (text) => text,
  bad: (text) => text,
  odd: (text) => text,
}

/** What commands write with. */
export interface Output {
  readonly style: Style
  /** A line, or several. */
  print(text: string): void
  /** A line about the command itself, not its result. */
  say(text: string): void
}

export const output: Output = {
  style,
  print: (text) => void process.stdout.write(`${text}\n`),
  say: (text) => void process.stderr.write(`registrator: ${text}\n`),
}

/** A reader that has enough (`| head`) ends the command without a word. */
export const endWithReader = (): void => {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit(0)
  })
}

export const json = (value: unknown): string => JSON.stringify(value, null, 2)

const none = Object.fromEntries(
  [
    ...['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'],
    ...['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle'],
  ].map((place) => [place, '']),
)

/** Rows under a head, in columns as wide as they need to be, two blanks between them. */
export const table = (
  head: readonly string[],
  rows: readonly (readonly string[])[],
  style: Style,
): string[] => aligned([head.map((title) => style.heading(title)), ...rows])

/** Rows of cells -> lines. Colours and wide letters do not count, so columns stay straight. */
export const aligned = (rows: readonly (readonly string[])[]): string[] => {
  if (rows.length === 0) return []
  const grid = new Table({
    chars: none,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
  })
  grid.push(...rows.map((row) => [...row]))
  return grid
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
}
