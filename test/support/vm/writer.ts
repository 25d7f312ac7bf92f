import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { sidecarImage } from '../plugin-host.ts'
import type { Vm } from './vm.ts'

// A line counts only when it is printed, after its fsync. Each run goes on after the last line that it finds, under a mark of its
// own: a line that was lost and written anew is another line. All are 16 bytes long, so that none lies across two blocks of the
// disk, of which a loss of power may let one through. The pause leaves the guest's processor to others.
const script = `
f=/d/lines; touch $f; n=$(grep -c . $f || true); run=$(head -c 6 /proc/sys/kernel/random/uuid)
while :; do
  n=$((n + 1)); line=$(printf '%08d %s' "$n" "$run")
  echo "$line" >>$f; sync $f; echo "$line"
  sleep 0.3
done`

/** A container of the guest, restarted always, that writes line after line to a volume, and what of them it acknowledged. */
export class Writer {
  readonly volume: string
  readonly name: string
  readonly #vm: Vm
  /** Every line that reached the outside, by its number. */
  readonly #acknowledged = new Map<number, string>()
  #log: ChildProcess | undefined

  private constructor(vm: Vm, volume: string) {
    this.#vm = vm
    this.volume = volume
    this.name = `writer-${volume}`
  }

  static async start(vm: Vm, volume: string): Promise<Writer> {
    const writer = new Writer(vm, volume)
    const options = [
      ...['--name', writer.name, '--restart', 'always', '--network', 'none', '--stop-timeout', '2'],
      ...['-v', `${volume}:/d`],
    ]
    await vm.docker('create', ...options, '--entrypoint', 'sh', sidecarImage, '-euc', script)
    // The first Mount has containers made, for which a machine so slow may need more than the 25 s of a call.
    await vm.until(
      `${writer.name} is started`,
      async () => (await vm.tryDocker('start', writer.name)).code === 0,
    )
    writer.follow()
    return writer
  }

  /** Listens to it, as after a boot of the guest. */
  follow(): void {
    this.#log?.kill()
    this.#log = this.#vm.dockerProcess('logs', '--follow', '--tail', '1', this.name)
    if (this.#log.stdout)
      createInterface(this.#log.stdout).on('line', (line) => {
        if (/^\d{8} [\da-f]{6}$/.test(line)) this.#acknowledged.set(Number(line.slice(0, 8)), line)
      })
  }

  get acknowledged(): number {
    return this.#acknowledged.size
  }

  /** Waits until so many more lines are acknowledged. */
  async writes(more: number, what = `${this.name} writes`): Promise<void> {
    const enough = this.acknowledged + more
    await this.#vm.until(what, async () => this.acknowledged >= enough)
  }

  /** What the writer was promised until now, also when more comes later. */
  promised(): [number, string][] {
    return [...this.#acknowledged]
  }

  /** Asserts that every promised line is on the volume, as a container reads it, and that no other is in between. */
  async check(t: Test, promised = this.promised()): Promise<void> {
    const lines = (await this.#vm.docker('exec', this.name, 'cat', '/d/lines')).split('\n').slice(0, -1)
    const lost = promised.filter(([number, line]) => lines[number - 1] !== line)
    t.ok(
      promised.length > 0 && lines.length > 0,
      `${promised.length} lines of ${this.volume} were acknowledged`,
    )
    t.strictSame(lost, [], `every acknowledged line of ${this.volume} is there`)
    const wrong = lines.findIndex((line, index) => Number(line.slice(0, 8)) !== index + 1)
    t.equal(wrong, -1, `all lines of ${this.volume} are in order, without a gap`)
  }

  /** When it was started last: it did not die meanwhile where that is the same. */
  async started(): Promise<string> {
    return this.#vm.docker('inspect', '-f', '{{.State.StartedAt}}', this.name)
  }

  async end(): Promise<void> {
    this.#log?.kill()
    await this.#vm.docker('rm', '-f', this.name)
  }
}
