import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { Server as NetServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { connectDocker, type Docker } from '../../docker/client.ts'
import { hintsOf } from '../../docker/hints.ts'
import { engineInfo } from '../../docker/queries.ts'
import { pause, until } from '../../process/backoff.ts'
import type { Log } from '../../process/log.ts'
import type { Host } from '../../registry/records.ts'
import { labelFilter } from '../../sidecar/labels.ts'
import { createRegistrations } from '../../sidecar/registrations.ts'
import { HostState } from '../../sidecar/snapshot.ts'
import { ingressServices, membershipOf, swarmInventory } from '../../sidecar/swarm.ts'
import type { Swarm } from '../../sidecar/swarm-state.ts'
import recorded from '../support/swarm-answers.json' with { type: 'json' }

/** What an engine answers to a manager's questions, as Engine 20.10.24 did; some of it is changed by tests. */
type Answers = Record<string, unknown>
const asManager = (): Answers => ({
  '/info': info(recorded.manager.Swarm),
  '/nodes': recorded.nodes,
  '/services': recorded.services,
  '/tasks': recorded.tasks.map((task) => running(task)),
  '/secrets': recorded.secrets,
  '/configs': recorded.configs,
})
const info = (Swarm: object) => ({ Name: 'm', NCPU: 2, MemTotal: 1, Swarm })
/** The recording was made when service "ing" had just been removed, and some of its tasks never ran. */
const running = (task: (typeof recorded.tasks)[number]) => ({
  ...task,
  DesiredState: 'running',
  Status: { ...task.Status, State: 'running' },
})

const swarmPaths = ['/nodes', '/services', '/tasks', '/secrets', '/configs']
const outside = { NodeID: '', NodeAddr: '', LocalNodeState: 'inactive', ControlAvailable: false }
/** How Engine 20.10.24 refuses: without a leader, and where it is no manager. */
const noLeader = {
  status: 500,
  message: 'rpc error: code = Unknown desc = The swarm does not have a leader.',
}
const noManager = { status: 503, message: 'This node is not a swarm manager.' }

/** An engine on a unix socket that gives recorded answers. */
class RecordedEngine {
  answers: Answers = asManager()
  /** What it says to questions for managers in place of an answer. */
  refusal: { status: number; message: string } | undefined
  asked: string[] = []
  readonly docker: Docker
  #server = createServer((request, response) => {
    const path = new URL(request.url ?? '', 'http://engine').pathname
    this.asked.push(path)
    const refusal = swarmPaths.includes(path) ? this.refusal : undefined
    const others = path === '/volumes' ? { Volumes: [] } : []
    response.writeHead(refusal?.status ?? 200, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify(refusal ? { message: refusal.message } : (this.answers[path] ?? others)))
  })

  private constructor(socket: string) {
    this.docker = connectDocker({ kind: 'unix', socket })
  }

  static async start(t: Test): Promise<RecordedEngine> {
    const folder = await mkdtemp(join(tmpdir(), 'swarm-'))
    const socket = join(folder, 'docker.sock')
    const engine = new RecordedEngine(socket)
    engine.#server.listen(socket)
    await once(engine.#server, 'listening')
    t.teardown(async () => {
      engine.deafen()
      engine.#server.closeAllConnections()
      await rm(folder, { recursive: true, force: true })
    })
    return engine
  }

  /** Takes no new connections; those that are there go on. */
  deafen(): void {
    NetServer.prototype.close.call(this.#server)
  }

  /** Which of the swarm's paths were asked since the last time. */
  questions(): string[] {
    const asked = this.asked.splice(0)
    return swarmPaths.filter((path) => asked.includes(path))
  }
}

/** A host's state that follows an engine, what it logs, and how often it told of a change. */
const follow = async (t: Test, engine: RecordedEngine, swarmPoll = 100) => {
  const stop = new AbortController()
  const seen = { changes: 0, lines: [] as string[] }
  const note = (...[first, line]: [object, string] | [string, undefined?]) =>
    void seen.lines.push(typeof first === 'string' ? first : (line ?? ''))
  const log = { debug() {}, info: note, warn: note } as unknown as Log
  const times = { resyncEvery: 60_000, swarmPoll }
  const state = new HostState(engine.docker, log, stop.signal, () => void seen.changes++, times)
  const done = state.run()
  t.teardown(async () => {
    stop.abort()
    await done
  })
  state.resync()
  t.ok(await until(() => !state.snapshot.missing.size || undefined, { ms: 5000, every: 5 }), 'looked at')
  engine.questions()
  return { state, seen }
}
const event = { type: 'node', action: 'update', id: 'n', timeNano: '1', attributes: {} }
const hint = (state: HostState) => {
  for (const one of hintsOf(event)) state.hint(one)
}
const comes = (t: Test, what: string, is: () => boolean) =>
  until(() => is() || undefined, { ms: 5000, every: 5 }).then((came) => t.ok(came, what))

t.test('a host that is no manager asks nothing of the swarm', async (t) => {
  for (const [swarm, expected] of [
    [outside, undefined],
    [recorded.worker.Swarm, { role: 'worker', leader: false, node: recorded.worker.Swarm.NodeID }],
  ] as const) {
    const engine = await RecordedEngine.start(t)
    engine.answers = { '/info': info(swarm) }
    const { state } = await follow(t, engine, 20)
    hint(state)
    await comes(t, 'it has been looked at', () => engine.asked.includes('/info'))
    await pause(100)
    t.strictSame(engine.questions(), [])
    t.strictSame(state.snapshot.swarm && membershipOf(state.snapshot.swarm), expected)
  }
})

t.test('a manager is polled for what no event tells, and asked for all at an event', async (t) => {
  const engine = await RecordedEngine.start(t)
  const { state, seen } = await follow(t, engine, 250)
  const { swarm } = state.snapshot
  t.match(swarm, {
    node: recorded.manager.Swarm.NodeID,
    manager: true,
    address: recorded.manager.Swarm.NodeAddr,
  })
  t.match(swarm?.secrets, [{ name: 's1' }])
  t.strictSame(swarm?.configs, [{ id: recorded.configs[0]?.ID, name: 'c1' }], 'without its data')
  const { changes } = seen
  await comes(t, 'a poll', () => engine.asked.length >= 3)
  t.strictSame(engine.questions(), ['/nodes', '/services', '/tasks'])
  t.equal(state.snapshot.swarm, swarm, 'the very same where nothing has changed')
  t.equal(seen.changes, changes, 'and nobody is told')
  engine.answers['/tasks'] = recorded.tasks.slice(1).map(running)
  await comes(t, 'a task is gone', () => state.snapshot.swarm?.tasks.length === recorded.tasks.length - 1)
  t.equal(seen.changes, changes + 1)
  engine.questions()
  engine.answers['/secrets'] = []
  hint(state)
  await comes(t, 'a secret is gone', () => state.snapshot.swarm?.secrets.length === 0)
  t.strictSame(engine.questions(), swarmPaths)
})

t.test('a manager is announced before it can be asked, and seen soon after that', async (t) => {
  const engine = await RecordedEngine.start(t)
  engine.answers = { '/info': info(outside) }
  const { state } = await follow(t, engine, 60_000)
  const looks = () => engine.asked.filter((path) => path === '/info').length
  engine.asked = []
  hint(state)
  await comes(t, 'it is asked again and again', () => looks() >= 3)
  engine.answers = asManager()
  await comes(t, 'it leads', () => state.snapshot.swarm?.manager === true)
})

t.test('what a manager cannot answer stands as it was last known', async (t) => {
  const engine = await RecordedEngine.start(t)
  const { state, seen } = await follow(t, engine, 50)
  const { swarm } = state.snapshot
  engine.refusal = noLeader
  await comes(t, 'it says so', () => seen.lines.some((line) => /does not answer/.test(line)))
  engine.asked = []
  await comes(t, 'it is asked on', () => engine.asked.filter((path) => path === '/secrets').length >= 3)
  t.equal(state.snapshot.swarm, swarm)
  engine.answers['/info'] = info({
    ...recorded.manager.Swarm,
    LocalNodeState: 'pending',
    ControlAvailable: false,
  })
  engine.asked = []
  hint(state)
  await comes(
    t,
    'it has not found its place',
    () => engine.asked.filter((path) => path === '/info').length >= 2,
  )
  t.equal(state.snapshot.swarm, swarm)
  engine.answers = { ...asManager(), '/tasks': [] }
  engine.refusal = undefined
  await comes(t, 'it answers again', () => state.snapshot.swarm?.tasks.length === 0)
  const told = seen.lines.filter((line) => /swarm/.test(line))
  t.strictSame(told.length, 2, 'a line when it stopped, a line when it was back')
})

t.test('a manager that is none any more, and a swarm that was left', async (t) => {
  const engine = await RecordedEngine.start(t)
  const { state, seen } = await follow(t, engine, 50)
  engine.refusal = noManager
  engine.answers['/info'] = info({ ...recorded.manager.Swarm, ControlAvailable: false })
  await comes(t, 'it knows of itself alone', () => state.snapshot.swarm?.manager === false)
  t.match(state.snapshot.swarm, { node: recorded.manager.Swarm.NodeID, nodes: [], tasks: [], secrets: [] })
  engine.refusal = undefined
  engine.answers = asManager()
  hint(state)
  await comes(t, 'it is one again', () => state.snapshot.swarm?.nodes.length === 2)
  engine.refusal = noManager
  engine.answers['/info'] = info(outside)
  await comes(t, 'it has left', () => state.snapshot.swarm === undefined)
  t.strictSame(seen.lines, [], 'no word of silence')
})

t.test('an engine that shuts down has not left its swarm', async (t) => {
  const engine = await RecordedEngine.start(t)
  const { state, seen } = await follow(t, engine, 50)
  const { swarm } = state.snapshot
  engine.deafen()
  engine.refusal = noManager
  engine.answers['/info'] = info(outside)
  t.equal((await engineInfo(engine.docker)).swarmAddress, '', 'where it still answers, it says that it has')
  await comes(t, 'that is not believed', () => seen.lines.some((line) => /does not answer/.test(line)))
  t.equal(state.snapshot.swarm, swarm)
})

/** The swarm as a manager sees it whose engine gives these answers. */
const swarmOf = async (t: Test, answers: Answers = {}): Promise<Swarm> => {
  const engine = await RecordedEngine.start(t)
  engine.answers = { ...asManager(), ...answers }
  const { state } = await follow(t, engine, 60_000)
  const { swarm } = state.snapshot
  if (!swarm) throw new Error('no swarm')
  return swarm
}

const h1 = { host: 'h1', address: '10.9.9.9' }
const [node2, node1] = recorded.nodes.map(({ ID }) => ID)
const ingTasks = recorded.tasks.filter(({ ServiceID }) => ServiceID === recorded.services[1]?.ID)
const at = (services: ReturnType<typeof ingressServices>) =>
  services
    .map((one) => `${one.service}/${one.host}:${one.container}:${one.exposedPort} ${one.address}:${one.port}`)
    .sort()

t.test('the manager that leads registers an instance for each running task and ingress port', async (t) => {
  const swarm = await swarmOf(t)
  t.equal(swarm.node, node1)
  const addresses: Record<string, string> = { [node1 ?? '']: '10.9.9.9', [node2 ?? '']: '198.19.0.5' }
  const expected = ingTasks.flatMap(({ ID, Slot, NodeID }) => [
    `ing-53/h1:ing.${Slot}.${ID}:53 ${addresses[NodeID]}:8053`,
    `ing-80/h1:ing.${Slot}.${ID}:80 ${addresses[NodeID]}:8080`,
  ])
  t.equal(expected.length, 6)
  t.strictSame(at(ingressServices(h1, swarm)), expected.sort())
  const [one] = ingressServices(h1, swarm).filter(({ protocol }) => protocol === 'udp')
  t.match(one, {
    tags: ['udp'],
    health: 'none',
    state: 'running',
    endpoints: [{ address: one?.address, port: 8053 }],
  })
  t.strictSame(
    ingressServices({ ...h1, host: 'h2' }, { ...swarm, node: node2 ?? '' }),
    [],
    'another manager none',
  )
})

t.test('which tasks are instances, and at which address', async (t) => {
  const [task] = ingTasks.map(running)
  /** The recorded nodes, with another word on the one of the task. */
  const nodes = (Status: object | null, managerAddress?: string) =>
    recorded.nodes.map((node) => {
      const ManagerStatus = managerAddress && { Reachability: 'reachable', Addr: managerAddress }
      return node.ID === node2 ? { ...node, Status, ManagerStatus: ManagerStatus || null } : node
    })
  const cases: [string, Answers, string[]][] = [
    ['one that is to end', { '/tasks': [{ ...task, DesiredState: 'shutdown' }] }, []],
    ['one that starts', { '/tasks': [{ ...task, Status: { State: 'starting' } }] }, []],
    ['one without a node', { '/tasks': [{ ...task, NodeID: '' }] }, []],
    ['one of a service that is gone', { '/tasks': [task], '/services': [] }, []],
    [
      'one on a node that is down',
      { '/tasks': [task], '/nodes': nodes({ State: 'down', Addr: '198.19.0.5' }) },
      [],
    ],
    [
      // seen after a change of leadership
      'a node that says 0.0.0.0 of itself',
      { '/tasks': [task], '/nodes': nodes({ State: 'ready', Addr: '0.0.0.0' }, '198.19.0.5:2377') },
      ['198.19.0.5:8053', '198.19.0.5:8080'],
    ],
    [
      'IPv6',
      { '/tasks': [task], '/nodes': nodes({ State: 'ready', Addr: '0.0.0.0' }, '[2001:db8::5]:2377') },
      ['2001:db8::5:8053', '2001:db8::5:8080'],
    ],
    ['a node that was never heard of', { '/tasks': [task], '/nodes': nodes(null) }, []],
  ]
  t.equal(task?.NodeID, node2)
  for (const [what, answers, expected] of cases) {
    const found = ingressServices(h1, await swarmOf(t, answers))
    t.strictSame(found.map(({ address, port }) => `${address}:${port}`).sort(), expected, what)
  }
})

t.test("a service's own word on its instances", async (t) => {
  const [, ing] = recorded.services
  const [task] = ingTasks.map(running)
  const port = { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }
  const named = (change: {
    env?: string[]
    labels?: object
    containerLabels?: object
    ports?: object[]
  }) => ({
    '/tasks': [task],
    '/services': [
      {
        ...ing,
        Spec: {
          ...ing?.Spec,
          Labels: change.labels ?? null,
          TaskTemplate: {
            ContainerSpec: { Image: 'web:1', Env: change.env, Labels: change.containerLabels },
          },
        },
        Endpoint: { Ports: change.ports ?? [port] },
      },
    ],
  })
  const cases: [string, Answers, string[]][] = [
    ['one port', named({}), ['ing']],
    ['its environment', named({ env: ['SERVICE_NAME=api', 'PASSWORD=x'] }), ['api']],
    ["a container's label", named({ containerLabels: { SERVICE_NAME: 'api' } }), ['api']],
    [
      "its own label before a container's",
      named({ labels: { SERVICE_NAME: 'web' }, containerLabels: { SERVICE_NAME: 'api' } }),
      ['web'],
    ],
    ['SERVICE_IGNORE', named({ labels: { SERVICE_IGNORE: '1' } }), []],
    ['openebs.ignore', named({ labels: { 'openebs.ignore': 'true' } }), []],
    ['a port of the host is not its', named({ ports: [{ ...port, PublishMode: 'host' }] }), []],
    ['a port without a number yet', named({ ports: [{ ...port, PublishedPort: undefined }] }), []],
    ['sctp', named({ ports: [{ ...port, Protocol: 'sctp' }] }), ['ing']],
  ]
  for (const [what, answers, expected] of cases) {
    const found = ingressServices(h1, await swarmOf(t, answers))
    t.strictSame(
      found.map(({ service }) => service),
      expected,
      what,
    )
  }
})

t.test('inventory has all of the swarm; labels by the setting, secrets by name', async (t) => {
  const [hm, ...others] = recorded.services
  const labelled = { ...hm, Spec: { ...hm?.Spec, Labels: { a: '1', b: '2' } } }
  const swarm = await swarmOf(t, { '/services': [labelled, ...others] })
  const records = swarmInventory('h1', swarm, labelFilter(['a']))
  const of = (kind: string) => records.filter((record) => record.kind === kind)
  t.match(of('node'), [
    {
      name: 'w',
      role: 'worker',
      leader: false,
      availability: 'active',
      state: 'ready',
      address: '198.19.0.5',
    },
    { name: 'm', role: 'manager', leader: true, reachability: 'reachable' },
  ])
  t.match(of('service'), [
    {
      name: 'hm',
      mode: 'replicated',
      replicas: 1,
      labels: { a: '1' },
      ports: [{ port: 80, published: 8081, mode: 'host' }],
    },
    { name: 'ing', mode: 'replicated', replicas: 2, image: 'web:1' },
    { name: 'hosty', ports: [] },
    { name: 'glob', mode: 'global' },
  ])
  t.notOk(of('service')[3]?.replicas !== undefined, 'a global service has no number of tasks')
  t.strictSame((of('service')[0] as { labels: object }).labels, { a: '1' })
  const [glob] = recorded.tasks.filter(({ ServiceID }) => ServiceID === recorded.services[3]?.ID)
  t.match(
    of('task').find(({ id }) => id === glob?.ID),
    {
      name: `glob.${glob?.NodeID}.${glob?.ID}`,
      service: glob?.ServiceID,
      node: glob?.NodeID,
      wanted: 'running',
    },
  )
  t.strictSame(of('secret'), [{ kind: 'secret', host: 'h1', id: recorded.secrets[0]?.ID, name: 's1' }])
  t.strictSame(of('config'), [{ kind: 'config', host: 'h1', id: recorded.configs[0]?.ID, name: 'c1' }])
})

t.test('managers do not fight: keys carry the host, and go where leadership goes', async (t) => {
  const swarm = await swarmOf(t)
  const moved: Swarm = {
    ...swarm,
    nodes: swarm.nodes.map((node) => ({ ...node, leader: node.id === node2 })),
  }
  const register = (host: string, from: 'published' | 'internal', of: Swarm | undefined) => {
    const rules = {
      from,
      networks: [],
      addressLabel: undefined,
      unhealthy: 'mark',
      paused: 'withdraw',
    } as const
    const registrations = createRegistrations({ services: rules, labels: labelFilter(['*']) })
    const empty = { containers: new Map(), volumes: new Map(), images: [], networks: [], plugins: [] }
    const { desired, refused } = registrations({ ...empty, swarm: of }, hostOf(host), () => undefined)
    t.strictSame([...refused], [], 'all fit their schemas')
    return [...desired.keys()].filter((key) => key.startsWith('services/'))
  }
  const other = (of: Swarm): Swarm => ({ ...of, node: node2 ?? '' })
  t.equal(register('h1', 'published', swarm).length, 6)
  t.strictSame(register('h2', 'published', other(swarm)), [])
  t.strictSame(register('h1', 'published', moved), [])
  t.strictSame(
    register('h2', 'published', other(moved)),
    register('h1', 'published', swarm).map((key) => key.replace('/h1:', '/h2:')),
  )
  t.strictSame(register('h1', 'internal', swarm), [], "at containers' own addresses each host has its own")
  t.strictSame(register('h1', 'published', undefined), [])
})

const hostOf = (host: string): Host => ({
  host,
  address: '10.9.9.9',
  engine: { version: '', os: '', arch: '', kernel: '', storage: '' },
  versions: { sidecar: '' },
  capacity: { cpus: 1, memory: 1 },
  instance: 'i',
  since: '2026-01-01T00:00:00Z',
})
