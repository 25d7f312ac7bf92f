import { hash } from 'node:crypto'
import { agrees, type Container, sameRun } from './inspect.ts'
import { readListed } from './queries.ts'

/** Of a container that a list agreed with: as what it was known then, and what the list said. */
interface Answer {
  readonly container: Container
  /** Of all that it said. */
  readonly digest: string
  readonly status: string
}

/**
 * Compares a list of containers with what is known of them. A list that says of a container what it said before need
 * not be read again: mostly it says that of all of them.
 */
export class RollCall {
  #answers = new Map<string, Answer>()
  #called = new Map<string, Answer | undefined>()

  /**
   * One of the list, as JSON; returns its ID where it must be inspected, as it is not what is known. Errors: as
   * readListed.
   */
  call(item: Buffer, known: ReadonlyMap<string, Container>, now = Date.now()): string | undefined {
    const id =
      /^\{"Id":"(?<id>[0-9a-f]{64})"/.exec(item.toString('latin1', 0, 72))?.groups?.id ?? readListed(item).Id
    const container = known.get(id)
    const answer = container && this.#answer(item, id, container, now)
    this.#called.set(id, answer)
    return answer ? undefined : id
  }

  /** The end of the list; returns those of `known` that it does not have. */
  end(known: ReadonlyMap<string, Container>): string[] {
    const absent = [...known.keys()].filter((id) => !this.#called.has(id))
    this.#answers = new Map([...this.#called].flatMap(([id, answer]) => (answer ? [[id, answer]] : [])))
    this.#called = new Map()
    return absent
  }

  /** Undefined where the list does not agree. */
  #answer(item: Buffer, id: string, container: Container, now: number): Answer | undefined {
    const digest = hash('sha1', item, 'base64')
    const before = this.#answers.get(id)
    // "Up 5 minutes" is another answer five minutes later
    if (before?.container === container && before.digest === digest)
      return sameRun(container, before.status, now) ? before : undefined
    const listed = readListed(item)
    return agrees(container, listed, now) ? { container, digest, status: listed.Status } : undefined
  }
}
