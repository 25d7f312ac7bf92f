import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { until } from '../../process/backoff.ts'
import type { EtcdCluster, Teardown } from './etcd.ts'
import { History, type Seen } from './history.ts'

/** Of what `etcdctl watch --write-out=json` prints, a line an answer. */
interface Answer {
  Events?: { type?: number; kv: { key: string; value?: string; mod_revision: number } }[]
  Canceled?: boolean
}

/** Records of a host that no one runs, beside those of `host`: with names that an unsharp prefix would take for it. */
const decoysOf = (host: string): Record<string, string> => {
  const others = [`${host}0`, host.slice(0, -1) || 'x', 'decoy']
  return Object.fromEntries(
    others.flatMap((other) => [
      [`hosts/${other}`, `{"host":"${other}","instance":"decoy"}`],
      [`inventory/${other}/container/0123`, '{"state":"running"}'],
      [`services/web/${other}:${host}:80`, '{"address":"192.0.2.1"}'],
      [`vsms/${host}/${other}`, '{"health":"healthy"}'],
      [`events/${other}/1700000000000000000-0123abcd`, '{"kind":"event"}'],
    ]),
  )
}

const marker = 'monitor'

/**
 * Follows all of a registry by `etcdctl watch`, from before a fault to its end, and has a History judge it. The watch may be
 * cut off by the fault: it is then begun anew just after the last revision it showed, so nothing is missed.
 */
export class Monitor {
  readonly #etcd: EtcdCluster
  readonly #prefix: string
  readonly #decoys: Record<string, string>
  readonly #history: History
  #watch: ChildProcess | undefined
  #seen = 0
  #markers = 0
  #marked = 0

  private constructor(etcd: EtcdCluster, host: string, prefix: string, mayChange: (key: string) => boolean) {
    this.#etcd = etcd
    this.#prefix = `${prefix}/`
    this.#decoys = decoysOf(host)
    this.#history = new History(host, (key) => key === marker || mayChange(key))
  }

  /**
   * Puts keys of other hosts beside those of `host`, and begins to follow. `mayChange` says which other keys the test itself
   * changes.
   */
  static async start(
    t: Teardown,
    etcd: EtcdCluster,
    host: string,
    {
      prefix = '/openebs/v1',
      mayChange = () => false,
    }: { prefix?: string; mayChange?: (key: string) => boolean } = {},
  ): Promise<Monitor> {
    const monitor = new Monitor(etcd, host, prefix, mayChange)
    t.teardown(() => monitor.#end())
    await monitor.#begin()
    return monitor
  }

  /** How many changes of the host's keys it has seen. */
  get count(): number {
    return this.#history.count
  }

  /** To be called when the store has lost all that it had, and answers again. */
  async wiped(): Promise<void> {
    await this.#end()
    this.#history.wiped()
    await this.#begin()
  }

  /** Reads the history up to now and returns what is wrong in it. */
  async finish(): Promise<string[]> {
    await this.#catchUp()
    await this.#end()
    await this.#etcd.ctl('del', '--prefix', this.#prefix + marker)
    for (const [key, value] of Object.entries(this.#decoys)) {
      const now = (await this.#etcd.ctl('get', '--print-value-only', this.#prefix + key)).trimEnd()
      if (now !== value) this.#history.wrong.push(`${key} of another host is now ${now || 'gone'}`)
    }
    return this.#history.wrong
  }

  async #begin(): Promise<void> {
    for (const [key, value] of Object.entries(this.#decoys)) await this.#put(key, value)
    const now = JSON.parse(await this.#etcd.ctl('get', '--write-out=json', `${this.#prefix}${marker}`))
    this.#seen = now.header.revision
    await this.#catchUp()
  }

  /** Returns when the watch has shown what is put here. */
  async #catchUp(): Promise<void> {
    const wanted = ++this.#markers
    await this.#put(marker, String(wanted))
    for (let tries = 0; tries < 5; tries++) {
      if (!this.#watch) this.#follow()
      const shown = await until(() => this.#marked >= wanted || undefined, { ms: 3000, every: 10 })
      if (shown) return
      await this.#end()
    }
    throw new Error(`a watch of etcd did not show the change number ${wanted} of the monitor`)
  }

  #follow(): void {
    const from = String(this.#seen + 1)
    const watch = this.#etcd.ctlProcess(
      'watch',
      '--prefix',
      `--rev=${from}`,
      '--write-out=json',
      this.#prefix,
    )
    this.#watch = watch
    let rest = ''
    watch.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      if (this.#watch !== watch) return
      const printed = (rest + chunk).split('\n')
      rest = printed.pop() ?? ''
      for (const line of printed) if (line.startsWith('{')) this.#take(JSON.parse(line))
    })
  }

  #take({ Events = [] }: Answer): void {
    const changes = Events.map(({ type, kv }): Seen => {
      const key = Buffer.from(kv.key, 'base64').toString().slice(this.#prefix.length)
      const value = type === 1 ? {} : { value: Buffer.from(kv.value ?? '', 'base64').toString() }
      return { key, revision: kv.mod_revision, ...value }
    }).filter(({ revision }) => revision > this.#seen)
    for (const [revision, group] of Map.groupBy(changes, (change) => change.revision)) {
      this.#history.take(group)
      this.#seen = revision
      const mark = group.find(({ key }) => key === marker)?.value
      if (mark !== undefined) this.#marked = Number(mark)
    }
  }

  #put(key: string, value: string): Promise<string> {
    return this.#etcd.ctl('put', this.#prefix + key, value)
  }

  async #end(): Promise<void> {
    const watch = this.#watch
    this.#watch = undefined
    if (!watch || watch.exitCode !== null || watch.signalCode !== null) return
    const exit = once(watch, 'exit')
    watch.kill('SIGKILL')
    await exit
  }
}
