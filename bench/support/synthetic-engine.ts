import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { humanDuration } from '../../docker/durations.ts'
import { now } from './clock.ts'
import recorded from './recorded.json' with { type: 'json' }

/** What is counted of what was asked, for those who measure. */
export interface Counts {
  /** ms since 1970 of the first request of any kind; undefined as long as there was none. */
  readonly firstRequest: number | undefined
  readonly lists: number
  readonly inspects: number
  /** Events that a subscriber did not take in time, and that it lost as it would lose them on a real Engine. */
  readonly dropped: number
}

/** When, in ms since 1970, the first and the last of the events were published. */
export interface Published {
  readonly names: readonly string[]
  readonly from: number
  readonly to: number
}

/** An event's time in ms since 1970. */
export interface Happened {
  readonly container: string
  readonly action: 'start' | 'die'
  readonly at: number
}

type State = 'running' | 'created' | 'exited'
/** ms that containers have run already with which a host is filled. */
const age = 3 * 3_600_000

interface Container {
  readonly id: string
  readonly name: string
  readonly index: number
  state: State
  /** ms since 1970 when its state began, if it has run at all. */
  since: number
  started: number
}

/** As the Engine does it: events for a subscriber wait in a queue, and the publisher waits so many ms for room in it. */
const queueLength = 1024
const patience = 100
const ringLength = 256

/** How a host with that many containers may look; a volume for every ten of them. */
const containersPerVolume = 10
const imageCount = 20
const networkCount = 10

/** All objects of a host with that many containers. */
export const objectsWith = (containers: number): number =>
  containers + imageCount + networkCount + Math.ceil(containers / containersPerVolume)

/**
 * The API of an Engine with thousands of containers, and nothing behind it: the answers are those that were recorded
 * of Engine 20.10.24 (recorded.json: a container of a compose project with a volume, a bind and a published port;
 * inspected it is 6 KB), with other names, IDs, ports and addresses in them. Events are published as there: kept in a
 * ring of 256, queued for each subscriber, and dropped for one that does not read.
 */
export class SyntheticEngine {
  #containers = new Map<string, Container>()
  #subscribers = new Set<Subscriber>()
  #ring: Event[] = []
  #nano = BigInt(Date.now()) * 1_000_000n
  #made = 0
  #firstRequest: number | undefined
  #lists = 0
  #inspects = 0
  #dropped = 0
  #server = createServer((request, response) => this.#receive(request, response))

