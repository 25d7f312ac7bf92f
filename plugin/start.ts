/**
 * What the Engine starts. An Engine disables a plugin that it cannot reach for some ten seconds, at its own start too. Loading
 * all of the plugin takes longer than that on a slow or busy host, so its socket is there before it.
 */
import { listening } from './socket.ts'

await listening.catch(() => undefined) // main.ts reports it
await import('./main.ts')
