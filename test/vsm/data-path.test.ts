import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { until } from '../../process/backoff.ts'
import { newPassword } from '../../vsm/chap.ts'
import { StorageHost, type TestVolume } from '../support/storage-host.ts'

/** Both ends of a volume in a real Engine: what a container was told is on disk is there, whatever ends or dies. */
const host = await StorageHost.start(t)
t.afterEach(() => host.clear())
const MiB = 2 ** 20

/** Writes random bytes in a container that uses the volume; `options` are dd's. */
const write = (container: string, file: string, megabytes: number, ...options: string[]) => {
  const dd = ['dd', 'if=/dev/urandom', `of=/data/${file}`, 'bs=1M', `count=${megabytes}`, 'status=none']
  return host.engine.docker('exec', container, ...dd, ...options)
}

/** Writes blocks at random and reads them back, on this machine; a block that is not what was written ends it with an error. */
const fio = async (
  volume: TestVolume,
  shape: { bs: string; depth: number; size: string },
  ...more: string[]
) => {
  const { bs, depth, size } = shape
  const where = [`--filename=${await volume.data(`fio.${bs}`)}`, '--ioengine=libaio', '--direct=1']
  const load = ['--rw=randwrite', `--bs=${bs}`, `--iodepth=${depth}`, `--size=${size}`, '--end_fsync=1']
  const check = ['--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--output-format=terse']
  return new Promise<{ code: number; said: string }>((resolve) => {
    execFile(
      'fio',
      ['--name=verify', '--verify_state_save=0', ...where, ...load, ...check, ...more],
      (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code) : 0, said: error ? stdout + stderr : '' }),
    )
  })
}

/** Waits until fio has begun to write. */
const underWay = async (volume: TestVolume, bs: string) => {
  const file = await volume.data(`fio.${bs}`)
  const blocks = async () => ((await stat(file).catch(() => undefined))?.blocks ? true : undefined)
  return until(blocks, { ms: 10_000, every: 10 })
}

/** When each fdatasync that succeeded was done, in ms since 1970, as `strace -f -ttt -T` tells it. */
const syncs = (trace: string): number[] =>
  trace.split('\n').flatMap((line) => {
    const [, at, call, took] =
      /(\d+\.\d+) (fdatasync\(\d+\)|<\.\.\. fdatasync resumed>.*) += 0 <(\d+\.\d+)>/.exec(line) ?? []
    if (!at || !call) return []
    // the time of a call is that of its begin; of one that another interrupted here, that of its end
    return [1000 * (Number(at) + (call.startsWith('<') ? 0 : Number(took)))]
  })

/** The loop device that the volume is mounted from. Other tests have devices on the same kernel, at the same time. */
const loopOf = async (volume: TestVolume) => {
  const mounted = join(host.mounts, volume.volume.name)
  const source = await host.engine.exec('findmnt', '--noheadings', '--output', 'SOURCE', mounted)
  return source.trim().replace('/dev/', '')
}
/** The file that a loop device shows; "/" is one whose qemu-storage-daemon was killed. */
const backing = async (loop: string) =>
  (await readFile(`/sys/block/${loop}/loop/backing_file`, 'utf8').catch(() => '')).trim()

const detachesCleanly = async (t: Test, volume: TestVolume) => {
  const loop = await loopOf(volume)
  const file = `/run/openebs/exports/${volume.volume.name}.lun`
  t.equal(await backing(loop), file)
  const { code, log } = await volume.detach()
  t.equal(code, 0, `the initiator ends with status 0${code ? `: ${log}` : ''}`)
  t.not(await backing(loop), file, 'its loop device is free')
  const { code: dirty, stdout } = await volume.fsck()
  t.equal(dirty, 0, `the file system is clean${dirty ? `: ${stdout}` : ''}`)
}

t.test('data are there when both ends were made anew', async (t) => {
  const volume = host.volume('kept')
  await volume.mount()
  await volume.use('writer')
  await write('writer', 'synced', 16, 'conv=fsync')
  await write('writer', 'unsynced', 16)
  const digests = [await volume.digest('synced'), await volume.digest('unsynced')]
  await host.engine.docker('rm', '--force', 'writer')
  await detachesCleanly(t, volume)
  t.equal((await volume.stopTarget()).code, 0)

  await volume.serve()
  await volume.attach()
  t.strictSame([await volume.digest('synced'), await volume.digest('unsynced')], digests)
})

