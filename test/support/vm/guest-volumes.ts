import type { Test } from 'tap'
import { sidecarImage } from '../plugin-host.ts'
import type { Vm } from './vm.ts'
import { Writer } from './writer.ts'

/** Volumes of a guest, containers that write to them, and what the guest's kernel knows of them. */
export class GuestVolumes {
  readonly #vm: Vm
  /** They write all the while. */
  writers: Writer[] = []

  constructor(vm: Vm) {
    this.#vm = vm
  }

  /** Repeated, as a user would: a call ends after 25 s, and a machine so slow may need more. */
  create(name: string, ...options: string[]): Promise<void> {
    const all = options.flatMap((option) => ['-o', option])
    return this.#vm.until(
      `volume ${name} is made`,
      async () => (await this.#vm.tryDocker('volume', 'create', '-d', 'openebs', ...all, name)).code === 0,
    )
  }

  /** Repeated, as `create`. */
  remove(...names: string[]): Promise<void> {
    return this.#vm.until(`${names.join(', ')}: removed`, async () => {
      const left = (await this.#vm.docker('volume', 'ls', '-q'))
        .split('\n')
        .filter((one) => names.includes(one))
      if (left.length > 0) await this.#vm.tryDocker('volume', 'rm', ...left)
      return left.length === 0
    })
  }

  async write(volume: string): Promise<void> {
    this.writers.push(await Writer.start(this.#vm, volume))
  }

  /** Keeps a volume mounted by a container that does nothing: its first Mount, too, may take longer than a call. */
  async hold(volume: string): Promise<void> {
    const name = `holds-${volume}`
    const image = ['--entrypoint', 'sleep', sidecarImage, 'infinity']
    await this.#vm.docker(
      'create',
      '--name',
      name,
      '--network',
      'none',
      '--init',
      '-v',
      `${volume}:/d`,
      ...image,
    )
    await this.#vm.until(
      `${name} is started`,
      async () => (await this.#vm.tryDocker('start', name)).code === 0,
    )
  }

  async status(volume: string): Promise<Record<string, unknown>> {
    return JSON.parse(await this.#vm.docker('volume', 'inspect', '-f', '{{json .Status}}', volume))
  }

  /** Waits until inspect tells that it is attached this way: it does so from time to time. */
  async attachedBy(volume: string, way: 'kernel' | 'userspace'): Promise<void> {
    await this.#vm.until(
      `inspect tells that ${volume} is attached in the way ${way}`,
      async () => (await this.status(volume)).attach === way,
    )
  }

  /** SIGKILL to all of a container at once, as by the OOM killer; returns when Docker has started it again. */
  async kill(container: string): Promise<void> {
    const seen = () => this.#vm.docker('inspect', '-f', '{{.State.Running}} {{.State.Pid}}', container)
    const before = (await seen()).trim()
    await this.#vm.guest(`kill -KILL ${before.split(' ')[1]}`)
    await this.#vm.until(`${container} is started again`, async () => {
      const now = (await seen()).trim()
      return now.startsWith('true') && now !== before
    })
  }

  /** Of the session to a volume's target: its state, and ms that I/O waits for it; '' where there is none. */
  session(volume: string): Promise<string> {
    return this.#vm.guest(`for s in /sys/class/iscsi_session/*; do
    [ "$(cat $s/targetname)" != iqn.2016-09.com.openebs:${volume} ] || echo "$(cat $s/state) $(cat $s/recovery_tmo)"
  done`)
  }

  async isLoggedIn(volume: string): Promise<boolean> {
    return /^LOGGED_IN/.test(await this.session(volume))
  }

  /** They go on, in the containers in which they were, and nothing that they were promised is missing. */
  async unharmed(t: Test, what: string, during: () => Promise<unknown>): Promise<void> {
    const started = () => Promise.all(this.writers.map((writer) => writer.started()))
    const before = await started()
    await during()
    await Promise.all(this.writers.map((writer) => writer.writes(10, `${writer.name} goes on: ${what}`)))
    t.strictSame(await started(), before, 'no writer ended')
    for (const writer of this.writers) await writer.check(t)
  }
}
