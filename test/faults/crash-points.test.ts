import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Call, calls } from '../../plugin/volume-calls.ts'
import type { Ran } from '../support/engine-host.ts'
import { PluginHost, sidecarImage } from '../support/plugin-host.ts'
import { registrator } from '../support/registrator.ts'

/** The plugin is killed after every step of every call on a volume: it is finished then, or undone, without a trace. */

type Outcome = 'finished' | 'undone'

/** What comes of a call whose plugin died after this step, before the user repeats anything. */
const outcomes: Record<string, Outcome> = {
  'create:claim': 'finished',
  'create:record': 'finished',
  'create:image': 'finished',
  'create:container': 'finished',
  'create:lun': 'finished',
  'create:portal': 'finished',
  'create:target': 'finished',
  'mount:count': 'undone',
  'mount:claim': 'undone',
  'mount:attachment': 'undone',
  'mount:containers': 'undone',
  'mount:served': 'undone',
  'unmount:count': 'finished',
  'unmount:flush': 'finished',
  'grow:room': 'undone',
  'grow:record': 'finished',
  'grow:lun': 'finished',
  'grow:file-system': 'finished',
  'remove:unused': 'undone',
  'remove:mark': 'finished',
  'remove:record': 'finished',
  'remove:initiator': 'finished',
  'remove:target': 'finished',
  'remove:data': 'finished',
  'remove:secret': 'finished',
  'remove:records': 'finished',
  'remove:forgotten': 'finished',
}

const host = await PluginHost.start(t)
const { docker, tryDocker } = host.engine
/** No other host's: loop devices are the whole machine's. */
const name = `life-${process.pid}`
const create = ['volume', 'create', '-d', 'openebs', '-o', 'size=16M', name]
const write = `echo kept >/d/kept; sync /d/kept; sync /d; echo ready; exec sleep 1000`
const run = [
  ...['run', '-d', '--name', 'writer', '--network', 'none', '-v', `${name}:/d`],
  ...['--entrypoint', 'sh', sidecarImage, '-euc', write],
]

/** What `docker volume inspect` shows of the volume; '' where there is none. */
const shown = async (what: string): Promise<string> =>
  (await tryDocker('volume', 'inspect', '-f', `{{.Status.${what}}}`, name)).stdout.trim()
const isWhole = async (): Promise<boolean> => {
  const keys = await host.keys()
  const running = await docker('ps', '--format', '{{.Names}}')
  return (
    (await shown('phase')) === 'ready' &&
    [`volumes/${name}`, `targets/${host.name}/${name}`].every((key) => keys.includes(key)) &&
    running.split('\n').includes(`vsm-${name}`)
  )
}
/** MiB that the target serves. */
const lunSize = async (): Promise<number> =>
  Number((await tryDocker('exec', `vsm-${name}`, 'cat', '/run/openebs/size')).stdout) / 2 ** 20
const isUsed = async (times: number): Promise<boolean> => (await shown('uses')) === String(times)

/** Everything that volumes left on the host. */
const traces = async (): Promise<string[]> => {
  const loops = (await readdir('/sys/block')).filter((device) => device.startsWith('loop'))
  const files = await Promise.all(
    loops.map((loop) => readFile(`/sys/block/${loop}/loop/backing_file`, 'utf8').catch(() => '')),
  )
  const state = await host.state()
  const kept = await Promise.all(
    ['volumes', 'mounts', 'secrets'].map((folder) => readdir(join(state, folder))),
  )
  return [...(await host.traces()), ...files.filter((file) => file.includes(name)), ...kept.flat().sort()]
}
const areGone = async (): Promise<boolean> => JSON.stringify(await traces()) === JSON.stringify(empty)

/** What shows that a call on the volume is finished or undone. */
const signs: Record<Call, Record<Outcome, () => Promise<boolean>>> = {
  create: { finished: isWhole, undone: areGone },
  mount: { finished: () => isUsed(1), undone: () => isUsed(0) },
  unmount: { finished: () => isUsed(0), undone: () => isUsed(1) },
  grow: { finished: async () => (await lunSize()) === 32, undone: async () => (await lunSize()) === 16 },
  remove: { finished: areGone, undone: isWhole },
}

// it is not to notice any of it
await docker('volume', 'create', '-d', 'openebs', '-o', 'size=16M', 'witness')
await host.service(
  'witness',
  'witness:/d',
  'echo began; while :; do date >/d/now; sync /d/now; sleep 0.1; done',
)
await host.until('it is registered', async () => (await host.keys('targets/')).length === 1)
const empty = await traces()

