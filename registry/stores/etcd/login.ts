import { InterceptingCall, type Interceptor, Metadata, status } from '@grpc/grpc-js'

/**
 * Puts etcd's token into every call: `authenticate` exchanges user and password for one, once, and again when etcd
 * no longer knows it (it forgets them after five minutes, and at every restart). etcd3's own exchange has no options
 * for its connection, keeps that open for good, and asks the first host only.
 */
export const login = (authenticate: () => Promise<string>): Interceptor => {
  let token: Promise<string> | undefined
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, listener, next) => {
        token ??= authenticate()
        const mine = token
        const forget = () => {
          if (token === mine) token = undefined
        }
        const goOn = (text: string) => {
          const marked = metadata.clone()
          marked.set('token', text)
          next(marked, {
            onReceiveStatus: (ended, pass) => {
              if (!/invalid auth token/.test(ended.details)) return pass(ended)
              forget()
              // Told the truth, etcd3 would call again at once, for ever.
              pass({ ...ended, code: status.UNAVAILABLE, details: 'etcd no longer knows the login' })
            },
          })
        }
        const refuse = (error: unknown) => {
          forget()
          listener.onReceiveStatus({ ...statusOf(error), metadata: new Metadata() })
        }
        mine.then(goOn, refuse)
      },
    })
}

/** gRPC puts its code before the message, "14 UNAVAILABLE: …", and etcd3 keeps only that. */
const statusOf = (error: unknown): { code: status; details: string } => {
  const text = error instanceof Error ? error.message : String(error)
  const match = /^(?<code>\d+) [A-Z_]+: (?<details>.*)$/s.exec(text)?.groups
  return match
    ? { code: Number(match.code), details: match.details ?? '' }
    : { code: status.UNAUTHENTICATED, details: text }
}
