import { execFile } from 'node:child_process'
import { join } from 'node:path'
import type { Ran } from './engine-host.ts'
import type { PluginHost } from './plugin-host.ts'

const program = join(import.meta.dirname, '../../cli/registrator.sh')

/** Runs the command line as a user does, on the store of a host. */
export const registrator = (host: PluginHost, ...args: string[]): Promise<Ran> =>
  new Promise((resolve) => {
    const env = { PATH: process.env.PATH, OPENEBS_STORE: host.etcd.uri }
    execFile(program, args, { env }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    )
  })
