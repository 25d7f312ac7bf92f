import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { access, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connectDocker, type Docker } from '../../docker/client.ts'
import manifest from '../../package.json' with { type: 'json' }
import {
  eraseContainer,
  initiatorContainer,
  initiatorName,
  targetContainer,
  targetName,
} from '../../plugin/container-bodies.ts'
import { statusFile } from '../../plugin/mount-table.ts'
import { until } from '../../process/backoff.ts'
import type { Target, Volume, VolumeSpec } from '../../registry/records.ts'
import { chapLine, newPassword } from '../../vsm/chap.ts'
import { targetIqn } from '../../vsm/iqn.ts'
import { buildImages, EngineHost, type Ran } from './engine-host.ts'
import type { Teardown } from './etcd.ts'

const image = `openebs/vsm:${manifest.version}`
const MiB = 2 ** 20

export interface ContainerState {
  status: string
  code: number
  log: string
}

/** A host with an Engine and the VSM image, without plugin or etcd: storage containers by themselves. Ends with the test. */
export class StorageHost {
  readonly engine: EngineHost
  readonly docker: Docker
  readonly root: string
  readonly mounts: string
  #port = 20_000

  private constructor(engine: EngineHost, mounts: string) {
    this.engine = engine
    this.docker = connectDocker({ kind: 'unix', socket: `${engine.folder}/docker.sock` })
    this.root = join(engine.folder, 'openebs')
    this.mounts = mounts
  }

  static async start(t: Teardown): Promise<StorageHost> {
    await buildImages('vsm')
    const engine = await EngineHost.prepare(t)
    await engine.start()
    await engine.load('vsm')
    const host = new StorageHost(engine, await engine.sharedFolder('mounts'))
    await mkdir(host.root)
    return host
  }

  /** A volume that is not made yet, with the portal that its target will have. */
  volume(name: string, spec: Partial<VolumeSpec> = {}): TestVolume {
    return new TestVolume(this, name, { size: 64 * MiB, fs: 'ext4', ...spec }, this.#port++)
  }

  /** Where the plugin would keep the passwords of volumes. */
  get secrets(): string {
    return join(this.engine.folder, 'secrets')
  }

  /** Runs a program of the VSM image in a container of its own, with options for `docker run` before it. */
  run(options: string[], ...command: string[]): Promise<Ran> {
    return this.engine.tryDocker('run', '--rm', ...options, image, ...command)
  }

  /** What a container is doing, and what it wrote. */
  async state(name: string): Promise<ContainerState> {
    const { State } = await this.docker.getContainer(name).inspect()
    const { stdout, stderr } = await this.engine.tryDocker('logs', name)
    return { status: State.Status, code: State.ExitCode, log: stdout + stderr }
  }

  /** Waits until a container is as wanted: that state, or undefined after 20 s. */
  eventually(name: string, wanted: (state: ContainerState) => boolean): Promise<ContainerState | undefined> {
    const probe = async () => {
      const state = await this.state(name)
      return wanted(state) ? state : undefined
    }
    return until(probe, { ms: 20_000 })
  }

  /** SIGKILL to process 1 of a container, as if it crashed: its restart policy applies, unlike after `docker kill`. */
  async kill(name: string): Promise<void> {
    const { State } = await this.docker.getContainer(name).inspect()
    await this.engine.exec('kill', '-KILL', String(State.Pid))
  }

  /** Containers that the test left. */
  async clear(): Promise<void> {
    const ids = (await this.engine.docker('ps', '--all', '--quiet')).split('\n').filter(Boolean)
    if (ids.length > 0) await this.engine.docker('rm', '--force', ...ids)
    await rm(this.root, { recursive: true, force: true })
    await mkdir(this.root)
  }
}

/** One volume on a StorageHost, made of the very containers that the plugin makes. */
export class TestVolume {
  readonly #host: StorageHost
  readonly volume: Volume
  readonly record: Target

  constructor(host: StorageHost, name: string, spec: VolumeSpec, port: number) {
    this.#host = host
    this.volume = {
      name,
      uuid: randomUUID(),
      spec,
      placement: { host: 'h1' },
      wanted: 'present',
      created: new Date().toISOString(),
    }
    this.record = {
      volume: name,
      host: 'h1',
      uuid: this.volume.uuid,
      iqn: targetIqn(name),
      portal: `127.0.0.1:${port}`,
      epoch: 1,
      phase: 'ready',
      container: targetName(name),
      containerId: '',
    }
  }

