import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Row, showRows } from './rows.ts'

/** table.ts FOLDER: what the programs there wrote with --json, as one table. One that failed has written nothing. */
const [folder = ''] = process.argv.slice(2)
const byNumber = (a: string, b: string): number => Number(a) - Number(b)
const rows = readdirSync(folder)
  .sort(byNumber)
  .map((file) => readFileSync(join(folder, file), 'utf8'))
  .flatMap((text) => (text === '' ? [] : (JSON.parse(text) as Row[])))
process.stdout.write(`${showRows(rows)}\n`)
