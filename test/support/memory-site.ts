import { Failure } from '../../process/failure.ts'
import { createLog } from '../../process/log.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { onOwnLease } from '../../registry/stores/view-store.ts'
import { registratorView } from '../../registry/views/registrator.ts'
import type { Site } from '../contract/site.ts'

/** The same in memory: what a dry run has. Its outages are refusals, as nothing can hang there. */
export const memorySite: Site = {
  name: 'memory',
  start: async (t) => {
    let away = false
    const store = new MemoryStore({
      before: () => {
        if (away) throw new Failure('unavailable', 'away')
      },
    })
    // what looks on is not the one that is cut off
    const past = async <T>(work: () => Promise<T>): Promise<T> => {
      const before = away
      away = false
      const working = work()
      away = before
      return working
    }
    t.teardown(() => store.close())
    const is = async (state: boolean) => {
      away = state
    }
    return {
      ttl: 5,
      open: async (host) =>
        onOwnLease(
          new Proxy(store, { get: (of, name) => (name === 'close' ? async () => {} : bound(of, name)) }),
          { ttl: 5 },
          { host, view: registratorView(), log: createLog('test', 'silent') },
        ),
      entry: (host, name, variant = 1) => [`${name}/${host}:${name}:80`, `10.0.0.${variant}:80`],
      strangeEntry: (name, variant = 1) => [`${name}/my-id`, `10.0.0.${variant}:80`],
      look: async () =>
        Object.fromEntries((await past(() => store.read(''))).entries.map(({ key, value }) => [key, value])),
      shows: (value) => value,
      write: async (key, value) =>
        void (await past(() => store.apply([{ kind: 'put', key, value, guard: 'any' }]))),
      remove: async (key) => void (await past(() => store.apply([{ kind: 'delete', key, guard: 'any' }]))),
      writes: async () => Number((await past(() => store.read(''))).revision),
      pause: () => is(true),
      resume: () => is(false),
      kill: () => is(true),
      restart: () => is(false),
    }
  },
}

const bound = (of: object, name: string | symbol): unknown => {
  const value: unknown = Reflect.get(of, name)
  return typeof value === 'function' ? value.bind(of) : value
}
