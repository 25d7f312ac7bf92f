import t from 'tap'
import { PluginHost } from '../support/plugin-host.ts'

/** `docker plugin rm` erases all that the plugin keeps on the host: store, targets and data must be enough. */
const host = await PluginHost.start(t)
const { docker } = host.engine

t.test(
  'a plugin that was removed and installed anew takes its volumes up again, with their data',
  async (t) => {
    await docker('volume', 'create', '-d', 'openebs', '-o', 'size=32M', 'kept')
    await host.shell(['kept:/d'], 'echo data >/d/f; sync /d/f')
    const portal = await docker('volume', 'inspect', '-f', '{{.Status.portal}}', 'kept')
    await docker('rm', '-f', 'initiator-kept')
    await host.reinstall()
    t.equal(
      await docker('volume', 'inspect', '-f', '{{.Status.phase}} {{.Options.size}}', 'kept'),
      'ready 32M\n',
      'the first Get knows it',
    )
    t.equal(await docker('volume', 'inspect', '-f', '{{.Status.portal}}', 'kept'), portal)
    t.equal(await host.shell(['kept:/d'], 'cat /d/f'), 'data')
  },
)

t.test('so it does when the initiator still runs for the removed plugin', async (t) => {
  await host.reinstall()
  t.equal(await host.shell(['kept:/d'], 'cat /d/f'), 'data')
  await docker('volume', 'rm', 'kept')
  t.strictSame(await host.traces(), [])
})
