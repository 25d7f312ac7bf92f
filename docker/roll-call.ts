import { hash } from 'node:crypto'
import { agrees, type Container, isStill, type Run, runOf } from './inspect.ts'
import { readListed } from './queries.ts'

/** Of a container that a list agreed with: as what it was known then, and what the list said. */
interface Answer {
  readonly container: Container
  /** Of all that it said. */
  readonly digest: string
  readonly run: Run
}
/** What a list said last of a container; without an answer where it did not agree. */
interface Call {
  list: number
  answer: Answer | undefined
}

const idLength = 64
/** How an item begins, with every Engine that there is. */
const head = '{"Id":"'

/**
 * Compares a list of containers with what is known of them. A list that says of a container what it said before need
 * not be read again: mostly it says that of all of them.
 */
export class RollCall {
  readonly #calls = new Map<string, Call>()
  #list = 1

  /**
   * One of the list, as JSON; returns its ID where it must be inspected, as it is not what is known. Errors: as
   * readListed.
   */
  call(item: Buffer, known: ReadonlyMap<string, Container>, now = Date.now()): string | undefined {
    const id = idOf(item)
    const container = known.get(id)
    const last = this.#calls.get(id)
    const answer = container && answerOf(item, container, last?.answer, now)
    if (last) Object.assign(last, { list: this.#list, answer })
    else this.#calls.set(id, { list: this.#list, answer })
    return answer ? undefined : id
  }

  /** The end of the list; returns those of `known` that it does not have. */
  end(known: ReadonlyMap<string, Container>): string[] {
    for (const [id, { list }] of this.#calls) if (list !== this.#list) this.#calls.delete(id)
    this.#list += 1
    return [...known.keys()].filter((id) => !this.#calls.has(id))
  }
}

const idOf = (item: Buffer): string => {
  const text = item.toString('latin1', 0, head.length + idLength + 1)
  return text.startsWith(head) && text.endsWith('"') ? text.slice(head.length, -1) : readListed(item).Id
}

/** Undefined where the list does not agree. */
const answerOf = (
  item: Buffer,
  container: Container,
  before: Answer | undefined,
  now: number,
): Answer | undefined => {
  const digest = hash('sha1', item, 'base64')
  if (before?.container === container && before.digest === digest)
    return isStill(before.run, now) ? before : undefined
  const listed = readListed(item)
  return agrees(container, listed, now)
    ? { container, digest, run: runOf(container, listed.Status) }
    : undefined
}
