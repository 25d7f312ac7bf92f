/** A line of the table. */
export interface Row {
  readonly row: string
  readonly measured: string
  readonly must: string
  readonly holds: boolean
  /** The same of the peer, where one runs. */
  readonly peer?: string
}

/** Markdown, so that it can be put into a document as it is. */
export const showRows = (rows: readonly Row[]): string => {
  const peer = rows.some((row) => row.peer !== undefined)
  const lines = [
    ['', 'measured', 'must', '', ...(peer ? ['peer'] : [])],
    ...rows.map((row) => [
      row.row,
      row.measured,
      row.must,
      row.holds ? 'ok' : '✗',
      ...(peer ? [row.peer ?? ''] : []),
    ]),
  ]
  const widths = lines[0]?.map((_, column) => Math.max(3, ...lines.map((line) => line[column]?.length ?? 0)))
  const show = (line: readonly string[]) =>
    `| ${line.map((cell, column) => cell.padEnd(widths?.[column] ?? 0)).join(' | ')} |`
  const [head = [], ...body] = lines
  const rule = `|${widths?.map((width) => '-'.repeat(width + 2)).join('|')}|`
  return [show(head), rule, ...body.map(show)].join('\n')
}
