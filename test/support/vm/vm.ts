import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { until } from '../../../process/backoff.ts'
import { importImage, type Ran } from '../engine-host.ts'
import type { Teardown } from '../etcd.ts'
import { sidecarImage } from '../plugin-host.ts'

const run = promisify(execFile)
const maxBuffer = 1 << 26
const script = (name: string): string => join(import.meta.dirname, name)

/** What takes a second on a machine takes ten where the processor is emulated. */
export const slow = (seconds: number): number => seconds * 10_000

/**
 * A virtual machine with Debian's own kernel, etcd, an Engine and the managed plugin of this clone, as a host that loses
 * its power for real: with qemu goes all that the guest had not written to its disk. The Engine's API is forwarded to a
 * port of this machine's loopback address. It ends with the test.
 */
export class Vm {
  readonly folder: string
  readonly #files: { guest: string; disk: string; port: number }
  #qemu: ChildProcess | undefined
  /** What the guest's kernel said of itself when it hung. */
  #hang: string | undefined

  private constructor(folder: string, files: { guest: string; disk: string; port: number }) {
    this.folder = folder
    this.#files = files
  }

  /** One that is on, with the plugin enabled. A guest that hangs until then is given up for another. */
  static async start(t: Teardown): Promise<Vm> {
    for (let tries = 1; ; tries++) {
      const vm = await Vm.prepare(t)
      try {
        await vm.boot()
        await vm.enablePlugin()
        return vm
      } catch (error) {
        if (!(error instanceof Hung) || tries === 3) throw error
        process.emitWarning(`${error.message}: another is taken`)
      }
    }
  }

  /** Makes its disk; boots nothing yet. */
  static async prepare(t: Teardown): Promise<Vm> {
    const guest = (await run(script('image.sh'), { maxBuffer })).stdout.trim()
    const base = (await run(script('disk.sh'), { maxBuffer })).stdout.trim()
    const folder = await mkdtemp(join(tmpdir(), 'vm-'))
    const disk = join(folder, 'state.qcow2')
    const vm = new Vm(folder, { guest, disk, port: await freePort() })
    t.teardown(async () => {
      await vm.cutPower()
      await rm(folder, { recursive: true, force: true })
    })
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', disk])
    return vm
  }