  async listen(socket: string): Promise<void> {
    this.#server.listen(socket)
    await once(this.#server, 'listening')
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }

  /** How many follow the events. */
  get subscribers(): number {
    return this.#subscribers.size
  }

  /** Containers that ran before anybody asked: no events. */
  fill(count: number): void {
    for (let made = 0; made < count; made++) this.#make('running')
  }

  /** `docker run` of that many, one after another without a pause. */
  async run(count: number): Promise<Published> {
    const from = now()
    const names: string[] = []
    for (let made = 0; made < count; made++) {
      const container = this.#make('created')
      names.push(container.name)
      await this.#begin(container)
      if (made % 10 === 9) await turn() // the API serves meanwhile
    }
    return { names, from, to: now() }
  }

  /**
   * `docker run --rm` of one container after another for that many seconds: each begins `every` seconds after the one
   * before, and is killed after half of that.
   */
  async churn(seconds: number, every: number): Promise<Happened[]> {
    const happened: Happened[] = []
    const half = every * 500
    const end = now() + seconds * 1000
    await sleep(Math.random() * half) // not all engines at once
    while (now() < end) {
      const container = this.#make('created')
      happened.push({ container: container.name, action: 'start', at: await this.#begin(container) })
      await sleep(half)
      happened.push({ container: container.name, action: 'die', at: await this.#end(container) })
      this.#containers.delete(container.id)
      await this.#publish(container, 'destroy')
      await sleep(half)
    }
    return happened
  }

  /** Resolves with the time of its start event. */
  async #begin(container: Container): Promise<number> {
    await this.#publish(container, 'create')
    await this.#publish(container, 'connect')
    await this.#publish(container, 'mount')
    container.state = 'running' // it is so before the event says it
    container.since = container.started = Date.now()
    const at = now()
    await this.#publish(container, 'start')
    return at
  }

  /** Resolves with the time of its die event. */
  async #end(container: Container): Promise<number> {
    await this.#publish(container, 'kill')
    container.state = 'exited'
    container.since = Date.now()
    const at = now()
    await this.#publish(container, 'die')
    await this.#publish(container, 'disconnect')
    await this.#publish(container, 'unmount')
    return at
  }

  /** What was counted since the last time. */
  counts(): Counts {
    const counts = {
      firstRequest: this.#firstRequest,
      lists: this.#lists,
      inspects: this.#inspects,
      dropped: this.#dropped,
    }
    this.#firstRequest = undefined
    this.#lists = this.#inspects = this.#dropped = 0
    return counts
  }

  #make(state: State): Container {
    const index = ++this.#made
    const name = `web-${String(index).padStart(6, '0')}`
    // a host that is full when somebody comes to look at it has been so for a while
    const since = Date.now() - (state === 'running' ? age : 0)
    const container = { id: digest(name), name, index, state, since, started: since }
    this.#containers.set(container.id, container)
    return container
  }

  async #publish(container: Container, action: keyof typeof events): Promise<void> {
    const ms = BigInt(Date.now()) * 1_000_000n
    this.#nano = ms > this.#nano ? ms : this.#nano + 1n
    const { type, text } = events[action]
    const line = `${text(container)},"scope":"local","time":${this.#nano / 1_000_000_000n},"timeNano":${this.#nano}}\n`
    const event = { nano: this.#nano, type, action, line }
    this.#ring.push(event)
    if (this.#ring.length > ringLength) this.#ring.shift()
    for (const subscriber of this.#subscribers) if (!(await subscriber.take(event))) this.#dropped++
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    this.#firstRequest ??= now()
    const url = new URL(request.url ?? '', 'http://engine')
    const path = url.pathname.replace(/^\/v1\.\d+/, '')
    if (path === '/events') this.#follow(url, response)
    else this.#answer(path, url.searchParams, response)
  }

  #follow(url: URL, response: ServerResponse): void {
    const subscriber = new Subscriber(response, url.searchParams)
    response.writeHead(200, { 'Content-Type': 'application/json' })
    response.flushHeaders()
    for (const event of this.#ring) subscriber.replay(event)
    if (url.searchParams.has('until')) {
      // now, or before: what is remembered is all of the answer
      response.end()
      return
    }
    this.#subscribers.add(subscriber)
    response.on('close', () => this.#subscribers.delete(subscriber))
  }

  #answer(path: string, query: URLSearchParams, response: ServerResponse): void {
    const body = this.#body(path, query)
    response.writeHead(body === undefined ? 404 : 200, {
      'Api-Version': recorded.version.ApiVersion,
      'Content-Type': path === '/_ping' ? 'text/plain' : 'application/json',
    })
    response.end(body ?? '{"message":"no such thing"}')
  }

  #body(path: string, query: URLSearchParams): string | undefined {
    const [, collection = '', id = ''] = path.split('/')
    if (path === '/_ping') return 'OK'
    if (path === '/version') return JSON.stringify(recorded.version)
    if (path === '/info') return JSON.stringify({ ...recorded.info, SystemTime: new Date().toISOString() })
    if (path === '/containers/json') return this.#list(query)
    if (collection === 'containers') {
      const container = this.#containers.get(id)
      this.#inspects++
      return container && templates[container.state].inspected(container)
    }
    if (path === '/images/json') return JSON.stringify(images)
    if (path === '/networks') return JSON.stringify(networks)
    if (path === '/plugins') return '[]'
    if (path === '/volumes') return JSON.stringify({ Volumes: this.#volumes(), Warnings: null })
    if (collection === 'volumes') return JSON.stringify(this.#volumes().find(({ Name }) => Name === id))
    return undefined
  }

  #list(query: URLSearchParams): string {
    this.#lists++
    if (query.has('filters')) throw new Error(`the list of containers takes no filters yet: ${query}`)
    const all = ['1', 'true'].includes(query.get('all') ?? '')
    const shown = [...this.#containers.values()].filter(({ state }) => all || state === 'running')
    return `[${shown.map((container) => templates[container.state].listed(container)).join()}]`
  }

  #volumes() {
    const count = Math.ceil(this.#made / containersPerVolume)
    return Array.from({ length: count }, (_, index) => ({
      ...recorded.volume,
      Name: volumeName(index * containersPerVolume),
    }))
  }
}

interface Event {
  readonly nano: bigint
  readonly type: string
  readonly action: string
  readonly line: string
}

class Subscriber {
  #response: ServerResponse
  #since: bigint
  #filters: { event?: string[]; type?: string[] }
  #queue: string[] = []

  constructor(response: ServerResponse, query: URLSearchParams) {
    this.#response = response
    const [seconds = '0', fraction = ''] = (query.get('since') ?? String(Date.now())).split('.')
    this.#since = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0').slice(0, 9))
    this.#filters = parseFilters(query.get('filters'))
    response.on('drain', () => this.#flush())
  }

  replay(event: Event): void {
    if (event.nano >= this.#since && this.#wants(event)) this.#response.write(event.line)
  }

  /** False when the event is lost to it. */
  async take(event: Event): Promise<boolean> {
    if (!this.#wants(event)) return true
    if (!this.#response.writableNeedDrain && this.#queue.length === 0) {
      this.#response.write(event.line)
      return true
    }
    for (let waited = 0; this.#queue.length >= queueLength; waited++) {
      if (waited === patience || this.#response.destroyed) return false
      await sleep(1)
    }
    this.#queue.push(event.line)
    return true
  }

  #flush(): void {
    let taken = 0
    while (taken < this.#queue.length && !this.#response.writableNeedDrain)
      this.#response.write(this.#queue[taken++])
    this.#queue.splice(0, taken)
  }

  #wants({ type, action }: Event): boolean {
    const { event, type: types } = this.#filters
    return (!types || types.includes(type)) && (!event || event.some((one) => action.startsWith(one)))
  }
}

/** Both of the API's forms: {"event":["start"]} and {"event":{"start":true}}. */
const parseFilters = (text: string | null): { event?: string[]; type?: string[] } => {
  const filters = JSON.parse(text ?? '{}') as Record<string, string[] | Record<string, boolean>>
  const unknown = Object.keys(filters).filter((name) => name !== 'event' && name !== 'type')
  if (unknown.length > 0) throw new Error(`events take no filter ${unknown.join()} yet`)
  return Object.fromEntries(
    Object.entries(filters).map(([name, of]) => [name, Array.isArray(of) ? of : Object.keys(of)]),
  )
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')
const volumeName = (index: number): string =>
  `shop_data-${String(Math.floor(index / containersPerVolume)).padStart(4, '0')}`

/** What differs between containers, and where it stands in what was recorded. */
const parts: Record<string, (container: Container) => string> = {
  short: ({ id }) => id.slice(0, 12),
  id: ({ id }) => id,
  name: ({ name }) => name,
  port: ({ index }) => String(20_000 + (index % 40_000)),
  address: ({ index }) => `172.18.${(index >> 8) & 255}.${index & 255}`,
  mac: ({ index }) => `02:42:ac:12:${hex((index >> 8) & 255)}:${hex(index & 255)}`,
  volume: ({ index }) => volumeName(index - 1),
  hash: ({ id }) => digest(id),
  started: ({ started }) => new Date(started).toISOString(),
  ended: ({ since }) => new Date(since).toISOString(),
  // the list says it in words, which the sidecar compares with the times
  lasts: ({ since }) => humanDuration((Date.now() - since) / 1000),
}
const hex = (byte: number): string => byte.toString(16).padStart(2, '0')

/** A recorded answer as a function: cut once where it differs, joined at every call. */
const template = (answer: object, found: { Id: string; name: string }) => {
  const marks: Record<keyof typeof parts, string> = {
    id: found.Id,
    short: found.Id.slice(0, 12),
    name: found.name,
    port: '32768',
    address: '172.18.0.2',
    mac: '02:42:ac:12:00:02',
    volume: 'shop_data-001',
    hash: '2c0d8d1f6b7a1c2f3d4e5f60718293a4b5c6d7e8f90112233445566778899aab',
    started: recorded.running.inspected.State.StartedAt,
    ended: recorded.exited.inspected.State.FinishedAt,
    lasts: 'Less than a second',
  }
  const names = Object.keys(marks)
  const cut = new RegExp(`(${names.map((name) => RegExp.escape(marks[name] ?? '')).join('|')})`)
  const pieces = JSON.stringify(answer)
    .split(cut)
    .map((piece) => parts[names.find((name) => marks[name] === piece) ?? ''] ?? piece)
  return (container: Container): string =>
    pieces.map((piece) => (typeof piece === 'string' ? piece : piece(container))).join('')
}

const templatesOf = ({ inspected, listed }: { inspected: { Id: string; Name: string }; listed: object }) => {
  const found = { Id: inspected.Id, name: inspected.Name.slice(1) }
  return { inspected: template(inspected, found), listed: template(listed, found) }
}
const templates = {
  running: templatesOf(recorded.running),
  created: templatesOf(recorded.created),
  exited: templatesOf(recorded.exited),
}

/** A container's event carries all its labels, as there. */
const ofContainer = (action: string, more: Record<string, string> = {}) => {
  const { inspected } = recorded.running
  const Attributes = {
    ...inspected.Config.Labels,
    ...more,
    image: inspected.Config.Image,
    name: inspected.Name.slice(1),
  }
  return eventOf('container', action, inspected.Id, Attributes, {
    status: action,
    id: inspected.Id,
    from: inspected.Config.Image,
  })
}
const eventOf = (Type: string, Action: string, ID: string, Attributes: object, older: object = {}) => {
  const { inspected } = recorded.running
  const found = { Id: inspected.Id, name: inspected.Name.slice(1) }
  const whole = template({ ...older, Type, Action, Actor: { ID, Attributes } }, found)
  // open at its end: scope and time follow
  return { type: Type, text: (container: Container): string => whole(container).slice(0, -1) }
}
const ofNetwork = (action: string) =>
  eventOf('network', action, recorded.network.Id, {
    container: recorded.running.inspected.Id,
    name: recorded.network.Name,
    type: 'bridge',
  })
const ofVolume = (action: string, more: object) =>
  eventOf('volume', action, recorded.volume.Name, {
    container: recorded.running.inspected.Id,
    driver: 'local',
    ...more,
  })

const events = {
  create: ofContainer('create'),
  start: ofContainer('start'),
  kill: ofContainer('kill', { signal: '9' }),
  die: ofContainer('die', { exitCode: '137' }),
  destroy: ofContainer('destroy'),
  connect: ofNetwork('connect'),
  disconnect: ofNetwork('disconnect'),
  mount: ofVolume('mount', { destination: '/var/lib/app', propagation: '', 'read/write': 'true' }),
  unmount: ofVolume('unmount', {}),
}

const images = Array.from({ length: imageCount }, (_, index) => ({
  ...recorded.image,
  Id: index === 0 ? recorded.image.Id : `sha256:${digest(`image ${index}`)}`,
  RepoTags: index === 0 ? recorded.image.RepoTags : [`registry.example.com:5000/shop/part-${index}:1.0`],
}))
const networks = Array.from({ length: networkCount }, (_, index) => ({
  ...recorded.network,
  Id: index === 0 ? recorded.network.Id : digest(`network ${index}`),
  Name: index === 0 ? recorded.network.Name : `project${index}_default`,
}))
