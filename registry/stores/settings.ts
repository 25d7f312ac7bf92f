import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { Failure, isFailure } from '../../process/failure.ts'
import { type EtcdSettings, parseStoreUri } from './etcd/settings.ts'

/** OPENEBS_STORE in each program's settings. */
export const storeUri = z
  .string()
  .refine(
    isStoreUri,
    'expected etcd://host[:port][,host[:port]...][/prefix], or etcds:// for TLS; a user and a password have settings of their own',
  )
  .default('etcd://127.0.0.1:2379')
  .describe('The store of the registry: etcd://host:port[,host:port...][/prefix], etcds:// with TLS.')

function isStoreUri(text: string): boolean {
  try {
    parseStoreUri(text)
    return true
  } catch (error) {
    if (!isFailure(error, 'invalid')) throw error
    return false
  }
}

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

/** The settings of a program as those of its store. Reads the files. Errors: `invalid`, naming the settings. */
export const etcdSettings = (own: StoreSettings, writer?: string): EtcdSettings => {
  together(own, 'OPENEBS_STORE_CERT', 'OPENEBS_STORE_KEY')
  together(own, 'OPENEBS_STORE_USER', 'OPENEBS_STORE_PASSWORD_FILE')
  forTls(own, 'OPENEBS_STORE_CA', 'OPENEBS_STORE_CERT')
  checkFiles(own)
  return {
    uri: own.OPENEBS_STORE,
    ca: own.OPENEBS_STORE_CA,
    cert: own.OPENEBS_STORE_CERT,
    key: own.OPENEBS_STORE_KEY,
    user: own.OPENEBS_STORE_USER,
    password: readPassword(own),
    ...(writer !== undefined && { writer }),
  }
}

const together = (own: StoreSettings, ...names: (keyof typeof storeCredentials)[]): void => {
  const given = names.filter((name) => own[name] !== undefined)
  if (given.length > 0 && given.length < names.length)
    throw new Failure('invalid', `${names.join(' and ')} go together: only ${given.join(', ')} is given`)
}

const forTls = (own: StoreSettings, ...names: (keyof typeof storeCredentials)[]): void => {
  const given = names.filter((name) => own[name] !== undefined)
  if (given.length > 0 && !own.OPENEBS_STORE.startsWith('etcds://'))
    throw new Failure(
      'invalid',
      `${given.join(', ')}: only with TLS, so OPENEBS_STORE must begin with etcds://`,
    )
}

const checkFiles = (own: StoreSettings): void => {
  parsed(own, 'OPENEBS_STORE_CA', 'a certificate', (pem) => new X509Certificate(pem))
  const cert = parsed(own, 'OPENEBS_STORE_CERT', 'a certificate', (pem) => new X509Certificate(pem))
  const key = parsed(own, 'OPENEBS_STORE_KEY', 'a private key without a passphrase', createPrivateKey)
  if (cert && key && !cert.checkPrivateKey(key))
    throw new Failure(
      'invalid',
      `OPENEBS_STORE_KEY: ${own.OPENEBS_STORE_KEY} is not the key of OPENEBS_STORE_CERT, ${own.OPENEBS_STORE_CERT}`,
    )
}

/** What the file of a setting holds, in PEM; undefined where the setting is not given. */
const parsed = <T>(
  own: StoreSettings,
  name: keyof typeof storeCredentials,
  what: string,
  parse: (pem: string) => T,
): T | undefined => {
  const pem = contents(own, name)
  if (pem === undefined) return undefined
  try {
    return parse(pem)
  } catch (error) {
    throw new Failure('invalid', `${name}: expected ${what} (PEM) in ${own[name]}`, error)
  }
}

const readPassword = (own: StoreSettings): string | undefined => {
  const name = 'OPENEBS_STORE_PASSWORD_FILE'
  const password = contents(own, name)?.replace(/\r?\n$/, '')
  if (password !== undefined && !/^[^\r\n]+$/.test(password))
    throw new Failure('invalid', `${name}: expected the password in one line in ${own[name]}`)
  return password
}

const contents = (own: StoreSettings, name: keyof typeof storeCredentials): string | undefined => {
  const file = own[name]
  try {
    return file === undefined ? undefined : readFileSync(file, 'utf8')
  } catch (error) {
    throw new Failure('invalid', `${name}: cannot read ${file}`, error)
  }
}
