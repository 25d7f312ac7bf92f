import type { RequestListener } from 'node:http'
import { listen } from '../process/listener.ts'

/** Where Docker expects the socket that config.json names. */
const path = '/run/docker/plugins/openebs.sock'

const handler = Promise.withResolvers<RequestListener>()

/** The server of the plugin's calls. It listens as soon as this is loaded; calls wait until there is an `answer`. */
export const listening = listen(
  (request, response) => void handler.promise.then((answer) => answer(request, response)),
  {
    socket: path,
  },
)
// who awaits it says why it failed
listening.catch(() => undefined)

/** Gives it what answers the calls. */
export const answerBy = (answer: RequestListener): void => handler.resolve(answer)
