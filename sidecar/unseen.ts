import type { HostSnapshot } from './snapshot.ts'

const seenBySwarm = ['node', 'service', 'task', 'secret', 'config']

/** What a swarm calls the container of a task ends with the task's ID; so do instances that it publishes itself. */
const isOfTask = (instance: string): boolean => /^[^:]*:[^:]+\.[a-z0-9]{25}:/.test(instance)

/**
 * Which keys nothing can be said about yet: those of what this run has not looked at since its start. What an earlier run
 * wrote there stays, or a restart would withdraw all for as long as the first look takes. It stays on the earlier
 * run's lease, so it outlives nothing for longer than the TTL. Pure.
 */
export const unseenKeys =
  (missing: HostSnapshot['missing']) =>
  (key: string): boolean => {
    const [collection, , third = ''] = key.split('/')
    if (collection === 'services')
      return missing.has('container') || (missing.has('swarm') && isOfTask(third))
    if (collection === 'vsms') return missing.has('container')
    return collection === 'inventory' && missing.has(seenBySwarm.includes(third) ? 'swarm' : third)
  }