t.test('concurrent writes of all sizes are read back as they were written', async (t) => {
  for (const fs of ['ext4', 'xfs'] as const) {
    const volume = host.volume(`fio-${fs}`, { fs, size: 512 * MiB })
    await volume.mount()
    for (const shape of [
      { bs: '4k', depth: 16, size: '48m' },
      { bs: '128k', depth: 16, size: '96m' },
      { bs: '1m', depth: 16, size: '96m' },
    ])
      t.strictSame(
        await fio(volume, shape),
        { code: 0, said: '' },
        `${fs}, ${shape.bs} at depth ${shape.depth}`,
      )
    await detachesCleanly(t, volume)
  }
})

t.test('an fsync in a container is one of the file on the target', async (t) => {
  const volume = host.volume('synced')
  await volume.mount()
  await volume.use('writer')
  const watched = ['-f', '-ttt', '-T', '-e', 'trace=fdatasync', '-p', String(await volume.tgtd())]
  const trace = spawn('strace', watched)
  let seen = ''
  trace.stderr.on('data', (chunk: Buffer) => (seen += chunk))
  t.ok(await until(() => /attached/.test(seen) || undefined, { ms: 10_000 }), 'strace watches tgtd')
  /** Writes a block, with nothing left to write before; gives when dd began and ended. */
  const dd = async (file: string, ...options: string[]) => {
    await host.engine.docker('exec', 'writer', 'sync', '-f', '/data')
    const began = Date.now()
    await host.engine.docker(
      'exec',
      'writer',
      'dd',
      'if=/dev/zero',
      `of=/data/${file}`,
      'count=1',
      ...options,
    )
    return { began, ended: Date.now() + 1 }
  }
  const synced = ({ began, ended }: { began: number; ended: number }) =>
    syncs(seen).some((at) => at >= began && at <= ended)
  // ext4 commits by itself 5 s after a change: while dd runs only if that takes so long, and hardly three times
  const without = [await dd('a'), await dd('b'), await dd('c')]
  const withFsync = await dd('f', 'conv=fsync')
  t.ok(
    await until(() => synced(withFsync) || undefined, { ms: 10_000 }),
    'it was on the disk when dd ended, whenever strace says so',
  )
  // strace reports in order: of what came before it has said all
  t.notOk(without.every(synced), 'dd without fsync ends with nothing synced')
  trace.kill('SIGINT')
  await once(trace, 'close')

  const flags = async () => {
    const folder = `/proc/${await volume.tgtd()}`
    for (const fd of await readdir(`${folder}/fd`))
      if ((await readlink(`${folder}/fd/${fd}`)).endsWith('/data.img'))
        return Number.parseInt(
          /flags:\s+(\d+)/.exec(await readFile(`${folder}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '',
          8,
        )
    return undefined
  }
  const { O_SYNC } = constants
  t.equal(((await flags()) ?? 0) & O_SYNC, 0, 'what is not synced may stay in memory')
  await host.engine.docker('rm', '--force', 'writer')
  await detachesCleanly(t, volume)
  await volume.stopTarget()
  await volume.serve(['OPENEBS_SYNC=yes'])
  t.equal((await volume.provision()).code, 0)
  t.equal(((await flags()) ?? 0) & O_SYNC, O_SYNC, 'unless the target is told to sync every write')
})

t.test('an initiator that is stopped waits for the container that still writes', async (t) => {
  const volume = host.volume('held')
  await volume.mount()
  await volume.use('writer')
  const stopped = volume.detach()
  t.ok(
    await host.eventually(volume.initiator, ({ log }) => /waiting for the containers/.test(log)),
    'it says what it waits for',
  )
  await write('writer', 'late', 8)
  const written = (await host.engine.docker('exec', 'writer', 'cat', '/data/late')).length
  t.ok(written > 0, 'the container still reads what it wrote')
  await host.engine.docker('rm', '--force', 'writer')
  t.match(await stopped, { code: 0, log: /detached volume held/ })
  t.equal((await volume.fsck()).code, 0)

  await volume.attach()
  t.equal(
    (await host.run(['--volume', `${host.mounts}/held/data:/data`], 'wc', '-c', '/data/late')).stdout,
    `${8 * MiB} /data/late\n`,
  )
})

t.test('a killed target only stalls', async (t) => {
  const volume = host.volume('stalled', { size: 384 * MiB })
  await volume.mount()
  let done = false
  // not done before 5 s, however fast the machine; a block on the disk is one that was written
  const slow = ['--rate=,32m', '--fallocate=none']
  const working = fio(volume, { bs: '4k', depth: 16, size: '160m' }, ...slow).finally(() => {
    done = true
  })
  t.ok(await underWay(volume, '4k'))
  await host.docker.getContainer(volume.target).kill()
  t.notOk(done, 'it is killed in the middle of the writing')
  await host.docker.getContainer(volume.target).start()
  t.strictSame(await working, { code: 0, said: '' }, 'the writing goes on, and all is there')

  // process 1 of the container dies: Docker starts it again by itself
  const more = fio(volume, { bs: '1m', depth: 4, size: '96m' })
  t.ok(await underWay(volume, '1m'))
  await host.kill(volume.target)
  t.strictSame(await more, { code: 0, said: '' })
  await detachesCleanly(t, volume)
})

t.test('a killed initiator loses no acknowledged fsync, and makes room for the next', async (t) => {
  for (const fs of ['ext4', 'xfs'] as const) {
    const volume = host.volume(`killed-${fs}`, { fs, size: 320 * MiB })
    await volume.mount()
    await volume.use('user')
    await write('user', 'synced', 8, 'conv=fsync')
    const digest = await volume.digest('synced')
    const dead = await loopOf(volume)
    await volume.replaceInitiator()
    t.equal(await volume.digest('synced'), digest, `${fs}: the new mount has what was synced`)

    const { code } = await host.engine.tryDocker(
      'exec',
      'user',
      'dd',
      'if=/dev/zero',
      'of=/data/x',
      'count=1',
      'conv=fsync',
    )
    t.not(code, 0, `${fs}: the container from before gets errors, not silence`)
    t.equal(await backing(dead), '/', 'and holds the dead device')
    t.not(await loopOf(volume), dead)
    await host.engine.docker('rm', '--force', 'user')
    t.not(await backing(dead), '/', 'which goes with it')
    await detachesCleanly(t, volume)
    await host.clear()
  }
})

t.test('when qemu-storage-daemon dies, its initiator unmounts and is started anew', async (t) => {
  const volume = host.volume('restarted')
  await volume.mount()
  const kill = ['sh', '-c', 'rm /mounts/.restarted.status; kill -9 $(cat /run/openebs/qemu.pid)']
  await host.engine.docker('exec', volume.initiator, ...kill)
  await volume.mounted()
  t.match((await host.state(volume.initiator)).log, /error: qemu-storage-daemon ended with status 137/)
  await detachesCleanly(t, volume)
})

t.test('volumes that are attached at the same time get a loop device each', async (t) => {
  const volumes = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => host.volume(name, { size: 16 * MiB }))
  for (const volume of volumes) {
    await volume.serve()
    await volume.provision()
  }
  await Promise.all(volumes.map((volume) => volume.attach()))
  t.equal(new Set(await Promise.all(volumes.map(loopOf))).size, volumes.length)
  const [first] = volumes
  if (!first) return
  const again = await host.docker.getContainer(first.initiator).inspect()
  const environment = again.Config.Env.flatMap((variable) => ['--env', variable])
  const caps = ['--cap-drop', 'ALL', '--cap-add', 'SYS_ADMIN', '--volume', `${host.mounts}:/mounts:rshared`]
  t.match(
    await host.run([...environment, ...caps], 'openebs-initiator'),
    { code: 75, stderr: /another initiator of volume a runs on this host/ },
    'a second initiator of a volume is kept out',
  )
  await Promise.all(volumes.map((volume) => detachesCleanly(t, volume)))
})

t.test('an initiator logs in with the password of its epoch, and says it to nobody', async (t) => {
  const volume = host.volume('locked', { chap: true })
  const password = newPassword()
  await volume.serve()
  t.equal((await volume.provision(password)).code, 0)
  await volume.attach()
  await volume.use('user')
  await write('user', 'f', 8, 'conv=fsync')
  const digest = await volume.digest('f')
  const seen = await Promise.all([
    host.engine.docker('inspect', volume.initiator),
    host.engine.docker('top', volume.initiator, '-eo', 'pid,args'),
    host.engine.docker('logs', volume.initiator),
  ])
  for (const text of seen) t.notMatch(text, password)
  await host.kill(volume.target)
  await volume.replaceInitiator()
  t.equal(await volume.digest('f'), digest, 'it logs in anew after a crash of either end')
  await host.engine.docker('rm', '--force', 'user')
  await detachesCleanly(t, volume)
})
