import type { Host, Service, Vsm } from '../records.ts'

/** One key of another tool's layout, below the view's root, and its value. */
export type ViewEntry = readonly [key: string, value: string]

/** What a view may look at beside the record itself. */
export interface About {
  readonly host: Host
  /** All labels of the container. */
  readonly labels: Readonly<Record<string, string>>
  /** Of an instance: the ports inside the container that are services of its protocol, where that is known. */
  readonly ports?: readonly number[]
}

/**
 * The layout of another tool: pure functions from this host's records to that tool's keys. They throw a Failure (`invalid`) for
 * what the layout cannot carry, saying what and why; it is then left out, told with the container's name, and harms no other.
 * Options of a view (a domain, entry points) are arguments of whatever makes it.
 */
export interface View {
  /** Of one instance of a service. */
  instance?(service: Service, about: About): readonly ViewEntry[]
  /** Of a VSM that serves. */
  vsm?(vsm: Vsm, about: About): readonly ViewEntry[]
  /** Of the host itself. */
  host?(host: Host): readonly ViewEntry[]
  /** Whether a key is by its form one of this host's, also one that an earlier run has left. */
  owns(key: string, host: string): boolean
  /**
   * Whether several hosts want a key, all with the same value: it stands as long as one of them does, and who finds it
   * with that value under another's lease leaves it.
   */
  shares?(key: string): boolean
  /** What must be written in one transaction, where the tool reads all at every change; else each key is on its own. */
  groupOf?(key: string): string
}
