import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { EngineHost } from '../support/engine-host.ts'
import { startEtcd } from '../support/etcd.ts'
import { SidecarProcess } from '../support/sidecar-process.ts'

/**
 * A real swarm of two engines, each with a sidecar. Steps build on each other. After each, what the registry holds of
 * the swarm must equal what docker prints: at once where an event tells of it, within one poll where none does.
 */
if (process.getuid?.() !== 0) {
  t.plan(0, 'an engine of its own needs root')
  process.exit()
}

/** ms. */
const poll = 2000
const atOnce = 1000
const byPoll = poll + 1000
/** A manager that is demoted can leave a question unanswered until its limit. */
const byLimit = byPoll + 3000
/** Nothing tells a host that is in no swarm that it has joined one. */
const byResync = 13_000

const etcd = await startEtcd(t)
const host = async (name: string) => {
  const engine = await EngineHost.prepare(t)
  await engine.start()
  await engine.importImage(image, ['/bin/sh', '/usr/bin/perl'], 'EXPOSE 80')
  const sidecar = await SidecarProcess.start(t, {
    OPENEBS_STORE: etcd.uri,
    DOCKER_HOST: engine.endpoint,
    OPENEBS_HOST: name,
    OPENEBS_RESYNC: '10',
    OPENEBS_SWARM_POLL: String(poll / 1000),
  })
  return { name, engine, sidecar, docker: engine.docker, address: await engine.address() }
}
type SwarmHost = Awaited<ReturnType<typeof host>>

/** An engine asks a registry for the image first: one that refuses at once. */
const image = '127.0.0.1:1/web:1'
/** Says its name to whoever connects to port 80; perl without modules, as an image has the program alone. */
const serve = [
  '$SIG{TERM} = sub { exit }',
  'socket(S, 2, 1, 0); setsockopt(S, 1, 2, pack("l", 1))',
  'bind(S, pack("S n x12", 2, 80)) && listen(S, 9) or die $!',
  'while (accept(C, S)) { print C "served\\n"; close C }',
].join('; ')
const service = (name: string, ...args: string[]) => [
  ...['service', 'create', '--detach', '--no-resolve-image', '--name', name],
  ...[...args, image, '/usr/bin/perl', '-e', serve],
]

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')

/** All records, by key without the prefix. */
const readRegistry = async (): Promise<Map<string, Record<string, unknown>>> => {
  const printed = lines(await etcd.ctl('get', '--prefix', '/openebs/v1/'))
  const records = new Map<string, Record<string, unknown>>()
  for (let at = 0; at + 1 < printed.length; at += 2)
    records.set(printed[at]?.slice('/openebs/v1/'.length) ?? '', JSON.parse(printed[at + 1] ?? ''))
  return records
}

const kinds = ['node', 'service', 'task', 'secret', 'config']

/** What is to be in inventory/ of a manager: "node <id>" and so on, by what docker prints. */
const swarmObjects = async ({ docker }: SwarmHost): Promise<string[]> => {
  const services = lines(await docker('service', 'ls', '-q'))
  const ids = {
    node: await docker('node', 'ls', '-q'),
    service: services.length > 0 ? await docker('service', 'inspect', '-f', '{{.ID}}', ...services) : '',
    task: services.length > 0 ? await docker('service', 'ps', '-q', '--no-trunc', ...services) : '',
    secret: await docker('secret', 'ls', '-q'),
    config: await docker('config', 'ls', '-q'),
  }
  return Object.entries(ids).flatMap(([kind, text]) => lines(text).map((id) => `${kind} ${id}`))
}

/** The instances of a service's ingress port, "<key> <address>:<port>" each, that `leader` is to register. */
const instances = async (leader: SwarmHost, name: string, port: number, published: number) => {
  const format = '{{.ID}} {{.Name}} {{.Node}} {{.CurrentState}}'
  const filter = ['--filter', 'desired-state=running']
  const tasks = lines(await leader.docker('service', 'ps', '--no-trunc', ...filter, '--format', format, name))
  return tasks.flatMap((line) => {
    const [id, task, node, state] = line.split(' ')
    const at = hosts.find(({ engine }) => engine.folder.endsWith(`/${node}`))
    const key = `services/${name}/${leader.name}:${task}.${id}:${port}`
    return state === 'Running' ? [`${key} ${at?.address}:${published}`] : []
  })
}

