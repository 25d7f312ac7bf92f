import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { PluginHost, pluginProgram, sidecarImage } from '../test/support/plugin-host.ts'
import { inTurn, runBench, say } from './support/bench.ts'
import type { Row } from './support/rows.ts'
import { median, quantile, round } from './support/statistics.ts'

const run = promisify(execFile)
const about = `guard: two real Engines with the managed plugin, one of which asks it about every call (authorization plugin, enforcing). What
does that add to a call? The same call is made on one and the other in turn, over a connection that is kept, so that what the machine
does to both is in both. Then so many calls a second for some time on the Engine that asks, and the loading of an image on both.`

interface Called {
  status: number
  text: string
  ms: number
}

/** Calls of one Engine over kept connections. */
const caller = (host: PluginHost) => {
  const agent = new Agent({ keepAlive: true, maxSockets: 32 })
  const call = (method: string, path: string, body?: object): Promise<Called> => {
    const { promise, resolve, reject } = Promise.withResolvers<Called>()
    const began = performance.now()
    const options = {
      socketPath: join(host.engine.folder, 'docker.sock'),
      agent,
      method,
      path,
      headers: body ? { 'content-type': 'application/json' } : {},
    }
    request(options, (response) => {
      let text = ''
      response.on('data', (chunk) => (text += chunk))
      response.on('end', () => {
        const ms = performance.now() - began
        resolve({ status: response.statusCode ?? 0, text, ms })
      })
    })
      .once('error', reject)
      .end(body && JSON.stringify(body))
    return promise
  }
  return { call, end: () => agent.destroy() }
}
type Call = ReturnType<typeof caller>['call']

const list = async (call: Call): Promise<number> => {
  const { status, text, ms } = await call('GET', '/containers/json')
  if (status !== 200) throw new Error(`GET /containers/json: ${status} ${text}`)
  return ms
}
const create = async (call: Call): Promise<number> => {
  const made = await call('POST', '/containers/create', {
    Image: sidecarImage,
    HostConfig: { Binds: ['/etc:/x'] },
  })
  if (made.status !== 201) throw new Error(`POST /containers/create: ${made.status} ${made.text}`)
  await call('DELETE', `/containers/${JSON.parse(made.text).Id}`)
  return made.ms
}

/** The same on both Engines in turn, the first few of which do not count. */
const added = async (
  row: string,
  runs: number,
  plain: Call,
  guarded: Call,
  work: typeof list,
): Promise<Row> => {
  const [without, withGuard]: [number[], number[]] = [[], []]
  for (let n = -10; n < runs; n++) {
    const [a, b] = [await work(plain), await work(guarded)]
    if (n < 0) continue
    without.push(a)
    withGuard.push(b)
  }
  const [p50, p99] = [0.5, 0.99].map((share) => quantile(withGuard, share) - quantile(without, share))
  return {
    row: `${row}, n = ${runs}`,
    measured: `added p50 ${round(p50 ?? Number.NaN, 2)} ms, p99 ${round(p99 ?? Number.NaN, 2)} ms (without p50 ${round(median(without), 2)} ms, p99 ${round(quantile(without, 0.99), 2)} ms)`,
    must: 'added p50 1.5 ms, p99 5 ms',
    holds: (p50 ?? Number.NaN) <= 1.5 && (p99 ?? Number.NaN) <= 5,
  }
}

/** MB of memory that the plugin has. */
const memory = async (host: PluginHost): Promise<number> => {
  const [pid] = await host.processes(pluginProgram)
  const status = await host.engine.exec('cat', `/proc/${pid}/status`)
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1000
}

