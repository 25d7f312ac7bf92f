import { createLog } from '../../process/log.ts'
import { openEtcd } from '../../registry/stores/etcd.ts'
import { onOwnLease } from '../../registry/stores/view-store.ts'
import { registratorView } from '../../registry/views/registrator.ts'
import type { Site } from '../contract/site.ts'
import { startEtcd } from './etcd.ts'

const root = '/services'

/** The peer's layout in a real etcd, looked at by etcdctl. */
export const etcdSite: Site = {
  name: 'etcd',
  start: async (t) => {
    const etcd = await startEtcd(t)
    const get = async (...args: string[]) =>
      JSON.parse(await etcd.ctl('get', '--prefix', `${root}/`, '-w', 'json', ...args)) as {
        header: { revision: number }
        kvs?: { key: string; value: string }[]
      }
    const text = (base64: string) => Buffer.from(base64, 'base64').toString()
    return {
      ttl: 5,
      open: async (host) => {
        const store = await openEtcd({ uri: etcd.uri, root, writer: `registrator/${host}`, limit: 2000 })
        return onOwnLease(
          store,
          { ttl: 5 },
          { host, view: registratorView(), log: createLog('test', 'silent') },
        )
      },
      entry: (host, name, variant = 1) => [`${name}/${host}:${name}:80`, `10.0.0.${variant}:80`],
      strangeEntry: (name, variant = 1) => [`${name}/my-id`, `10.0.0.${variant}:80`],
      look: async () =>
        Object.fromEntries(
          ((await get()).kvs ?? []).map(({ key, value }) => [text(key).slice(root.length + 1), text(value)]),
        ),
      shows: (value) => value,
      write: async (key, value) => void (await etcd.ctl('put', `${root}/${key}`, '--', value)),
      remove: async (key) => void (await etcd.ctl('del', `${root}/${key}`)),
      writes: async () => (await get('--keys-only')).header.revision,
      pause: async () => etcd.member.pause(),
      resume: async () => etcd.member.resume(),
      kill: () => etcd.member.kill(),
      restart: () => etcd.member.start(),
    }
  },
}
