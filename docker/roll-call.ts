import { hash } from 'node:crypto'
import { agrees, type Container, sameRun } from './inspect.ts'
import { readListed } from './queries.ts'

/** Of a container that a list agreed with: as what it was known then, and the digest of what the list said. */
interface Answer {
  readonly container: Container
  readonly digest: string
}

/**
 * Compares a list of containers with what is known of them. A list that says of a container what it said before need
 * not be read again: mostly it says that of all of them.
 */
export class RollCall {
  #answers = new Map<string, Answer>()
  #called = new Map<string, Answer | undefined>()

  /** One of the list; returns its ID where it must be inspected, as it is not what is known. Errors: as readListed. */
  call(text: string, known: ReadonlyMap<string, Container>, now = Date.now()): string | undefined {
    const id = /^\{"Id":"(?<id>[0-9a-f]+)"/.exec(text)?.groups?.id ?? readListed(text).Id
    const container = known.get(id)
    const answer = container && this.#answer(text, id, container, now)
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
  #answer(text: string, id: string, container: Container, now: number): Answer | undefined {
    const digest = hash('sha1', text, 'base64')
    const before = this.#answers.get(id)
    if (before?.container !== container || before.digest !== digest)
      return agrees(container, readListed(text), now) ? { container, digest } : undefined
    // "Up 5 minutes" is another answer five minutes later
    const status = /"Status":"(?<status>[^"\\]*)"/.exec(text)?.groups?.status
    return status !== undefined && sameRun(container, status, now) ? before : undefined
  }
}