/** What is wrong of the swarm's records: [] when they are as they should be. */
type Wrong = (records: Map<string, Record<string, unknown>>) => Promise<string[]>

const compare = (what: string, has: readonly string[], should: readonly string[]): string[] => [
  ...should.filter((one) => !has.includes(one)).map((one) => `${what}: missing: ${one}`),
  ...has.filter((one) => !should.includes(one)).map((one) => `${what}: stale: ${one}`),
]

const inventoryOf =
  (at: SwarmHost, ask: SwarmHost | undefined): Wrong =>
  async (records) => {
    const has = [...records.keys()].flatMap((key) => {
      const [, name, kind = '', id] = key.split('/')
      return key.startsWith('inventory/') && name === at.name && kinds.includes(kind) ? [`${kind} ${id}`] : []
    })
    return compare(at.name, has, ask ? await swarmObjects(ask) : [])
  }

const servicesAre =
  (name: string, should: () => Promise<string[]>): Wrong =>
  async (records) => {
    const has = [...records].flatMap(([key, record]) =>
      key.startsWith(`services/${name}/`) ? [`${key} ${record.address}:${record.port}`] : [],
    )
    return compare(name, has, await should())
  }

const memberIs =
  (at: SwarmHost, role?: 'manager' | 'worker', leader = false): Wrong =>
  async (records) => {
    const node = role && (await at.docker('info', '-f', '{{.Swarm.NodeID}}')).trim()
    const should = role ? `{"leader":${leader},"node":"${node}","role":"${role}"}` : undefined
    const record = records.get(`hosts/${at.name}`)
    if (record === undefined) return [`${at.name} is not registered`]
    const has = record.swarm
    const text = has === undefined ? undefined : JSON.stringify(has)
    return text === should ? [] : [`${at.name}: swarm is ${text}, should be ${should}`]
  }

/** Waits until nothing is wrong any more; it is late when a look that began after `ms` still finds something. */
const agrees = async (t: Test, ms: number, what: string, ...all: Wrong[]): Promise<void> => {
  const from = performance.now()
  for (;;) {
    const late = performance.now() - from >= ms
    const records = await readRegistry()
    const wrong = (await Promise.all(all.map((one) => one(records)))).flat()
    if (wrong.length > 0 && !late) {
      await pause(50)
      continue
    }
    if (wrong.length > 0) for (const { sidecar } of hosts) t.comment(sidecar.log)
    t.strictSame(wrong, [], what)
    return
  }
}

/** Waits until docker itself says that `count` tasks of a service run, and none is about to end. */
const runs = (t: Test, { docker }: SwarmHost, name: string, count: number) =>
  until(
    async () => {
      const format = '{{.DesiredState}} {{.CurrentState}}'
      const tasks = lines(await docker('service', 'ps', '--format', format, name))
      const running = tasks.filter((line) => /^Running Running /.test(line)).length
      const ending = tasks.filter((line) => /^\w+ Running /.test(line)).length > running
      return (running === count && !ending) || undefined
    },
    { ms: 30_000, every: 100 },
  ).then((done) => t.ok(done, `docker runs ${count} of ${name}`))

/** What docker calls a host's node: its host name, which is its folder's. */
const nodeOf = ({ engine }: SwarmHost): string => engine.folder.split('/').at(-1) ?? ''

/**
 * Makes a worker a manager and waits until it is one: it gets its certificate first, then joins the others, and can say
 * that it is a manager before they count it. A busy machine takes more than ten seconds for that.
 */
const promote = async (t: Test, by: SwarmHost, host: SwarmHost): Promise<void> => {
  await by.docker('node', 'promote', nodeOf(host))
  const reachable = () => by.docker('node', 'inspect', nodeOf(host), '-f', '{{.ManagerStatus.Reachability}}')
  const done = await until(
    async () => {
      const counted = (await reachable().catch(() => '')).trim() === 'reachable'
      return (counted && (await host.engine.tryDocker('node', 'ls')).code === 0) || undefined
    },
    { ms: 60_000, every: 100 },
  )
  t.ok(done, `docker says that ${host.name} is a manager`)
}

/** Waits until an Engine has announced a node of its swarm: nothing tells of the swarm before. */
const announces = ({ docker }: SwarmHost) =>
  until(
    async () => {
      const range = ['--since', '0', '--until', (Date.now() / 1000).toFixed(3)]
      return (await docker('events', ...range, '--filter', 'type=node')) !== '' || undefined
    },
    { ms: 10_000 },
  )

