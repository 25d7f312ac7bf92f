import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { Failure } from '../../process/failure.ts'
import type { EtcdSettings } from './etcd/settings.ts'

/** How a program proves to the store who it is, and checks whom it talks to. Beside OPENEBS_STORE in each program's settings. */
export const storeCredentials = {
  OPENEBS_STORE_CA: z
    .string()
    .optional()
    .describe(
      'File (PEM) of the CA that signed the certificates of the store. Default: those that the system trusts.',
    ),
  OPENEBS_STORE_CERT: z.string().optional().describe('File (PEM) of our certificate for the store.'),
  OPENEBS_STORE_KEY: z.string().optional().describe('File (PEM) of the key of that certificate.'),
  OPENEBS_STORE_USER: z.string().optional().describe('User of the store.'),
  OPENEBS_STORE_PASSWORD_FILE: z.string().optional().describe("File with that user's password, in one line."),
} as const

export type StoreSettings = { readonly OPENEBS_STORE: string } & {
  readonly [K in keyof typeof storeCredentials]?: string | undefined
}

/** The settings of a program as those of its store. Reads the password. Errors: `invalid`. */
export const etcdSettings = (own: StoreSettings, writer?: string): EtcdSettings => ({
  uri: own.OPENEBS_STORE,
  ca: own.OPENEBS_STORE_CA,
  cert: own.OPENEBS_STORE_CERT,
  key: own.OPENEBS_STORE_KEY,
  user: own.OPENEBS_STORE_USER,
  password: own.OPENEBS_STORE_PASSWORD_FILE && readPassword(own.OPENEBS_STORE_PASSWORD_FILE),
  ...(writer !== undefined && { writer }),
})

const readPassword = (file: string): string => {
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    throw new Failure('invalid', `OPENEBS_STORE_PASSWORD_FILE: cannot read ${file}`, error)
  }
}
