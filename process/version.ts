import manifest from '../package.json' with { type: 'json' }

/** The project's version; package.json is its only place. */
export const version: string = manifest.version
