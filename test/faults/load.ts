import type { EngineHost } from '../support/engine-host.ts'
import type { Random } from '../support/random.ts'

/** A container that the load may work on. */
interface Subject {
  readonly id: string
  readonly name: string
  readonly state: string
  /** On a bridge, with a published port: it can be connected to another network. */
  readonly bridged: boolean
}

/** A container that was killed: a `die` must be in the journal, or a gap that spans this time. */
export interface Killed {
  readonly id: string
  readonly from: number
  readonly to: number
}

interface Operation {
  readonly name: string
  /** How often it is picked, against the others. */
  readonly weight: number
  /** What it can be done to; undefined: it needs no container. */
  readonly on?: (subject: Subject) => boolean
  run(load: Load, subject: Subject): Promise<void>
}

const running = ({ state }: Subject) => state === 'running'
const still = ({ state }: Subject) => state === 'exited' || state === 'created'

const operations: readonly Operation[] = [
  { name: 'run', weight: 4, run: (load) => load.run() },
  { name: 'kill', weight: 3, on: running, run: (load, { id }) => load.kill(id) },
  {
    name: 'rm',
    weight: 2,
    on: () => true,
    run: async (load, { id }) => {
      await load.docker('rm', '-f', id)
    },
  },
  {
    name: 'rename',
    weight: 1,
    on: () => true,
    run: async (load, { id }) => {
      await load.docker('rename', id, load.freshName())
    },
  },
  {
    name: 'pause',
    weight: 1,
    on: running,
    run: async (load, { id }) => {
      await load.docker('pause', id)
    },
  },
  {
    name: 'unpause',
    weight: 2,
    on: ({ state }) => state === 'paused',
    run: async (load, { id }) => {
      await load.docker('unpause', id)
    },
  },
  {
    name: 'start',
    weight: 2,
    on: still,
    run: async (load, { id }) => {
      await load.docker('start', id)
    },
  },
  {
    name: 'restart',
    weight: 1,
    on: running,
    run: async (load, { id }) => {
      await load.docker('restart', '-t', '0', id)
    },
  },
  {
    name: 'network',
    weight: 2,
    on: ({ bridged, state }) => bridged && state === 'running',
    run: (load, { id }) => load.toggleNetwork(id),
  },
  {
    name: 'volume',
    weight: 1,
    run: async (load) => {
      await load.docker('volume', 'create', load.freshName())
    },
  },
  {
    name: 'tag',
    weight: 1,
    run: async (load) => {
      await load.docker('tag', image, `web:${load.freshName()}`)
    },
  },
]

/** What all containers are made from: it waits until it is told to end. */
export const image = 'web:1'
const network = 'net1'

/** Works on the containers of an engine, in an order that its random numbers decide. */
export class Load {
  readonly killed: Killed[] = []
  /** What was done, for people. */
  readonly done: string[] = []
  readonly #engine: EngineHost
  readonly #random: Random
  readonly #prefix: string
  #names = 0

  constructor(engine: EngineHost, random: Random, prefix: string) {
    this.#engine = engine
    this.#random = random
    this.#prefix = prefix
  }

  /** The image and the network that all loads of an engine use. */
  static async prepare(engine: EngineHost): Promise<void> {
    const loop = 'CMD ["/bin/sh","-c","trap exit TERM; while :; do /bin/sleep 900 & wait; done"]'
    await engine.importImage(image, ['/bin/sh', '/bin/sleep'], loop, 'EXPOSE 80', 'LABEL traefik.enable=true')
    await engine.docker('network', 'create', network)
  }

  docker(...args: string[]): Promise<string> {
    return this.#engine.docker(...args)
  }

  freshName(): string {
    this.#names += 1
    return `${this.#prefix}-${this.#names}`
  }

  /** Starts a container. Most have no network: it takes as long again to make one. */
  async run(...more: string[]): Promise<void> {
    const choice = this.#random.next()
    const place =
      choice < 0.6
        ? ['--network', 'none']
        : choice < 0.9
          ? ['-p', '80']
          : ['-p', '80', '-v', this.freshName()]
    if (this.#random.chance(0.3)) more.push('-e', `SERVICE_NAME=${this.#random.pick(['api', 'shop'])}`)
    await this.docker('run', '-d', '--name', this.freshName(), ...place, ...more, image)
  }

  /** Kills containers by one command. */
  async kill(...ids: string[]): Promise<void> {
    const from = Date.now()
    await this.docker('kill', ...ids)
    this.killed.push(...ids.map((id) => ({ id, from, to: Date.now() })))
  }

  async toggleNetwork(id: string): Promise<void> {
    const networks = await this.docker(
      'inspect',
      '-f',
      '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}',
      id,
    )
    const change = networks.split(' ').includes(network) ? 'disconnect' : 'connect'
    await this.docker('network', change, network, id)
  }

  /** So many operations, one after the other. */
  async some(count = this.#random.int(4, 8)): Promise<void> {
    for (let n = 0; n < count; n++) await this.one()
  }

  async one(): Promise<void> {
    const subjects = await this.subjects()
    // more would only take longer
    const allowed = operations.filter(
      ({ name, on }) => (on ? subjects.some(on) : true) && (name !== 'run' || subjects.length < 12),
    )
    const operation = this.#random.pick(allowed.flatMap((one) => Array<Operation>(one.weight).fill(one)))
    const { on } = operation
    const subject = on ? this.#random.pick(subjects.filter(on)) : nobody
    this.done.push(`${operation.name} ${subject.name}`.trim())
    await operation.run(this, subject)
  }

  async subjects(): Promise<Subject[]> {
    const format = '{{.ID}} {{.Names}} {{.State}} {{.Networks}}'
    const printed = await this.docker('ps', '-a', '--no-trunc', '--format', format)
    return printed
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [id = '', name = '', state = '', networks = ''] = line.split(' ')
        return { id, name, state, bridged: networks.includes('bridge') || networks.includes(network) }
      })
  }

  /** The processes of the containers that run, as seen in the engine's host. */
  async pids(): Promise<string[]> {
    const ids = (await this.subjects()).filter(running).map(({ id }) => id)
    if (ids.length === 0) return []
    const printed = await this.docker('inspect', '-f', '{{.State.Pid}}', ...ids)
    return printed.split('\n').filter((pid) => pid !== '' && pid !== '0')
  }

  /** Removes all containers and volumes. */
  async clear(): Promise<void> {
    const ids = (await this.subjects()).map(({ id }) => id)
    if (ids.length > 0) await this.docker('rm', '-f', '-v', ...ids)
    const volumes = (await this.docker('volume', 'ls', '-q')).split('\n').filter((name) => name !== '')
    if (volumes.length > 0) await this.docker('volume', 'rm', ...volumes)
    const tags = (await this.docker('images', '--format', '{{.Repository}}:{{.Tag}}')).split('\n')
    const added = tags.filter((tag) => tag.startsWith('web:') && tag !== image)
    if (added.length > 0) await this.docker('rmi', ...added)
  }
}

const nobody: Subject = { id: '', name: '', state: '', bridged: false }