t.test('there is a test of each step', async (t) => {
  const steps = Object.entries(calls).flatMap(([call, names]) => names.map((name) => `${call}:${name}`))
  t.strictSame(Object.keys(outcomes), steps)
})

/** One volume after the other, all of one name; in the nth life the plugin dies after the nth step of each call. */
const lives = Math.max(...Object.values(calls).map((steps) => steps.length))
for (let life = 0; life < lives; life++) {
  const at = (call: Call): string | undefined => {
    const step = `${call}:${calls[call][life]}`
    return step in outcomes && step.includes(process.env.FAULT ?? '') ? step : undefined
  }
  const steps = (Object.keys(calls) as Call[]).flatMap((call) => at(call) ?? [])
  if (steps.length === 0) continue

  t.test(`the plugin dies after ${steps.join(', ')}`, async (t) => {
    t.teardown(async () => {
      // where it failed half-way
      await tryDocker('rm', '-f', 'writer')
      await tryDocker('volume', 'rm', name)
    })
    await creates(t, at('create'))
    await mounts(t, at('mount'))
    await unmounts(t, at('unmount'))
    await grows(t, at('grow'))
    await removes(t, at('remove'))
  })
}

t.test('a container on another volume has noticed nothing of it', async (t) => {
  t.equal((await docker('logs', 'witness')).trim(), 'began')
  await docker('rm', '-f', 'witness')
  await docker('volume', 'rm', 'witness')
})

/** Runs the command, with the plugin dying after the step if there is one, and waits for what is to come of it. */
async function perform(
  t: Test,
  call: Call,
  step: string | undefined,
  command: string[] | (() => Promise<Ran>),
): Promise<Outcome> {
  const run = typeof command === 'function' ? command : () => tryDocker(...command)
  if (!step) {
    const { code, stderr } = await run()
    t.equal(code, 0, `${call} succeeds${code === 0 ? '' : `: ${stderr}`}`)
    return 'finished'
  }
  const { code, stderr } = await host.killAfter(step, run)
  t.comment(`${step}: the command ended with ${code} ${stderr.trim().split('\n')[0]}`)
  const outcome = outcomes[step] ?? 'finished'
  await host.until(`${step} is ${outcome}`, signs[call][outcome])
  return outcome
}

async function creates(t: Test, step?: string): Promise<void> {
  await perform(t, 'create', step, create)
  await docker(...create)
  t.ok(await isWhole(), `${step ?? 'create'}: the volume is whole, and a repeated create succeeds`)
}

async function mounts(t: Test, step?: string): Promise<void> {
  if ((await perform(t, 'mount', step, run)) === 'undone') {
    await docker('rm', '-f', 'writer')
    await docker(...run)
  }
  await host.until('the container has written', async () =>
    (await docker('logs', 'writer')).includes('ready'),
  )
  t.ok(await isUsed(1), `${step ?? 'mount'}: one container uses the volume`)
}

async function unmounts(t: Test, step?: string): Promise<void> {
  await perform(t, 'unmount', step, ['rm', '-f', 'writer'])
  t.ok(await isUsed(0), `${step ?? 'unmount'}: no container uses the volume`)
  await isIntact(t, step)
}

async function grows(t: Test, step?: string): Promise<void> {
  if (!step) return
  await perform(t, 'grow', step, () => registrator(host, 'volumes', 'grow', name, '32M'))
  await host.until('the plugin takes requests', async () => (await host.keys('alive/')).length === 1)
  t.match(await registrator(host, 'volumes', 'grow', name, '32M'), { code: 0 }, `${step}: it can be repeated`)
  t.equal(await lunSize(), 32)
  const room = '[ $(($(stat -f -c %b /d) * $(stat -f -c %S /d))) -gt 25000000 ]; cat /d/kept'
  t.equal(
    await host.shell([`${name}:/d`], room),
    'kept',
    `${step}: its file system grows, the data are intact`,
  )
}

async function removes(t: Test, step?: string): Promise<void> {
  if ((await perform(t, 'remove', step, ['volume', 'rm', name])) === 'undone') {
    await isIntact(t, step)
    await docker('volume', 'rm', name)
  }
  t.strictSame(await traces(), empty, `${step ?? 'remove'}: nothing is left`)
  t.match(
    (await tryDocker('volume', 'rm', name)).stderr,
    /no such volume/i,
    'a repeated removal finds nothing',
  )
}

async function isIntact(t: Test, step = 'unmount'): Promise<void> {
  t.equal(await host.shell([`${name}:/d`], 'cat /d/kept'), 'kept', `${step}: the data are intact`)
}
