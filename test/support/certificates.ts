import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Teardown } from './etcd.ts'

const run = promisify(execFile)

/** Files of a party, PEM, in a folder of its own under the names that Docker's client wants. */
export interface Party {
  readonly folder: string
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/** A certificate authority for a test. Its files end with the test. */
export class Authority {
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
  }

  static async make(t: Teardown): Promise<Authority> {
    const folder = await mkdtemp(join(tmpdir(), 'ca-'))
    t.teardown(() => rm(folder, { recursive: true, force: true }))
    const subject = ['-subj', '/CN=ca', '-days', '2']
    await run('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', ...subject],
      ...['-keyout', join(folder, 'ca-key.pem'), '-out', join(folder, 'ca.pem')],
    ])
    return new Authority(folder)
  }

  /** Certificate and key of `name`, for servers and clients; `addresses` are the IPs that it answers at. */
  async issue(name: string, addresses: readonly string[] = []): Promise<Party> {
    const folder = join(this.#folder, name)
    const [ca, cert, key] = ['ca.pem', 'cert.pem', 'key.pem'].map((file) => join(folder, file)) as [
      string,
      string,
      string,
    ]
    await mkdir(folder)
    const names = ['DNS:localhost', ...addresses.map((address) => `IP:${address}`)].join()
    const extensions = `subjectAltName=${names}\nextendedKeyUsage=serverAuth,clientAuth\n`
    await writeFile(join(folder, 'extensions'), extensions)
    const request = join(folder, 'request')
    await run('openssl', [
      ...[
        'req',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-subj',
        `/CN=${name}`,
      ],
      ...['-keyout', key, '-out', request],
    ])
    const own = join(this.#folder, 'ca.pem')
    await run('openssl', [
      ...['x509', '-req', '-in', request, '-CA', own, '-CAkey', join(this.#folder, 'ca-key.pem')],
      ...['-CAcreateserial', '-days', '2', '-extfile', join(folder, 'extensions'), '-out', cert],
    ])
    await run('cp', [own, ca])
    return { folder, ca, cert, key }
  }
}
