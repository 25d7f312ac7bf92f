import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'

/** What purge and down may touch: only what make up noted, and only what is ours by name and by label. */
const repository = join(import.meta.dirname, '../..')

interface Outcome {
  status: number | null
  text: string
  /** What the daemon was asked for, a line each. */
  asked: string
}

/** A daemon of another machine: files and processes of the one that runs the tests are no matter, and stay as they are. */
const ENGINE = 'tcp://192.0.2.1:2376'

/** Answers of the docker command: shell patterns of its words -> script. */
type Answers = Record<string, string>

/** A Docker Engine that has all that make up makes, and volumes v1 and v2 in the folder. */
const whole: Answers = {
  'info*SystemTime*': 'echo 2026-01-01T00:00:00Z',
  'info*Authorization*': ':',
  'info*': "printf '%s\\n' version=27.1.1 type=linux arch=x86_64 root=/var/lib/docker os=Debian",
  'context*': `echo ${ENGINE}`,
  'run*volume.json*': "printf '%s\\n' v1 v2",
  'volume inspect*Driver*': 'echo openebs:latest',
  'volume inspect*Labels*': 'echo etcd',
  'container inspect*openebs-etcd': 'echo etcd',
  'container inspect*openebs-registrator': 'echo registrator',
  'container inspect*openebs-iscsid': 'echo iscsid',
  'plugin inspect*Description*': "echo 'Volumes (0.1.0, build 0123456789ab)'",
  'plugin inspect*Enabled*': 'echo true',
  'plugin inspect*Id*': 'echo 0123',
  'image inspect*': ':',
}

