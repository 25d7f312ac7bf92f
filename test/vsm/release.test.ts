import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import manifest from '../../package.json' with { type: 'json' }
import type { ContainerSpec } from '../../plugin/container-bodies.ts'
import {
  type DoctorPlace,
  releaseLoopContainer,
  releaseMountContainer,
  surveyContainer,
} from '../../plugin/doctor/bodies.ts'
import { parseSurvey } from '../../plugin/doctor/folders.ts'
import { StorageHost, type TestVolume } from '../support/storage-host.ts'

/** What lets go of leftovers leaves alone what is alive; in the very containers that the plugin makes. */
const host = await StorageHost.start(t)
t.afterEach(() => host.clear())
const place: DoctorPlace = {
  root: host.root,
  hostMounts: host.mounts,
  image: `openebs/vsm:${manifest.version}`,
  security: [],
}

/** Runs one to its end. */
const run = async ({ name, body }: ContainerSpec) => {
  const container = await host.docker.createContainer({ name, ...body })
  await container.start()
  await container.wait()
  const state = await host.state(name)
  await container.remove()
  return state
}
const loopOf = async (volume: TestVolume): Promise<string> => {
  const mounted = await host.engine.exec('cat', '/proc/self/mountinfo')
  const line = mounted.split('\n').find((one) => one.includes(` ${join(host.mounts, volume.volume.name)} `))
  return line?.match(/\/dev\/(loop\d+)/)?.[1] ?? ''
}
const backing = async (loop: string) =>
  (await readFile(`/sys/block/${loop}/loop/backing_file`, 'utf8').catch(() => '')).trim()

t.test(
  'a mount that is served and a loop device that is read stay; those of a dead initiator go',
  async (t) => {
    const volume = host.volume('alive')
    await volume.mount()
    const loop = await loopOf(volume)
    t.match(loop, /^loop\d+$/)
    const served = await run(releaseMountContainer('alive', place))
    t.match(served, { code: 75, log: /an initiator of volume alive runs on this host/ })
    t.match(await run(releaseLoopContainer(loop, place)), { code: 65, log: /is not dead: it is left alone/ })
    t.equal(await loopOf(volume), loop)
    t.match(await run(releaseMountContainer('../x', place)), { code: 64, log: /not a volume's name/ })
    t.match(await run(releaseLoopContainer('sda', place)), { code: 64, log: /not a loop device/ })

    await host.engine.docker('rm', '-f', volume.initiator)
    t.equal(await loopOf(volume), loop, 'the mount of a killed one stays')
    t.match(await run(releaseMountContainer('alive', place)), { code: 0, log: /unmounting what was left/ })
    t.equal(await loopOf(volume), '')
    // an initiator of another test may have been quicker, and another have the number by now: it is left alone (65)
    t.match((await run(releaseLoopContainer(loop, place))).code, /^(0|65)$/)
    t.not(await backing(loop), '/', 'no dead file is behind it any more')
    for (const again of [releaseMountContainer('alive', place), releaseLoopContainer(loop, place)])
      t.match(
        (await run(again)).code,
        /^(0|65)$/,
        'what is gone is success, or by now another has the number',
      )
    await volume.attach()
    t.ok(await stat(await volume.data()), 'and it can be attached anew')
  },
)

t.test('the survey tells of folders and changes none', async (t) => {
  const volume = host.volume('kept')
  await volume.serve()
  t.equal((await volume.provision()).code, 0)
  await host.engine.exec('mkdir', join(host.root, 'empty'), join(host.root, '-odd'), join(host.root, 'a b'))
  await host.engine.exec('ln', '-s', 'kept', join(host.root, 'link'))
  const { code, log } = await run(surveyContainer(place))
  t.equal(code, 0)
  const found = parseSurvey(log).sort((a, b) => (a.name < b.name ? -1 : 1))
  t.match(found, [
    { name: 'empty', marker: 'none', uuid: undefined, used: 0 },
    { name: 'kept', marker: 'volume', uuid: volume.volume.uuid, volume: 'kept' },
  ])
  t.equal(found.length, 2)
  t.ok((found[1]?.used ?? 0) > 0)
})
