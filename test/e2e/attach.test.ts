import t from 'tap'
import { PluginHost, sidecarImage } from '../support/plugin-host.ts'

/** An Engine in a network namespace of its own has no iSCSI of the kernel, whatever modules that has loaded. */
const host = await PluginHost.start(t, { settings: { OPENEBS_ATTACH: 'kernel' } })
const { docker, tryDocker } = host.engine

t.test('where the kernel cannot attach, asking for it is an error that says so, at once', async (t) => {
  await docker('volume', 'create', '-d', 'openebs', '-o', 'size=64M', 'data')
  const began = performance.now()
  const { code, stderr } = await tryDocker(
    ...['run', '--rm', '-v', 'data:/d', '--entrypoint', 'true', sidecarImage],
  )
  t.not(code, 0)
  t.match(
    stderr,
    /OPENEBS_ATTACH=kernel, but this .*(modprobe iscsi_tcp|network namespace of its own).*OPENEBS_ATTACH=auto/,
  )
  t.ok(performance.now() - began < 15_000, 'it does not wait for what cannot come')
  t.notMatch(
    await docker('ps', '-a', '--format', '{{.Names}}'),
    /initiator-|openebs-iscsid/,
    'nothing was made for it',
  )
})

t.test('auto attaches in user space there', async (t) => {
  await docker('plugin', 'disable', '-f', 'openebs')
  await docker('plugin', 'set', 'openebs', 'OPENEBS_ATTACH=auto')
  await docker('plugin', 'enable', 'openebs')
  await host.service('app', 'data:/d', 'while :; do sleep 1; done')
  t.match(await docker('exec', 'app', 'grep', ' /d ', '/proc/mounts'), /^\/dev\/loop/)
  await host.until(
    'inspect tells how',
    async () =>
      (await docker('volume', 'inspect', '-f', '{{.Status.attach}}', 'data')).trim() === 'userspace',
  )
  await host.tidy()
})
