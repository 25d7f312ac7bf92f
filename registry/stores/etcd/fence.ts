import type { Revision } from '../../store.ts'
import type { Members } from './members.ts'
import type { Fenced } from './transaction.ts'

/**
 * A write that nobody waits for any more may still be on its way: in a member that hangs, say. Its guard stops it
 * once its key has moved on, but "absent" can become true again when a key comes and goes. So every transaction also
 * compares one key of this writer, and whenever an outcome was left open that key is rewritten before anything else
 * is asked: what was on its way until then can no longer be done, and what is read from then on is final. It costs a
 * comparison a transaction, and a write at start and after a fault.
 */
export class Fence {
  readonly #members: Members
  readonly #key: Buffer
  #revision: Revision | undefined
  #raising: Promise<Revision> | undefined

  constructor(members: Members, key: Buffer) {
    this.#members = members
    this.#key = key
  }

  /** The fence to compare; raised first where it has to be. Errors: as of any call. */
  async standing(end: number): Promise<Fenced> {
    this.#raising ??= this.#revision === undefined ? this.#raise(end) : undefined
    const revision = this.#revision ?? (await this.#raising) ?? '0'
    return { key: this.#key, revision }
  }

  /** Some write may still be on its way. */
  distrust(): void {
    this.#revision = undefined
  }

  /** Another process of this name, or a late rewrite of our own, has raised it since `before`. */
  adopt(before: Revision, revision: Revision): void {
    if (this.#revision === before) this.#revision = revision
  }

  async #raise(end: number): Promise<Revision> {
    try {
      const at = new Date().toISOString()
      const put = await this.#members.call(end, (client, options) =>
        client.kv.put({ key: this.#key, value: Buffer.from(JSON.stringify({ at })) }, options),
      )
      this.#revision = put.header.revision
      return put.header.revision
    } finally {
      this.#raising = undefined
    }
  }
}