/** What is said at an endpoint. */
const hear = (address: string, port: number): Promise<string> =>
  new Promise((resolve, reject) => {
    let heard = ''
    const socket = connect({ host: address, port, timeout: 5000 })
    socket.on('data', (chunk) => (heard += chunk))
    socket.on('end', () => resolve(heard))
    socket.on('error', reject)
    socket.on('timeout', () => socket.destroy(new Error(`${address}:${port} says nothing`)))
  })

const [h1, h2] = await Promise.all([host('h1'), host('h2')])
const hosts = [h1, h2]

t.test('a manager and a worker', async (t) => {
  await agrees(t, 30_000, 'no swarm', memberIs(h1), memberIs(h2), inventoryOf(h1, undefined))
  await h1.docker('swarm', 'init', '--advertise-addr', h1.address)
  t.ok(await announces(h1), 'the Engine says so')
  await agrees(t, atOnce, 'it leads', memberIs(h1, 'manager', true), inventoryOf(h1, h1))
  const token = (await h1.docker('swarm', 'join-token', '-q', 'worker')).trim()
  await h2.docker('swarm', 'join', '--token', token, `${h1.address}:2377`)
  await agrees(t, atOnce, 'one more node', inventoryOf(h1, h1))
  await agrees(
    t,
    byResync,
    'a worker knows of its membership alone',
    memberIs(h2, 'worker'),
    inventoryOf(h2, undefined),
  )
  const records = await readRegistry()
  t.equal(records.get('hosts/h1')?.address, h1.address, 'its address is what the swarm knows')
})

const ing = (leader: SwarmHost) => servicesAre('ing', () => instances(leader, 'ing', 80, 8080))

t.test('a service on an ingress port', async (t) => {
  const create = service('ing', '--replicas', '2', '--publish', '8080:80')
  await h1.docker(...create)
  const inventory: Wrong = async (records) => {
    const id = (await h1.docker('service', 'inspect', '-f', '{{.ID}}', 'ing')).trim()
    return records.has(`inventory/h1/service/${id}`) ? [] : ['no record of the service']
  }
  await agrees(t, atOnce, 'the service itself', inventory)
  await runs(t, h1, 'ing', 2)
  await agrees(t, byPoll, 'an instance a task', ing(h1), inventoryOf(h1, h1))
  const found = [...(await readRegistry())].filter(([key]) => key.startsWith('services/ing/'))
  t.strictSame(
    found.map(([, { address }]) => address).sort(),
    [h1.address, h2.address].sort(),
    'one on each node',
  )
})

const skip = !existsSync('/proc/net/ip_vs') && 'needs a kernel with IPVS, which routes ingress ports'
t.test('those are endpoints', { skip }, async (t) => {
  for (const [key, { address, port }] of await readRegistry())
    if (key.startsWith('services/ing/')) t.equal(await hear(String(address), Number(port)), 'served\n', key)
})

t.test('ports of a host are registered by that host', async (t) => {
  const onHost = '--publish mode=host,target=80,published=8081'.split(' ')
  await h1.docker(...service('each', '--mode', 'global', ...onHost))
  await runs(t, h1, 'each', 2)
  const should = async () => {
    const format = '{{.Names}}'
    const named = async ({ name, docker, address }: SwarmHost) => {
      const names = lines(await docker('ps', '--filter', 'name=each', '--format', format))
      return names.map((container) => `services/each/${name}:${container}:80 ${address}:8081`)
    }
    return [...(await named(h1)), ...(await named(h2))]
  }
  await agrees(t, byPoll, 'one on each host', servicesAre('each', should), inventoryOf(h1, h1))
  t.equal(await hear(h2.address, 8081), 'served\n')
  await h1.docker('service', 'rm', 'each')
  await agrees(
    t,
    15_000,
    'none',
    servicesAre('each', async () => []),
    inventoryOf(h1, h1),
  )
})

t.test('scaling', async (t) => {
  for (const count of [4, 1]) {
    await h1.docker('service', 'scale', '--detach', `ing=${count}`)
    await runs(t, h1, 'ing', count)
    await agrees(t, byPoll, `to ${count}`, ing(h1))
  }
})