const sustained = async (host: PluginHost, call: Call, perSecond: number, seconds: number): Promise<Row> => {
  const errors: string[] = []
  const every = 20
  const batch = Math.round((perSecond * every) / 1000)
  const waiting = new Set<Promise<unknown>>()
  const began = performance.now()
  const seen: number[] = []
  let made = 0
  for (let tick = 0; tick * every < seconds * 1000; tick++) {
    for (let n = 0; n < batch; n++) {
      const one = list(call)
        .catch((error: unknown) => void errors.push(String(error)))
        .finally(() => waiting.delete(one))
      waiting.add(one)
      made += 1
    }
    if (tick % Math.round(5_000 / every) === 0) seen.push(await memory(host))
    await setTimeout(Math.max(0, began + (tick + 1) * every - performance.now()))
  }
  await Promise.all(waiting)
  const took = (performance.now() - began) / 1000
  seen.push(await memory(host))
  const [settled = Number.NaN, last = Number.NaN] = [seen[2], seen.at(-1)]
  return {
    row: `${perSecond} calls/s for ${seconds} s`,
    measured: `${round(made / took, 0)} calls/s, ${errors.length} errors${errors[0] ? ` (${errors[0]})` : ''}; plugin ${round(settled)} MB after 10 s, ${round(last)} MB at the end`,
    must: `${perSecond} calls/s, no error, memory flat (+10 %)`,
    holds: made / took >= perSecond * 0.98 && errors.length === 0 && last <= settled * 1.1,
  }
}

const loading = async (
  hosts: readonly PluginHost[],
  file: string,
  megabytes: number,
  runs: number,
): Promise<Row> => {
  const load = async (host: PluginHost) => {
    await host.engine.tryDocker('rmi', 'big:1')
    const began = performance.now()
    await host.engine.docker('load', '-q', '-i', file)
    return performance.now() - began
  }
  const pairs = await inTurn(
    Array.from({ length: runs }, (_, n) => n),
    () => inTurn(hosts, load),
  )
  const ratios = pairs.map(([a = Number.NaN, b = Number.NaN]) => b / a)
  return {
    row: `load of an image of ${megabytes} MB`,
    measured: `${round(median(ratios), 3)}x (${ratios.map((ratio) => round(ratio, 2)).join(', ')}); without ${round(median(pairs.map(([a = Number.NaN]) => a)) / 1000, 2)} s`,
    must: '1.05x',
    holds: median(ratios) <= 1.05,
  }
}

await runBench(
  about,
  {
    runs: [300, 'calls of each kind on each Engine'],
    rate: [500, 'calls a second'],
    seconds: [60, 'of that'],
    megabytes: [500, 'of the image that is loaded; 0 leaves that out'],
    loads: [5, 'times'],
  },
  async (t, { runs, rate, seconds, megabytes, loads }) => {
    const plain = await PluginHost.start(t)
    const guarded = await PluginHost.start(t, { authz: true, settings: { OPENEBS_GUARD: 'enforce' } })
    const [a, b] = [caller(plain), caller(guarded)]
    t.teardown(() => {
      for (const one of [a, b]) one.end()
    })
    say('calls in turn')
    const rows = [
      await added('GET /containers/json', runs, a.call, b.call, list),
      await added('POST /containers/create', runs, a.call, b.call, create),
    ]
    say(`${rate} calls a second`)
    rows.push(await sustained(guarded, b.call, rate, seconds))
    if (megabytes > 0) {
      say('loading an image')
      const file = join(tmpdir(), `guard-bench-${process.pid}.tar`)
      t.teardown(() => rm(file, { force: true }))
      const make = `mkdir x && head -c ${megabytes}000000 /dev/urandom >x/f && tar -C x -c f | docker import - big:1 >/dev/null && docker save -o "$1" big:1`
      const env = { ...process.env, DOCKER_HOST: `unix://${join(plain.engine.folder, 'docker.sock')}` }
      await run('sh', ['-euc', `d=$(mktemp -d); trap 'rm -rf "$d"' EXIT; cd "$d"; ${make}`, 'sh', file], {
        env,
      })
      rows.push(await loading([plain, guarded], file, megabytes, loads))
    }
    return rows
  },
)
