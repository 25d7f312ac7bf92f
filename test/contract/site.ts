import type { OpenBackend } from '../../registry/backend.ts'
import type { Teardown } from '../support/etcd.ts'

/** A kind of backend on a real server, for the contract suite (backend.test.ts). */
export interface Site {
  readonly name: string
  /** Starts the server, which ends with the test. */
  start(t: Teardown): Promise<Started>
}

export interface Started {
  /** A new run of `host`, as a process would begin one; it connects when it runs. `ttl`: seconds, about. */
  open(host: string): Promise<OpenBackend>
  /** A key of this host's own form, and a value of the n-th kind, as `publish` takes them. */
  entry(host: string, name: string, variant?: number): readonly [key: string, value: string]
  /** A key whose form tells no host (a SERVICE_ID of the user's); absent where there is none. */
  strangeEntry?(name: string, variant?: number): readonly [key: string, value: string]
  /** All that stands there, by an independent client: key -> something that differs exactly where the value does. */
  look(): Promise<Readonly<Record<string, string>>>
  /** What `look` shows of a value. */
  shows(value: string): string
  /** Another hand writes, or deletes, past all backends. */
  write(key: string, value: string): Promise<void>
  remove(key: string): Promise<void>
  /** How many writes the server has taken so far (an index, a revision): equal means that nothing was written. */
  writes(): Promise<number>
  /** The server stands still (SIGSTOP) and goes on; dies (SIGKILL) and is started again with its data. */
  pause(): Promise<void>
  resume(): Promise<void>
  kill(): Promise<void>
  restart(): Promise<void>
  /** Seconds after which a killed process's entries are gone; undefined: the next run removes them. */
  readonly ttl: number | undefined
}