t.test('secrets and configs, by name alone', async (t) => {
  const write = (kind: string, name: string) =>
    h1.engine.net('sh', '-c', `printf never-shown | docker ${kind} create ${name} -`)
  await write('secret', 's1')
  await write('config', 'c1')
  await agrees(t, atOnce, 'created', inventoryOf(h1, h1))
  const all = await etcd.ctl('get', '--prefix', '/openebs/v1/inventory/')
  t.match(all, /"kind":"config","name":"c1"/)
  t.notMatch(all, Buffer.from('never-shown').toString('base64').slice(0, 12))
  await h1.docker('secret', 'rm', 's1')
  await h1.docker('config', 'rm', 'c1')
  await agrees(t, atOnce, 'removed', inventoryOf(h1, h1))
})

t.test('leadership moves', async (t) => {
  await promote(t, h1, h2)
  await agrees(t, byLimit, 'two managers', memberIs(h2, 'manager'), inventoryOf(h2, h1), inventoryOf(h1, h1))
  await agrees(t, atOnce, 'the leader alone has instances', ing(h1), memberIs(h1, 'manager', true))
  await h2.docker('node', 'demote', nodeOf(h1))
  const leads = () => h2.docker('node', 'inspect', 'self', '-f', '{{.ManagerStatus.Leader}}')
  const moved = await until(async () => (await leads().catch(() => '')).includes('true') || undefined, {
    ms: 30_000,
  })
  t.ok(moved, 'docker says that the other one leads')
  const has: Wrong = async (records) =>
    (await instances(h2, 'ing', 80, 8080)).filter((one) => !records.has(one.split(' ')[0] ?? ''))
  await agrees(t, byPoll, 'so it has instances', has, memberIs(h2, 'manager', true), inventoryOf(h2, h2))
  // until it has been told, the former one can answer nothing, and what it knew last stands
  const role = () => h1.docker('info', '-f', '{{.Swarm.ControlAvailable}}')
  const told = await until(async () => (await role()).includes('false') || undefined, { ms: 30_000 })
  t.ok(told, 'docker says that the former one is a worker')
  await agrees(t, byLimit, 'so it has none', ing(h2), memberIs(h1, 'worker'), inventoryOf(h1, undefined))
})

t.test('without a majority of its managers, what was known last stands', async (t) => {
  await promote(t, h2, h1)
  await agrees(t, byLimit, 'two managers again', memberIs(h1, 'manager'), inventoryOf(h1, h2))
  const before = [...(await readRegistry()).keys()].filter((key) => key.startsWith('inventory/h2/node/'))
  await h1.engine.halt('KILL')
  await h2.engine.halt('TERM')
  await h2.engine.start()
  const asked = await h2.engine.tryDocker('node', 'ls')
  t.match(asked.stderr, /The swarm does not have a leader/, 'it cannot be asked')
  const said = await until(() => /the swarm does not answer/.test(h2.sidecar.log) || undefined, {
    ms: 15_000,
  })
  t.ok(said, 'the sidecar says so')
  const after = [...(await readRegistry()).keys()].filter((key) => key.startsWith('inventory/h2/node/'))
  t.equal(before.length, 2)
  t.strictSame(after, before)
  await h1.engine.start()
  const answers = await until(async () => (await h2.engine.tryDocker('node', 'ls')).code === 0 || undefined, {
    ms: 60_000,
    every: 250,
  })
  t.ok(answers, 'a majority again')
  const leader = (await h2.docker('node', 'inspect', 'self', '-f', '{{.ManagerStatus.Leader}}')).includes(
    'true',
  )
    ? h2
    : h1
  await runs(t, leader, 'ing', 1)
  await agrees(t, 15_000, 'all as it is', ing(leader), inventoryOf(h1, leader), inventoryOf(h2, leader))
})

t.test('a swarm that is left leaves nothing', async (t) => {
  await h1.docker('service', 'rm', 'ing')
  await agrees(
    t,
    atOnce,
    'its service has no instances',
    servicesAre('ing', async () => []),
  )
  for (const { docker } of [h1, h2]) await docker('swarm', 'leave', '--force')
  await agrees(
    t,
    15_000,
    'nothing',
    memberIs(h1),
    memberIs(h2),
    inventoryOf(h1, undefined),
    inventoryOf(h2, undefined),
  )
})