  get #status(): string {
    return statusFile(this.#host.mounts, this.volume.name)
  }
  get target(): string {
    return targetName(this.volume.name)
  }
  get initiator(): string {
    return initiatorName(this.volume.name)
  }
  /** The volume's folder on the target's disk. */
  get folder(): string {
    return join(this.#host.root, this.volume.name)
  }

  /** Creates and starts the target's container, with more variables such as OPENEBS_DISK_WAIT=1. */
  async serve(variables: string[] = [], restart = 'always'): Promise<void> {
    const { name, body } = targetContainer(this.volume, this.record, this.#host.root, image)
    const Env = [...(body.Env ?? []), ...variables]
    const HostConfig = { ...body.HostConfig, RestartPolicy: { Name: restart } }
    await (await this.#host.docker.createContainer({ name, ...body, Env, HostConfig })).start()
  }

  /** With CHAP the password is read from the standard input, and put where the initiator finds it. */
  async provision(password = newPassword()): Promise<Ran> {
    if (!this.volume.spec.chap) return this.inTarget('openebs-provision')
    const folder = join(this.#host.secrets, this.volume.uuid)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await writeFile(join(folder, '1'), password, { mode: 0o600 })
    return this.#host.engine.tryDockerWith(
      chapLine(1, password),
      'exec',
      '-i',
      this.target,
      'openebs-provision',
    )
  }

  inTarget(...command: string[]): Promise<Ran> {
    return this.#host.engine.tryDocker('exec', this.target, ...command)
  }

  /** Has the volume made, and mounted where containers find it. */
  async mount(): Promise<void> {
    await this.serve()
    const { code, stderr } = await this.provision()
    if (code !== 0) throw new Error(`provision: ${stderr}`)
    await this.attach()
  }

  /** Creates and starts the initiator's container, and waits until the volume is mounted. */
  async attach(): Promise<void> {
    await this.startInitiator()
    await this.mounted()
  }

  async startInitiator(): Promise<void> {
    const { record, volume } = this
    const folders = { mounts: this.#host.mounts, secrets: this.#host.secrets }
    const { name, body } = initiatorContainer(volume, record, 'h1', folders, image, [])
    await (await this.#host.docker.createContainer({ name, ...body })).start()
  }

  /** Waits until an initiator says that it serves the mount: its status file appears after the mount, and goes before it. */
  async mounted(): Promise<void> {
    const there = () =>
      access(this.#status).then(
        () => true,
        () => undefined,
      )
    if (!(await until(there, { ms: 15_000, every: 20 })))
      throw new Error(`not mounted after 15 s: ${(await this.#host.state(this.initiator)).log.slice(-1000)}`)
  }

  /** SIGKILL to the initiator, which Docker starts again. Returns when its successor serves the mount. */
  async replaceInitiator(): Promise<void> {
    await rm(this.#status)
    await this.#host.kill(this.initiator)
    await this.mounted()
  }

  /** Unmounts and logs out; resolves with how that ended. */
  async detach(): Promise<{ code: number; log: string }> {
    await this.#host.docker.getContainer(this.initiator).stop()
    const { code, log } = await this.#host.state(this.initiator)
    await this.#host.docker.getContainer(this.initiator).remove()
    return { code, log }
  }

  async stopTarget(): Promise<{ code: number; log: string }> {
    await this.#host.docker.getContainer(this.target).stop()
    const { code, log } = await this.#host.state(this.target)
    await this.#host.docker.getContainer(this.target).remove()
    return { code, log }
  }

  /** A container that uses the volume, at /data, until it is removed. */
  async use(name: string): Promise<void> {
    const data = join(this.#host.mounts, this.volume.name, 'data')
    const HostConfig = { Binds: [`${data}:/data`], NetworkMode: 'none' }
    const Cmd = ['sleep', '1000']
    await (await this.#host.docker.createContainer({ name, Image: image, Cmd, HostConfig })).start()
  }

  /** Where this machine's programs find what containers see as /data. */
  async data(...path: string[]): Promise<string> {
    return this.#host.engine.path(join(this.#host.mounts, this.volume.name, 'data', ...path))
  }

  /** SHA-256 of a file in the volume. */
  async digest(path: string): Promise<string> {
    const hash = createHash('sha256')
    for await (const chunk of createReadStream(await this.data(path))) hash.update(chunk as Buffer)
    return hash.digest('hex')
  }

  /** The target's tgtd, as a process of this machine. */
  async tgtd(): Promise<number> {
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const read = (file: string) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')
      if ((await read('comm')) === 'tgtd\n' && (await read('environ')).includes(this.volume.uuid))
        return Number(pid)
    }
    throw new Error(`no tgtd serves volume ${this.volume.name}`)
  }

  /** Checks the file system of a detached volume; status 0 means that it is clean. */
  fsck(): Promise<Ran> {
    const check = this.volume.spec.fs === 'ext4' ? ['e2fsck', '-fn'] : ['xfs_repair', '-n']
    return this.inTarget(...check, '/lun/data.img')
  }

  erase(): Promise<Ran> {
    const { Cmd = [], HostConfig } = eraseContainer(this.volume, this.#host.root, image).body
    return this.#host.run(['--volume', String(HostConfig?.Binds?.[0]), '--cap-drop', 'ALL'], ...Cmd)
  }
}