  /**
   * Switches it on, and returns when the Engine answers: it does so when it has restored its containers. Now and then both
   * emulated processors wait for each other for ever, with nothing of ours running yet: then it is switched on anew.
   */
  async boot(): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#boot()
      } catch (error) {
        if (!(error instanceof Hung) || tries === 3) throw error
        process.emitWarning(`${error.message}: it is switched on anew`)
        await rename(this.#console, `${this.#console}.${tries}`)
        this.#hang = undefined
      }
    }
  }

  async #boot(): Promise<void> {
    const { guest, disk, port } = this.#files
    const drive = (id: string, options: string) => [
      ...['-drive', `if=none,id=${id},${options}`, '-device', `virtio-blk-pci,drive=${id}`],
    ]
    // setpriv: it must not outlive a test process that is killed
    const args = ['--pdeathsig', 'KILL', 'qemu-system-x86_64', '-nodefaults', '-no-user-config']
    args.push('-machine', 'pc,usb=off', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '3G')
    args.push('-no-reboot', '-display', 'none', '-monitor', 'none')
    args.push('-kernel', join(guest, 'vmlinuz'), '-initrd', join(guest, 'initrd.img'))
    args.push('-append', 'console=ttyS0 loglevel=5 panic=-1 mitigations=off tsc=reliable net.ifnames=0')
    args.push(...drive('root', `file=${join(guest, 'root.img')},format=raw,snapshot=on,cache=unsafe`))
    // The guest's flushes reach the file: what it synced is there after its power was cut.
    args.push(...drive('state', `file=${disk},format=qcow2,cache=writeback`))
    args.push('-netdev', `user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:${port}-:2375`)
    args.push('-device', 'virtio-net-pci,netdev=net,romfile=', '-device', 'virtio-rng-pci')
    args.push('-chardev', `file,id=console,path=${this.#console},append=on`, '-serial', 'chardev:console')
    const qemu = spawn('setpriv', args, { stdio: 'ignore' })
    this.#qemu = qemu
    this.#watch(qemu)
    await this.until('the Engine answers', async () => {
      if (qemu.exitCode !== null) throw new Error(`qemu ended with ${qemu.exitCode}: ${await this.log()}`)
      return (await this.tryDocker('version')).code === 0
    })
  }

  /** SIGKILL to qemu: nothing in the guest gets to write another byte. */
  async cutPower(): Promise<void> {
    const qemu = this.#qemu
    this.#qemu = undefined
    if (!qemu || qemu.exitCode !== null || qemu.signalCode !== null) return
    qemu.kill('SIGKILL')
    await once(qemu, 'exit')
  }

  get #endpoint(): string {
    return `tcp://127.0.0.1:${this.#files.port}`
  }
  get #env() {
    return { ...process.env, DOCKER_HOST: this.#endpoint }
  }
  get #console(): string {
    return join(this.folder, 'console.log')
  }

  /** What the docker client prints. */
  readonly docker = async (...args: string[]): Promise<string> =>
    (await run('docker', args, { env: this.#env, maxBuffer })).stdout

  /** How a docker command ended, where failing is of interest. */
  readonly tryDocker = (...args: string[]): Promise<Ran> =>
    new Promise((resolve) => {
      execFile('docker', args, { env: this.#env, maxBuffer, timeout: slow(30) }, (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
      )
    })

  /**
   * As `make up` does. The Engine gives a plugin some ten seconds until it listens; its first start, from a disk that nothing
   * was read of yet, may take longer here: so it is repeated, as the user would.
   */
  async enablePlugin(...settings: string[]): Promise<void> {
    await this.docker('plugin', 'set', 'openebs', 'OPENEBS_HOST=vm', ...settings)
    const enabled = async () => (await this.tryDocker('plugin', 'enable', 'openebs')).code === 0
    await this.until('the plugin is enabled', enabled)
  }

  /** Cuts the power of a guest that hangs, so that nobody waits for it. */
  #watch(qemu: ChildProcess): void {
    const look = async () => {
      const said = /soft lockup - CPU#\d+ stuck for (?:\d{3,}|[6-9]\d)s.*/.exec(await this.log())
      if (!said || this.#qemu !== qemu) return
      this.#hang = said[0]
      await this.cutPower()
    }
    const timer = setInterval(() => void look(), 2000)
    qemu.once('exit', () => clearInterval(timer))
  }

  /** An image of this machine's programs. */
  importImage(name: string, programs: readonly string[]): Promise<void> {
    return importImage(this.#endpoint, name, programs)
  }

  /** Runs a script as root of the guest, outside of all containers, and prints what it printed. */
  async guest(script: string): Promise<string> {
    const name = 'guest'
    if ((await this.tryDocker('start', name)).code !== 0)
      await this.docker(
        ...['run', '-d', '--name', name, '--privileged', '--pid', 'host', '--network', 'host'],
        ...['--entrypoint', 'sleep', sidecarImage, 'infinity'],
      )
    return this.docker('exec', name, 'chroot', '/proc/1/root', 'bash', '-euc', script)
  }

  /** docker as a process that goes on, such as `logs -f`: its output is read from `stdout`. */
  dockerProcess(...args: string[]): ChildProcess {
    const command = ['--pdeathsig', 'KILL', 'docker', ...args]
    return spawn('setpriv', command, { env: this.#env, stdio: ['ignore', 'pipe', 'ignore'] })
  }

  /** Waits for a condition; when it does not come in time, the error says what was waited for, and the guest's last words. */
  async until(what: string, condition: () => Promise<boolean>, ms = slow(30)): Promise<void> {
    const held = await until(
      async () => {
        if (this.#hang) throw new Hung(`the guest's kernel hangs: ${this.#hang}`)
        return (await condition()) || undefined
      },
      { ms, every: 500 },
    )
    if (!held) throw new Error(`not within ${ms / 1000} s: ${what}\n${await this.log()}`)
  }

  /** The end of what the guest wrote to its console, dockerd's and the plugin's log too. */
  async log(): Promise<string> {
    return (await readFile(this.#console, 'utf8').catch(() => '')).slice(-6000)
  }
}

/** The guest does nothing any more: none of its processors goes on. */
class Hung extends Error {}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('no port of the loopback address')
  return address.port
}
