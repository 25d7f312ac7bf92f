import t from 'tap'
import { GuestVolumes } from '../support/vm/guest-volumes.ts'
import { slow, Vm } from '../support/vm/vm.ts'
import { Writer } from '../support/vm/writer.ts'

/**
 * A host loses its power while a container writes to a volume of it, attached in user space: what the container was told to be on
 * the disk must be there when the host has booted, and everything must have come back by itself. How often: POWER_CUTS, 1 by
 * default. kernel-life.test.ts does the same to volumes that the kernel attaches.
 */
t.setTimeout(slow(120))
const cuts = Number(process.env.POWER_CUTS || 1)
const vm = await Vm.prepare(t)
await vm.boot()
const { docker } = vm
let writer: Writer

t.test('a host with the plugin', async (t) => {
  await vm.enablePlugin('OPENEBS_ATTACH=userspace')
  await new GuestVolumes(vm).create('ledger', 'size=256M')
  writer = await Writer.start(vm, 'ledger')
  // What the Engine knows of its containers it does not sync itself: cut now, a started one can be a created one afterwards.
  await docker('exec', writer.name, 'sync')
  t.match(await docker('volume', 'inspect', '-f', '{{.Status.phase}}', 'ledger'), 'ready')
  t.match(await docker('exec', writer.name, 'grep', ' /d ', '/proc/mounts'), /^\/dev\/loop/)
})

for (let cut = 1; cut <= cuts; cut++)
  t.test(`loss of power ${cut} of ${cuts}, while the container writes`, async (t) => {
    await writer.writes(50)
    await vm.cutPower()
    const promised = writer.promised()
    await vm.boot()
    writer.follow()
    await writer.writes(1, 'the writer goes on, by itself')
    await writer.check(t, promised)
  })

t.test('the file system has no error', async (t) => {
  await writer.end()
  await docker('stop', 'initiator-ledger')
  t.match(await docker('inspect', '-f', '{{.State.ExitCode}}', 'initiator-ledger'), /^0/)
  const checked = await vm.tryDocker('exec', 'vsm-ledger', 'e2fsck', '-fn', '/lun/data.img')
  t.equal(checked.code, 0, `e2fsck: ${checked.stdout}${checked.stderr}`)
})
