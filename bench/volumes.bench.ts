import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { connectDocker, type Docker } from '../docker/client.ts'
import { PluginHost, vsmImage } from '../test/support/plugin-host.ts'
import { atMost } from './support/at-most.ts'
import { inTurn, runBench, say } from './support/bench.ts'
import type { Row } from './support/rows.ts'
import { median, round } from './support/statistics.ts'
import { VolumeCalls } from './support/volume-calls.ts'

const about = `volumes: the managed plugin in a real Engine, with an etcd of its own. How long do its calls take? They are made on the
plugin's socket as the Engine makes them (POST /VolumeDriver.Create, Mount, Unmount, Remove), so that the time of docker
itself is not in them. A create ends when the volume is ready, which Get confirms; the first Mount makes and attaches an
initiator; a warm one finds it idle, right after an Unmount. One volume comes first that is not counted. Then many volumes
are created, mounted by a container each, which writes into it, and removed, some at a time, by the Engine's API: does a volume
take as long among many as the first did? What is removed goes in reverse, so that the first ones are few again.`

/** As the Engine names a use of a volume. */
const useId = () => randomBytes(32).toString('hex')

const calls = async (plugin: VolumeCalls, name: string, size: string) => {
  const create = await plugin.call('Create', { Name: name, Opts: { size, fs: 'ext4' } })
  const { answer } = await plugin.call('Get', { Name: name })
  const { Status } = answer.Volume as { Status: { phase: string } }
  if (Status.phase !== 'ready') throw new Error(`volume ${name} is ${Status.phase} after its create`)
  const use = async () => {
    const ID = useId()
    const mount = await plugin.call('Mount', { Name: name, ID })
    const unmount = await plugin.call('Unmount', { Name: name, ID })
    return { mount: mount.ms, unmount: unmount.ms }
  }
  const first = await use()
  const warm = await inTurn([1, 2, 3], use)
  const remove = await plugin.call('Remove', { Name: name })
  return {
    create: create.ms,
    first: first.mount,
    warm: warm.map(({ mount }) => mount),
    unmount: [first, ...warm].map(({ unmount }) => unmount),
    remove: remove.ms,
  }
}

const timed = (row: string, ms: readonly number[], most: number): Row => {
  const middle = median(ms)
  const range = `${round(Math.min(...ms), 0)}–${round(Math.max(...ms), 0)} ms`
  return {
    row,
    measured: `${round(middle, 0)} ms (median of ${ms.length}, ${range})`,
    must: `${most} ms`,
    holds: middle <= most,
  }
}

/** The life of volumes: each step is done for all of them, some at a time, and takes so many ms for each. */
const steps = (docker: Docker): Record<'create' | 'mount' | 'remove', (name: string) => Promise<void>> => ({
  create: async (name) => {
    await docker.createVolume({ Name: name, Driver: 'openebs', DriverOpts: { size: '64M' } })
  },
  mount: async (name) => {
    const script = `grep -q ' /d ext4 ' /proc/mounts && echo ${name} >/d/f && sync /d/f && exec sleep 3600`
    const container = await docker.createContainer({
      name: `user-${name}`,
      Image: vsmImage,
      Entrypoint: ['sh', '-c', script],
      HostConfig: { Binds: [`${name}:/d`], NetworkMode: 'none' },
    })
    await container.start()
  },
  remove: async (name) => {
    await docker.getContainer(`user-${name}`).remove({ force: true })
    await docker.getVolume(name).remove()
  },
})

const many = async (host: PluginHost, docker: Docker, volumes: number, together: number): Promise<Row> => {
  const names = Array.from({ length: volumes }, (_, index) => `m${index}`)
  const before = await host.traces()
  const failures: string[] = []
  const does = steps(docker)
  /** ms of each volume, in the order of `names`. */
  const perform = async (step: keyof typeof does, order: readonly string[]) => {
    const took = new Map<string, number>()
    const ended = await atMost(together, order, async (name) => {
      const began = performance.now()
      await does[step](name)
      took.set(name, performance.now() - began)
    })
    for (const error of ended) if (error instanceof Error) failures.push(`${step}: ${error.message}`)
    return names.map((name) => took.get(name) ?? Number.NaN)
  }
  const created = await perform('create', names)
  const mounted = await perform('mount', names)
  const running = (await docker.listContainers({ filters: { name: ['user-'] } })).length
  if (running < volumes) failures.push(`${running} of ${volumes} containers run`)
  const removed = await perform('remove', names.toReversed())
  const left = (await host.traces()).filter((trace) => !before.includes(trace))
  if (left.length > 0) failures.push(`left behind: ${left.join(' ')}`)
  for (const failure of failures) say(failure)

  const base = (ms: readonly number[]) => median(ms.slice(0, together))
  const last = (ms: readonly number[]) => median(ms.slice(-Math.max(together, volumes >> 2)))
  for (const [step, ms] of Object.entries({ created, mounted, removed }))
    say(
      `${step}: first ${together} ${round(base(ms), 0)} ms, all ${round(median(ms), 0)} ms, last ${round(last(ms), 0)} ms`,
    )
  const whole = names.map((_, index) =>
    [created, mounted, removed].reduce((sum, ms) => sum + (ms[index] ?? 0), 0),
  )
  const ratios = [median(whole), last(whole)].map((ms) => ms / base(whole))
  const text = `${round(median(whole), 0)} ms a volume, ${ratios.map((ratio) => `${round(ratio, 2)}x`).join(', last quarter ')} the first ${together} (${round(base(whole), 0)} ms)`
  return {
    row: `${volumes} volumes, ${together} at a time`,
    measured: failures.length > 0 ? `${failures.length} failures: ${failures[0]}` : text,
    must: `no failure, 1.5x the first ${together}`,
    holds: failures.length === 0 && ratios.every((ratio) => ratio <= 1.5),
  }
}

await runBench(
  about,
  {
    runs: [7, 'volumes whose calls are timed one by one'],
    megabytes: [1024, 'MiB of each of these'],
    volumes: [50, 'volumes at the same time; 0 leaves that out'],
    together: [4, 'of them are worked on at a time'],
  },
  async (t, { runs, megabytes, volumes, together }) => {
    const host = await PluginHost.start(t)
    t.teardown(() => host.tidy())
    const plugin = await VolumeCalls.of(host)
    const size = `${megabytes}M`
    await calls(plugin, 'first', size)
    const all = await inTurn(
      Array.from({ length: runs }, (_, index) => `one${index}`),
      (name) => calls(plugin, name, size),
    )
    say(`Remove: ${round(median(all.map(({ remove }) => remove)), 0)} ms`)
    const rows = [
      timed(
        `create to ready, ${megabytes} MiB ext4`,
        all.map(({ create }) => create),
        1500,
      ),
      timed(
        'first Mount',
        all.map(({ first }) => first),
        1500,
      ),
      timed(
        'warm Mount',
        all.flatMap(({ warm }) => warm),
        100,
      ),
      timed(
        'Unmount',
        all.flatMap(({ unmount }) => unmount),
        50,
      ),
    ]
    if (volumes === 0) return rows
    const docker = connectDocker({ kind: 'unix', socket: join(host.engine.folder, 'docker.sock') })
    return [...rows, await many(host, docker, volumes, together)]
  },
)
