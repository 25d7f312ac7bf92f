import t from 'tap'
import { PluginHost, sidecarImage } from '../support/plugin-host.ts'

/** A daemon that is stopped in good order waits for containers that take their time, and loses nothing that they write meanwhile. */
const host = await PluginHost.start(t)
const { docker } = host.engine
const seconds = 20

/** Appends a line every 50 ms, and syncs none. When it is to stop it goes on for as long as it was said to take. */
const consumer = `
write() { n=$((n + 1)); echo $n >>/d/lines; sleep 0.05; }
stop() {
  echo stopping
  end=$(($(date +%s) + ${seconds}))
  while [ "$(date +%s)" -lt $end ]; do write; done
  echo "wrote $n"
  exit 0
}
trap stop TERM
touch /d/lines
n=$(tail -n 1 /d/lines); n=\${n:-0}
echo "found $n in $(wc -l </d/lines) lines"
while :; do write; done`

const volumes = ['ext4', 'xfs'].map((fs) => ({ fs, name: `slow-${fs}`, container: `on-${fs}` }))
for (const { fs, name, container } of volumes) {
  await docker('volume', 'create', '-d', 'openebs', '-o', 'size=320M', '-o', `fs=${fs}`, name)
  await docker(
    ...[
      'run',
      '-d',
      '--name',
      container,
      '--restart',
      'always',
      '--network',
      'none',
      '--volume',
      `${name}:/d`,
    ],
    ...['--stop-timeout', '60', '--entrypoint', 'sh', sidecarImage, '-euc', consumer],
  )
}
const said = async (container: string) => (await docker('logs', container)).trim().split('\n')

t.test(`a clean stop of the daemon, with containers that take ${seconds} s`, async (t) => {
  for (const { container } of volumes)
    await host.until('it runs', async () => (await said(container)).length > 0)
  const began = performance.now()
  await host.restart('TERM')
  t.ok(performance.now() - began > seconds * 1000, 'the daemon has waited for them')
  for (const { fs, container } of volumes) {
    const again = async () => (await said(container)).filter((line) => line.startsWith('found')).length === 2
    await host.until('it is back, by itself', again)
    const [, , wrote, found] = await said(container)
    const count = Number(/^wrote (\d+)$/.exec(wrote ?? '')?.[1])
    t.ok(count > seconds * 5, `${fs}: it wrote ${count} lines`)
    t.equal(found, `found ${count} in ${count} lines`, `${fs}: all of them are there`)
  }
})

t.test('nothing is left of it', async (t) => {
  await docker('rm', '-f', ...volumes.map(({ container }) => container))
  await docker('volume', 'rm', ...volumes.map(({ name }) => name))
  t.strictSame(await host.traces(), [])
})
