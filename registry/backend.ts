import type { Desired } from './diff.ts'

/** What becomes of our entries when we end. */
export type OnExit = 'withdraw' | 'keep'

/** What is to be known of what is wanted. */
export interface Wanted {
  /** When it came to be wanted (performance.now). */
  readonly since?: number | undefined
  /** It is not all yet: what an earlier run has left stays for now. */
  readonly partial?: boolean
}

/**
 * Where other tools read what runs here: etcd, Consul, ZooKeeper, memory. It keeps what stands there equal to what was last
 * published, through outages, lost sessions and other hands, and leaves others' entries alone. How long entries outlive a process
 * that was killed is each one's own to say.
 */
export interface Backend {
  /** A sentence for people and logs, without secrets: "etcd at http://127.0.0.1:2379, keys below /services". */
  readonly description: string
  /** Sets what is wanted from now on, value by key; only the newest counts. */
  publish(desired: Desired, about?: Wanted): void
  /** Compares anew with what stands there. Without a difference nothing is written. */
  resync(): void
  /** For how many ms what stands there has been behind what was published; 0 when it is not. */
  lag(): number
  /** Why it is behind, or cannot say; undefined when all is well. */
  readonly trouble: string | undefined
  /** Keys that are wanted and held by another with another value: they are left to it, and taken when it goes. */
  readonly held: readonly string[]
  /** Whether any key is left to another, and nothing tells us at once when it is free. */
  readonly waits: boolean
  /** Runs until the signal fires, then withdraws our entries or leaves them, within some seconds. Rejects for a bug alone. */
  run(signal: AbortSignal, onExit: OnExit): Promise<void>
}

/** A backend that was opened for a host, and how what stands behind it is ended when it runs no longer. */
export interface OpenBackend {
  readonly backend: Backend
  close(onExit: OnExit): Promise<void>
}