const inClone = async (
  t: { teardown: (end: () => void) => unknown },
  script: string,
  state: Record<string, string>,
  environment: Record<string, string> = {},
  answers: Answers = {},
): Promise<Outcome> => {
  const clone = mkdtempSync(join(tmpdir(), 'deploy-'))
  t.teardown(() => rmSync(clone, { recursive: true, force: true }))
  // A copy, as purge erases build/ beside deploy/.
  cpSync(join(repository, 'deploy'), join(clone, 'deploy'), { recursive: true })
  cpSync(join(repository, 'package.json'), join(clone, 'package.json'))
  mkdirSync(join(clone, '.run'))
  const lines = Object.entries(state).map(([name, value]) => `${name}=${value}\n`)
  writeFileSync(join(clone, '.run/state'), lines.join(''))
  mkdirSync(join(clone, 'bin'))
  // The first pattern that fits answers; in one, a space would end the word.
  const cases = [...Object.entries(answers), ...Object.entries(whole)]
  writeFileSync(
    join(clone, 'bin/docker'),
    `#!/bin/sh\necho "docker $*" >>${clone}/asked\ncase "$*" in\n${cases
      .map(([pattern, body]) => `${pattern.replaceAll(' ', '\\ ')}) ${body} ;;`)
      .join('\n')}\nesac\n`,
    { mode: 0o755 },
  )
  const child = spawn('sh', [`deploy/${script}.sh`], {
    cwd: clone,
    env: { PATH: `${clone}/bin:${process.env.PATH}`, HOME: clone, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
  const log = join(clone, 'asked')
  return { status, text, asked: existsSync(log) ? readFileSync(log, 'utf8') : '' }
}

const STORE = 'etcd://192.0.2.1:2379'
const ours = { ENGINE, STORE, ROOT: '/srv/ours', ROOT_ADDED: '/srv/ours' }
const erased = (folder: string) => new RegExp(`docker run .*--entrypoint rm .*/parent/${folder}$`, 'm')

t.test('purge erases the folder that make up made, whatever ROOT says by now', async (t) => {
  const { status, text, asked } = await inClone(t, 'purge', ours, { ROOT: '/srv/foreign', FORCE: '1' })
  t.equal(status, 0, text)
  t.notMatch(text + asked, /foreign/, 'the folder of the environment is named nowhere')
  t.match(asked, /-v \/srv:\/parent --entrypoint rm/)
  t.match(asked, erased('ours'))
  t.match(asked, /docker volume rm v1/)
  t.match(
    asked,
    /docker plugin rm -f openebs\n(.*\n)*docker rm -f openebs-iscsid/,
    'no initiator can come any more',
  )
})

t.test('purge erases no folder that make up did not make', async (t) => {
  for (const state of [
    { ...ours, ROOT_ADDED: 'no' },
    { ...ours, ROOT_ADDED: '/srv/other' },
    { ENGINE, STORE },
  ]) {
    const { status, text, asked } = await inClone(t, 'purge', state, { ROOT: '/srv/foreign', FORCE: '1' })
    t.equal(status, 0, text)
    t.notMatch(text + asked, /foreign/)
    t.notMatch(asked, /--entrypoint rm /, 'nothing is erased')
  }
})

t.test("purge leaves another driver's volume alone that has a folder's name", async (t) => {
  const answers = { 'volume inspect*Driver*v1': 'echo local', 'volume inspect*Driver*v2': 'echo openebs' }
  const { status, text, asked } = await inClone(t, 'purge', ours, { FORCE: '1' }, answers)
  t.equal(status, 0, text)
  t.notMatch(asked, /docker volume rm v1/)
  t.match(asked, /docker volume rm v2/)
})

t.test('purge and down leave what only has our names', async (t) => {
  const answers = {
    'container inspect*Labels*': 'echo',
    'volume inspect*Labels*': 'echo',
    'plugin inspect*Description*': "echo 'Somebody else (build of his)'",
  }
  for (const script of ['purge', 'down']) {
    const { status, text, asked } = await inClone(t, script, ours, { FORCE: '1' }, answers)
    t.equal(status, 0, text)
    t.notMatch(asked, /docker (stop|rm|plugin (disable|rm|enable)|volume rm openebs-etcd)/, script)
  }
})

t.test('make up where others have our names', async (t) => {
  const cases: [Answers, RegExp][] = [
    [
      { 'container inspect*Labels*': 'echo' },
      /a container called openebs-etcd is there that make up did not make/,
    ],
    [
      { 'plugin inspect*Description*': 'echo Else' },
      /a plugin called openebs is there that make up did not make/,
    ],
    [{ 'volume inspect*Labels*': 'echo' }, /a volume called openebs-etcd is there that make up did not make/],
  ]
  for (const [answers, sentence] of cases) {
    const { status, text, asked } = await inClone(t, 'up', {}, {}, answers)
    t.equal(status, 1)
    t.match(text, sentence)
    t.notMatch(asked, /docker (run|create|rm|stop|volume create|plugin (create|disable|set|rm))/)
  }
})

t.test('etcd.sh and sidecar.sh take no container away that only has the name', async (t) => {
  for (const script of ['etcd', 'sidecar']) {
    // docker run fails as the daemon's would, where the name is taken.
    const answers = { 'container inspect*Labels*': 'echo', 'run -d*': 'exit 125' }
    const { status, asked } = await inClone(t, script, { ...ours, STORE: '' }, {}, answers)
    t.not(status, 0)
    t.notMatch(asked, /docker (stop|rm|container rm)/)
  }
})

t.test('a daemon of another host that has the plugin as authorization plugin', async (t) => {
  for (const script of ['purge', 'down']) {
    const { status, text, asked } = await inClone(
      t,
      script,
      ours,
      { FORCE: '1' },
      { 'info*Authorization*': 'echo openebs:latest' },
    )
    t.not(status, 0)
    t.match(
      text,
      /at tcp:\/\/192\.0\.2\.1:2376 has openebs as authorization plugin.*daemon\.json.*on that host/s,
    )
    t.notMatch(asked, /plugin (disable|rm)/)
  }
})

t.test('STORE=own goes back from a remembered etcd to the own one', async (t) => {
  // Of an up that ends at a name which is taken: the one that only matters with an etcd of our own.
  const answers = { 'volume inspect*Labels*': 'echo' }
  const own = await inClone(t, 'up', ours, { STORE: 'own' }, answers)
  t.match(own.text, /a volume called openebs-etcd is there that make up did not make/)
  const remembered = await inClone(t, 'env', ours)
  t.match(
    remembered.text,
    /ETCDCTL_ENDPOINTS='http:\/\/192\.0\.2\.1:2379'/,
    'without it the remembered one counts',
  )
  const env = await inClone(t, 'env', ours, { STORE: 'own' })
  t.match(env.text, /ETCDCTL_ENDPOINTS='http:\/\/127\.0\.0\.1:2379'/)
})

t.test('make up with another ROOT than that of the volumes there are', async (t) => {
  const { status, text, asked } = await inClone(t, 'up', ours, { ROOT: '/srv/foreign' })
  t.equal(status, 1)
  t.match(text, /volumes of this clone are in \/srv\/ours: make purge first, or leave ROOT as it was/)
  t.equal(asked, '', 'no daemon was asked for anything')
})
