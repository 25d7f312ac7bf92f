import { readFileSync } from 'node:fs'
import { checkServerIdentity } from 'node:tls'
import { Channel, type ChannelCredentials, type ClientOptions, credentials } from '@grpc/grpc-js'
import { noop as plainPolicy } from 'cockatiel'
import { type IOptions, RecoverableError } from 'etcd3'
import { Failure } from '../../../process/failure.ts'

/** PEM files, each optional. */
export interface TlsFiles {
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
}

/** Options of an etcd3 client for one member at `host` (host:port). Reads the TLS files. Errors: `invalid`. */
export const clientOptions = (host: string, tls: boolean, files: TlsFiles): IOptions => ({
  hosts: `${tls ? 'https' : 'http'}://${host}`,
  faultHandling: { host: () => unmark, global: plainPolicy },
  grpcOptions: {
    // A half-open connection shows within 13 s. Pinging more often, or without calls, etcd answers with GOAWAY.
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 3000,
    'grpc.keepalive_permit_without_calls': 0,
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 1000,
    // The default of 4 MB is less than a host's records may take.
    'grpc.max_receive_message_length': -1,
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
    ...(tls && secured(host, files)),
  },
})

/**
 * etcd3 closes a member's channels on every error that carries its mark, which costs the calls of others and lets
 * connections pile up. gRPC reconnects by itself, so the mark comes off.
 */
const unmark = Object.assign(Object.create(plainPolicy) as typeof plainPolicy, {
  execute: async <T>(fn: (context: { signal: AbortSignal }) => PromiseLike<T> | T): Promise<T> => {
    try {
      return await fn({ signal: never })
    } catch (error) {
      if (error instanceof Error) Reflect.deleteProperty(error, RecoverableError)
      throw error
    }
  },
})
const never = new AbortController().signal

/**
 * gRPC gives TLS the host's name to ask for and to check, and Node refuses an IP address for the first: every member
 * that is addressed by IP would be out of reach. So the channel is made here, with a check of our own that goes by
 * the real host, and a name to ask for that is always allowed; etcd has one certificate and does not care.
 */
const secured = (host: string, files: TlsFiles): ClientOptions => {
  const name = host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
  const secure: ChannelCredentials = credentials.createSsl(
    pem('ca', files.ca),
    pem('key', files.key),
    pem('cert', files.cert),
    {
      checkServerIdentity: (_asked, certificate) => checkServerIdentity(name, certificate),
    },
  )
  return {
    'grpc.ssl_target_name_override': 'etcd',
    channelFactoryOverride: (address, _etcd3s, options) => new Channel(address, secure, options),
  }
}

const pem = (setting: string, file: string | undefined): Buffer | null => {
  try {
    return file === undefined ? null : readFileSync(file)
  } catch (error) {
    throw new Failure('invalid', `${setting}: cannot read ${file}`, error)
  }
}
