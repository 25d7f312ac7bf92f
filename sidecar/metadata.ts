/**
 * What a container says about its services, by registrator's rules: SERVICE_<key> and SERVICE_<port>_<key>, from the
 * environment and from labels, which win. Keys are compared in lower case; a port's own value beats the general one.
 */
export interface ServiceMetadata {
  /** Undefined or "": not given. */
  readonly name: string | undefined
  /** The name was given for this very port. */
  readonly nameIsOfPort: boolean
  /** SERVICE_IGNORE has any value that is not empty: "false" ignores too. */
  readonly ignore: boolean
  readonly tags: readonly string[]
  /** All other keys, without SERVICE_ and in lower case. */
  readonly attributes: Readonly<Record<string, string>>
}

/** Metadata of the service on `port`, of NAME=value lines (environment) and labels. Pure. */
export const serviceMetadata = (
  environment: readonly string[],
  labels: Readonly<Record<string, string>>,
  port: number,
): ServiceMetadata => {
  const general = new Map<string, string>()
  const ofPort = new Map<string, string>()
  for (const [name, value] of [...environment.map(splitVariable), ...Object.entries(labels)]) {
    // the prefix is in capitals, as registrator wants it; what follows is in any case
    if (!name.startsWith('SERVICE_')) continue
    const key = name.slice('SERVICE_'.length).toLowerCase()
    const match = /^(?<port>\d+)_(?<key>.+)$/s.exec(key)
    if (!match?.groups) general.set(key, value)
    else if (Number(match.groups.port) === port) ofPort.set(match.groups.key ?? '', value)
  }
  const { name, ignore, tags, ...attributes } = Object.fromEntries([...general, ...ofPort])
  return {
    name,
    nameIsOfPort: Boolean(ofPort.get('name')),
    ignore: Boolean(ignore),
    tags: splitTags(tags ?? ''),
    attributes,
  }
}

const splitVariable = (line: string): [string, string] => {
  const at = line.indexOf('=')
  return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)]
}

/** "a,b\,c" -> a and "b,c". */
export const splitTags = (text: string): string[] =>
  text
    .split(/(?<!\\),/)
    .map((tag) => tag.replaceAll('\\,', ','))
    .filter((tag) => tag !== '')

/** "registry.example.com:5000/team/app:1.2@sha256:…" -> "app". */
export const imageBaseName = (image: string): string =>
  (image.replace(/@.*$/s, '').split('/').at(-1) ?? '').replace(/:.*$/s, '') || image
