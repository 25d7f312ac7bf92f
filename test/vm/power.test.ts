import { createInterface } from 'node:readline'
import t from 'tap'
import { sidecarImage } from '../support/plugin-host.ts'
import { slow, Vm } from '../support/vm/vm.ts'

/**
 * A host loses its power while a container writes to a volume of it: what the container was told to be on the disk must be
 * there when the host has booted, and everything must have come back by itself. How often: POWER_CUTS, 2 by default.
 */
t.setTimeout(slow(120))
const cuts = Number(process.env.POWER_CUTS || 2)
const vm = await Vm.prepare(t)
await vm.boot()
const { docker } = vm

// A line counts only when it is printed, after its fsync. Each run goes on after the last line that it finds, under a mark of its
// own: a line that was lost and written anew is another line. All are 16 bytes long, so that none lies across two blocks of the
// disk, of which a loss of power may let one through.
const writer = `
f=/d/lines; touch $f; n=$(grep -c . $f || true); run=$(head -c 6 /proc/sys/kernel/random/uuid)
while :; do
  n=$((n + 1)); line=$(printf '%08d %s' "$n" "$run")
  echo "$line" >>$f; sync $f; echo "$line"
done`

/** Every line that reaches the outside before the connection breaks, by its number. */
const acknowledged = new Map<number, string>()
const follow = () => {
  const process = vm.dockerProcess('logs', '--follow', '--tail', '1', 'writer')
  if (process.stdout)
    createInterface(process.stdout).on('line', (line) => {
      if (/^\d{8} [\da-f]{6}$/.test(line)) acknowledged.set(Number(line.slice(0, 8)), line)
    })
  return process
}

t.test('a host with the plugin', async (t) => {
  await vm.enablePlugin()
  await docker('volume', 'create', '-d', 'openebs', '-o', 'size=256M', 'ledger')
  await docker(
    ...['run', '-d', '--name', 'writer', '--restart', 'always', '--network', 'none', '-v', 'ledger:/d'],
    ...['--entrypoint', 'sh', sidecarImage, '-euc', writer],
  )
  // What the Engine knows of its containers it does not sync itself: cut now, a started one can be a created one afterwards.
  await docker('exec', 'writer', 'sync')
  t.match(await docker('volume', 'inspect', '-f', '{{.Status.phase}}', 'ledger'), 'ready')
})

for (let cut = 1; cut <= cuts; cut++)
  t.test(`loss of power ${cut} of ${cuts}, while the container writes`, async (t) => {
    const before = follow()
    const enough = acknowledged.size + 50
    await vm.until('fifty more lines are acknowledged', async () => acknowledged.size >= enough)
    await vm.cutPower()
    before.kill()
    const promised = [...acknowledged]
    t.comment(`${promised.length} lines were acknowledged`)

    await vm.boot()
    await vm.until('the writer runs again, by itself', async () => {
      const { stdout } = await vm.tryDocker('inspect', '-f', '{{.State.Running}}', 'writer')
      return stdout.trim() === 'true'
    })
    const after = follow()
    const [last = 0] = promised.at(-1) ?? []
    await vm.until('it writes on', async () => [...acknowledged.keys()].some((number) => number > last))
    after.kill()
    const lines = (await docker('exec', 'writer', 'cat', '/d/lines')).split('\n').slice(0, -1)
    const lost = promised.filter(([number, line]) => lines[number - 1] !== line)
    t.strictSame(lost, [], 'every acknowledged line is there')
    const wrong = lines.findIndex((line, index) => Number(line.slice(0, 8)) !== index + 1)
    t.equal(wrong, -1, 'all lines are in order, without a gap')
  })

t.test('the file system has no error', async (t) => {
  await docker('stop', 'writer')
  await docker('stop', 'initiator-ledger')
  t.match(await docker('inspect', '-f', '{{.State.ExitCode}}', 'initiator-ledger'), /^0/)
  const checked = await vm.tryDocker('exec', 'vsm-ledger', 'e2fsck', '-fn', '/lun/data.img')
  t.equal(checked.code, 0, `e2fsck: ${checked.stdout}${checked.stderr}`)
})
