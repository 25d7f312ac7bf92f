import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { PluginHost, sidecarImage } from '../support/plugin-host.ts'

/** Volumes as docker-compose and a swarm of one node ask for them, with the programs as people run them. */
const host = await PluginHost.start(t)
const { docker, tryDocker } = host.engine
const before = await host.traces()

/** Appends its name and goes on; what it said before it stands in /d/log, and is printed at the start. */
const writer = (name: string) =>
  `cat /d/log 2>/dev/null || echo none; echo ${name} >>/d/log; sync /d/log; echo written; exec sleep 1000`

t.test('docker-compose: up, an update, down and up again find the data; down -v removes them', async (t) => {
  const file = join(host.engine.folder, 'docker-compose.yml')
  const compose = async (...args: string[]) => {
    const env = { ...process.env, DOCKER_HOST: host.engine.endpoint, COMPOSE_PROJECT_NAME: 'app' }
    await promisify(execFile)('docker-compose', ['-f', file, ...args], { env })
  }
  const write = (name: string) =>
    writeFile(
      file,
      JSON.stringify({
        version: '3.7',
        services: {
          web: {
            image: sidecarImage,
            entrypoint: ['sh', '-euc', writer(name)],
            volumes: ['data:/d'],
            network_mode: 'none',
            init: true,
          },
        },
        // docker-compose compares it with what the Engine calls it, which has the tag
        volumes: { data: { driver: 'openebs:latest', driver_opts: { size: '64M', fs: 'ext4' } } },
      }),
    )
  const said = async () => {
    await host.until('the service has written', async () => (await logs()).includes('written'))
    return (await logs()).trim().split('\n')
  }
  const logs = () => docker('logs', 'app_web_1')
  t.teardown(() => compose('down', '-v'))

  await write('first')
  await compose('up', '-d')
  t.strictSame(await said(), ['none', 'written'])
  t.match(JSON.parse(await docker('volume', 'inspect', 'app_data'))[0], {
    Driver: 'openebs:latest',
    Options: { size: '64M' },
    Status: { phase: 'ready', uses: 1 },
  })
  await write('second')
  await compose('up', '-d')
  t.strictSame(await said(), ['first', 'written'], 'the container that takes its place')
  await compose('down')
  await compose('up', '-d')
  t.strictSame(await said(), ['first', 'second', 'written'], 'after down and up')
  await compose('down', '-v')
  t.strictSame(await host.traces(), before, 'nothing is left')
})

t.test('a service of a swarm: its volume is made by its task, and kept from task to task', async (t) => {
  // an Engine asks a registry for the image first: one that refuses at once
  const image = '127.0.0.1:1/app:1'
  await docker('tag', sidecarImage, image)
  await docker('swarm', 'init', '--advertise-addr', await host.engine.address())
  t.teardown(async () => {
    await docker('swarm', 'leave', '--force')
    await docker('image', 'rm', image)
  })
  const mount = 'type=volume,source=kept,target=/d,volume-driver=openebs,volume-opt=size=64M'
  await docker(
    ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'app', '--init', '--mount', mount],
    ...[
      '--entrypoint',
      'sh',
      '--stop-grace-period',
      '2s',
      '--restart-delay',
      '0s',
      image,
      '-euc',
      writer('task'),
    ],
  )
  /** The container of the task that runs, unless it is `not` another one. */
  const running = async (not = ''): Promise<string> => {
    let id = ''
    await host.until('a task runs and has written', async () => {
      const filters = ['--filter', 'label=com.docker.swarm.service.name=app', '--filter', 'status=running']
      id = (await docker('ps', '-q', '--no-trunc', ...filters)).trim()
      return id !== '' && id !== not && (await docker('logs', id)).includes('written')
    })
    return id
  }
  const first = await running()
  t.equal(await docker('logs', first), 'none\nwritten\n')
  t.match(JSON.parse(await docker('volume', 'inspect', 'kept'))[0], {
    Options: { size: '64M' },
    Status: { phase: 'ready', attached: 'h1', uses: 1 },
  })

  await docker('kill', first)
  const second = await running(first)
  t.equal(await docker('logs', second), 'task\nwritten\n', 'the task that takes the place of one that died')
  await docker('service', 'update', '--detach', '--force', 'app')
  const third = await running(second)
  t.equal(await docker('logs', third), 'task\ntask\nwritten\n', 'the task of an update')

  t.match(await tryDocker('volume', 'rm', 'kept'), { code: 1, stderr: /in use/ })
  await docker('service', 'rm', 'app')
  await host.until(
    'its containers are gone',
    async () => (await tryDocker('volume', 'rm', 'kept')).code === 0,
  )
  t.strictSame(
    (await host.traces()).filter((line) => !before.includes(line)),
    [],
    'nothing is left',
  )
})
