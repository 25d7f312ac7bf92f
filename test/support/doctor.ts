import { execFile } from 'node:child_process'
import { join } from 'node:path'

const program = join(import.meta.dirname, '../../cli/registrator.sh')

/** A line of `registrator doctor --json`. */
export interface Line {
  check: string
  subject: string
  state: string
  text: string
  todo?: string
}

export interface Examined {
  code: number
  /** Of plugins, but for loop devices: those are the whole machine's, and so also of other tests. */
  found: Line[]
  loops: Line[]
  stderr: string
}

const ofPlugins = ['container', 'volume', 'mount', 'folder', 'folders', 'registry', 'guard', 'plugin']

/** Runs `registrator doctor` as a user does. */
export const runDoctor = (store: string, ...args: string[]): Promise<Examined> =>
  new Promise((resolve, reject) => {
    const env = { PATH: process.env.PATH, OPENEBS_STORE: store }
    execFile(program, ['doctor', '--json', ...args], { env }, (error, stdout, stderr) => {
      try {
        const { findings } = JSON.parse(stdout) as { findings: Line[] }
        const found = findings.filter(({ check, state }) => ofPlugins.includes(check) && state !== 'ok')
        const loops = findings.filter(({ check }) => check === 'loop device')
        resolve({ code: error ? Number(error.code) : 0, found, loops, stderr })
      } catch (cause) {
        reject(new Error(`doctor printed no JSON: ${stdout} ${stderr}`, { cause }))
      }
    })
  })

/** "mended container vsm-x on h1: text" of each, sorted. */
export const summed = (lines: readonly Line[]): string[] =>
  lines.map(({ state, check, subject, text }) => `${state} ${check} ${subject}: ${text}`).sort()
