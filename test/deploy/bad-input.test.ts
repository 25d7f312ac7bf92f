import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'

/** What a user gets to read who cannot have a host: one clear sentence, a status that is not 0, and nothing made. */
const repository = join(import.meta.dirname, '../..')

interface Outcome {
  status: number | null
  text: string
  /** What stands in the folder that would be .run/; undefined where it was not made. */
  made: string[] | undefined
}

/** Programs of this machine that are replaced for one call: name -> script. */
type Shims = Record<string, string>

const run = async (
  t: Tap.Test,
  script: string,
  environment: Record<string, string> = {},
  shims: Shims = {},
): Promise<Outcome> => {
  const folder = mkdtempSync(join(tmpdir(), 'deploy-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const programs = join(folder, 'bin')
  mkdirSync(programs)
  for (const [name, body] of Object.entries(shims))
    writeFileSync(join(programs, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  const runFolder = join(folder, 'run')
  const child = spawn('sh', [`deploy/${script}.sh`], {
    cwd: repository,
    env: {
      PATH: `${programs}:${process.env.PATH}`,
      HOME: folder,
      OPENEBS_RUN: runFolder,
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { status, text, made: existsSync(runFolder) ? readdirSync(runFolder) : undefined }
}

declare namespace Tap {
  type Test = Pick<typeof t, 'teardown'>
}

/** A docker command whose daemon says this of itself. */
const engine = (says: Record<string, string>): Shims => {
  const lines = Object.entries({
    version: '27.1.1',
    os: 'Debian GNU/Linux 12 (bookworm)',
    type: 'linux',
    arch: 'x86_64',
    root: '/var/lib/docker',
    security: '',
    errors: '',
    ...says,
  }).map(([name, value]) => `${name}=${value}`)
  return {
    docker: `case "$1" in
      info) cat <<'END'\n${lines.join('\n')}\nEND\n;;
      context) echo unix:///var/run/docker.sock ;;
      *) echo "touched: docker $*" >&2; exit 1 ;;
    esac`,
  }
}

t.test('a daemon that is named and cannot be reached', async (t) => {
  const away = { DOCKER_HOST: 'unix:///nonexistent/docker.sock' }
  for (const script of ['up', 'demo', 'preflight']) {
    const { status, text, made } = await run(t, script, away)
    t.not(status, 0, script)
    t.match(text, /Docker Engine at unix:\/\/\/nonexistent\/docker\.sock.*does not answer.*start it/s, script)
    t.equal(made, undefined, `${script} made nothing`)
  }
  const { status, text } = await run(t, 'status', away)
  t.equal(status, 1)
  t.match(text, /✗ daemon +unix:\/\/\/nonexistent\/docker\.sock does not answer/)
})

t.test('systems that are no Linux machine are told what to do, before anything is changed', async (t) => {
  for (const [system, name] of [
    ['Darwin', 'macOS'],
    ['MINGW64_NT-10.0', 'Windows'],
    ['FreeBSD', 'FreeBSD'],
  ] as const) {
    const { status, text, made } = await run(t, 'up', {}, { uname: `echo ${system}` })
    t.equal(status, 1, system)
    t.match(
      text,
      new RegExp(`This is ${name}.*A Linux virtual machine is needed.*limactl start`, 's'),
      system,
    )
    t.equal(made, undefined, `${system}: nothing made`)
  }
})

t.test('Docker Engines that cannot have our plugin', async (t) => {
  const cases: [string, Record<string, string>, RegExp][] = [
    ['Docker Desktop', { os: 'Docker Desktop' }, /This is Docker Desktop.*Linux virtual machine is needed/s],
    ['rootless', { security: 'name=seccomp,profile=builtin name=rootless' }, /rootless.*docker context use/],
    ['remapped users', { security: 'name=userns' }, /userns-remap.*daemon\.json/],
    ['snap', { root: '/var/snap/docker/common/var-lib-docker' }, /the snap.*apt-get install docker\.io/],
    ['too old', { version: '19.03.15' }, /is 19\.03\.15: expected 20\.10 or later/],
    ['Windows containers', { type: 'windows' }, /runs windows containers/],
  ]
  for (const [name, says, sentence] of cases) {
    const { status, text, made } = await run(t, 'up', {}, engine(says))
    t.equal(status, 1, name)
    t.match(text, sentence, name)
    t.equal(made, undefined, `${name}: nothing made`)
  }
})

t.test('a user outside of the group docker', async (t) => {
  const { status, text } = await run(
    t,
    'preflight',
    {},
    {
      docker: `case "$1" in
      context) echo unix:///var/run/docker.sock ;;
      *) echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1 ;;
    esac`,
    },
  )
  t.equal(status, 1)
  t.match(text, /may not talk to the Docker Engine.*usermod -aG docker/)
})

t.test('a port in use is named, with the setting that chooses another', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => server.close())
  const port = String((server.address() as AddressInfo).port)
  for (const setting of ['ETCD_PORT', 'ETCD_PEER_PORT', 'REGISTRATOR_PORT']) {
    const { status, text, made } = await run(t, 'preflight', { [setting]: port }, engine({}))
    t.equal(status, 1, setting)
    t.match(text, new RegExp(`port ${port} is in use by another program.*${setting}=`), setting)
    t.equal(made, undefined, 'nothing made')
  }
  const own = await run(t, 'preflight', { ETCD_PORT: port, STORE: 'etcd://192.0.2.1:2379' }, engine({}))
  t.notMatch(own.text, /in use/, 'with an etcd of the user its port is not needed')
})

t.test('settings that are none', async (t) => {
  const cases: [Record<string, string>, RegExp][] = [
    [{ STORE: 'localhost:2379' }, /STORE is localhost:2379: expected etcd:\/\/host:port/],
    [{ ETCD_PORT: 'abc' }, /'abc' is no port/],
    [{ REGISTRATOR_PORT: '123456' }, /'123456' is no port/],
  ]
  for (const [setting, sentence] of cases) {
    const { status, text, made } = await run(t, 'up', setting, engine({}))
    t.equal(status, 1, JSON.stringify(setting))
    t.match(text, sentence)
    t.equal(made, undefined, 'nothing made')
  }
})

t.test('push without a place to push to', async (t) => {
  for (const [TO, sentence] of [
    ['', /TO is not set.*make push TO=/],
    ['somewhere', /TO is somewhere: expected host\/name/],
  ] as const) {
    const { status, text } = await run(t, 'push', { TO }, engine({}))
    t.equal(status, 1)
    t.match(text, sentence)
    t.notMatch(text, /touched/, 'no daemon was asked for anything')
  }
})

t.test('env of nothing prints no exports', async (t) => {
  const { status, text } = await run(t, 'env')
  t.equal(status, 1)
  t.match(text, /nothing is set up from this clone: run make up first/)
  t.notMatch(text, /export/)
})
