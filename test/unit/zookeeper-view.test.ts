import t from 'tap'
import { zookeeperView } from '../../registry/views/zookeeper.ts'

const service = {
  service: 'web',
  host: 'vm',
  container: 'web-1',
  containerId: '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
  address: '10.0.0.1',
  port: 18080,
  exposedPort: 80,
  protocol: 'tcp' as const,
  tags: ['a', 'b'],
  attributes: { zone: 'x', id: 'my-id', check_http: '/?a=1&b=<2>' },
  health: 'none' as const,
}
// a view of this kind looks at nothing but the service
const about = undefined as never
const entry = (changes: object = {}) => zookeeperView().instance?.({ ...service, ...changes }, about)?.[0]

// gliderlabs/registrator, zookeeper/zookeeper.go: Register creates basePath + "/" + service.IP + ":" + publicPortString
t.test('the key is <name>/<ip>:<public port>', async (t) => {
  t.equal(entry()?.[0], 'web/10.0.0.1:18080')
  t.equal(entry({ address: 'fd00::1' })?.[0], 'web/[fd00::1]:18080')
})

// The same: struct ZnodeBody has Name, IP, PublicPort, PrivatePort, ContainerID, Tags, Attrs, without names for JSON, so they
// stand as they are, in that order. encoding/json sorts a map and writes <, > and & as \u003c, \u003e and \u0026.
// ContainerID is Origin.ContainerHostname, which is the container's short ID unless it was given a host name.
// bridge/bridge.go, newService: id, tags and name are deleted from the metadata that becomes Attrs.
t.test('the value is the ZnodeBody', async (t) => {
  t.equal(
    entry()?.[1],
    '{"Name":"web","IP":"10.0.0.1","PublicPort":18080,"PrivatePort":80,"ContainerID":"0123456789ab",' +
      '"Tags":["a","b"],"Attrs":{"check_http":"/?a=1\\u0026b=\\u003c2\\u003e","zone":"x"}}',
  )
})

// bridge/util.go: combineTags makes a list, serviceMetaData a map, neither of which is nil
t.test('without tags and attributes they are empty, not null', async (t) => {
  t.match(entry({ tags: [], attributes: {} })?.[1], /"Tags":\[\],"Attrs":\{\}\}$/)
})

t.test('what ZooKeeper refuses is invalid, and no key tells its host', async (t) => {
  t.throws(() => entry({ attributes: { large: 'x'.repeat(1_048_576) } }), /larger than 1000000 bytes/)
  t.equal(zookeeperView().owns('web/10.0.0.1:18080', 'vm'), false)
})
