import { type EngineEvent, parseNano } from './events.ts'
import type { Container } from './inspect.ts'

/**
 * A container after its event `die`, as far as the event tells. It is the one event that says more than where to look:
 * an Engine answers no inspect of a container that is just dying (on 20.10 for some 100 ms, while it takes its network
 * down), and whoever still asks for its services meets nobody. When it ended in the Engine's own words, and whether it
 * starts again, only the inspect tells that follows.
 * Undefined where the event says nothing new: for any other event, for a container that is not known to run, and for
 * one that was seen in a later run than the one that ended (events are replayed, and come late). Pure.
 */
export const afterDeath = (container: Container, event: EngineEvent): Container | undefined => {
  if (event.type !== 'container' || event.action !== 'die' || event.id !== container.id) return undefined
  const started = parseNano(container.startedAt)
  const code = /^-?\d+$/.exec(event.attributes.exitCode ?? '')?.[0]
  const runs = container.state === 'running' || container.state === 'paused'
  if (!runs || code === undefined || started === undefined || BigInt(event.timeNano) <= started)
    return undefined
  return {
    ...container,
    state: 'exited',
    exitCode: Number(code),
    finishedAt: '',
    healthOutput: '',
    networks: container.networks.map(({ name }) => ({ name })),
    bindings: [],
  }
}
