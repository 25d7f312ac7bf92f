import { execFile } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { explain } from '../../process/failure.ts'
import { readTarget } from '../../registry/stores/schemes.ts'
import { readCompat } from '../../sidecar/compat/options.ts'
import { templateTags } from '../../sidecar/compat/tags.ts'

const read = (line: string) => readCompat(line.split(' ').filter((word) => word !== ''))
const refused = (doing: () => unknown): string => {
  try {
    doing()
    return 'nothing was refused'
  } catch (error) {
    return explain(error)
  }
}

t.test("the peer's options, in Go's form", async (t) => {
  t.match(
    read('-ip 10.1.2.3 -internal -explicit=true --useIpFromLabel=my.ip etcd://h/services'),
    {
      uri: 'etcd://h/services',
      ip: '10.1.2.3',
      internal: true,
      explicit: true,
      useIpFromLabel: 'my.ip',
    },
    'before the URI, with one dash or two, with = or without',
  )
  t.match(read('etcd://h -internal=false -ttl 30 -ttl-refresh=10'), {
    internal: false,
    ttl: 30,
    ttlRefresh: 10,
  })
  t.match(
    read('-ttl 0 -ttl-refresh 0 -resync 0 -retry-attempts -1 -deregister always -cleanup etcd://h'),
    { ttl: undefined, resync: undefined, retryAttempts: undefined, deregister: 'always' },
    'the defaults, spelled out',
  )
  t.match(read('-resync 20 -retry-attempts 3 -retry-interval 100 -deregister on-success etcd://h'), {
    resync: 20,
    retryAttempts: 3,
    retryInterval: 100,
    deregister: 'on-success',
  })
  t.equal(read('-help'), 'help')
  t.equal(read('-version'), 'version')
  t.match(readCompat(['-tags', 'a,{{.ID}}', 'etcd://h']), { tags: 'a,{{.ID}}' })
})

t.test('a wrong command line says what is wrong and what was expected', async (t) => {
  const rows: [line: string, message: RegExp][] = [
    ['', /expected a registry's URI, such as etcd:/],
    ['-nope etcd://h', /-nope: no such option\. Known options: -ip, -internal, .*-cleanup/],
    ['-ip', /-ip: expected a value after it/],
    ['-ip nonsense etcd://h', /-ip: expected an IPv4 or IPv6 address, not "nonsense"/],
    ['-internal=maybe etcd://h', /-internal: expected true or false, not "maybe"/],
    ['-ttl x -ttl-refresh 1 etcd://h', /-ttl: expected a whole number, not "x"/],
    ['-ttl 10 etcd://h', /-ttl and -ttl-refresh: both are needed/],
    ['-ttl-refresh 10 etcd://h', /-ttl and -ttl-refresh: both are needed/],
    ['-ttl -5 -ttl-refresh 1 etcd://h', /both are needed, in seconds and greater than 0/],
    ['-ttl 5 -ttl-refresh 10 etcd://h', /-ttl must be greater than -ttl-refresh, .*: 5 and 10 were given/],
    ['-ttl 10 -ttl-refresh 10 etcd://h', /-ttl must be greater/],
    ['-deregister never etcd://h', /-deregister: expected always or on-success, not "never"/],
    ['-retry-interval 0 etcd://h', /-retry-interval: expected milliseconds, more than 0, not 0/],
    ['-retry-attempts -2 etcd://h', /-retry-attempts: expected -1 \(for ever\)/],
    ['etcd://h etcd://i', /expected one registry's URI, and found 1 more arguments, the first: "etcd:\/\/i"/],
  ]
  for (const [line, message] of rows)
    t.match(
      refused(() => read(line)),
      message,
      line || 'nothing',
    )
  t.notMatch(
    refused(() => read('etcd://h etcd://user:secret@i')),
    /secret/,
  )
})

t.test('registry URIs', async (t) => {
  const rows: [uri: string, message: RegExp][] = [
    ['etcd:/h', /registry "etcd:\/h": expected one of etcd:\/\/, /],
    ['redis://h', /registry "redis:\/\/h": expected one of etcd:\/\//],
    ['constructor://h', /expected one of/],
    ['skydns2://h', /expected a domain, as in skydns2:\/\/127\.0\.0\.1:2379\/example\.org/],
    ['skydns2://h/not a domain', /not "not a domain"/],
    ['etcd://h:99999/x', /OPENEBS_STORE|expected etcd:\/\/host/],
  ]
  for (const [uri, message] of rows)
    t.match(
      refused(() => readTarget(uri, {})),
      message,
      uri,
    )
  for (const uri of ['etcd://user:secret@h', 'redis://user:secret@h', 'consul://secret@h']) {
    const said = refused(() => readTarget(uri, {}))
    t.match(said, /no user or password in a registry's URI, .*OPENEBS_STORE_USER/)
    t.notMatch(said, /secret/)
  }
  t.equal(readTarget('etcd://h/a/b/', {}).root, '/a/b', 'without the "/" at its end')
  t.equal(readTarget('etcd://', {}).root, '', 'the peer took 127.0.0.1:2379 without a host')
})

t.test('tags by a template', async (t) => {
  const told: object[] = []
  const log = { warn: (...all: unknown[]) => void told.push(all[0] as object) }
  const tags = templateTags('{{.Config.Image}},x\\,y,,{{index .Config.Labels "zone"}}', log as never)
  const container = { Id: 'a', Name: '/c1', Config: { Image: 'web:1', Labels: { zone: 'b1' } } }
  t.strictSame(tags(container), ['web:1', 'x,y', 'b1'])
  const endless = templateTags(
    '{{range .Config.Env}}{{range $.Config.Env}}{{range $.Config.Env}}x{{end}}{{end}}{{end}}',
    log as never,
  )
  const many = { Id: 'b', Name: '/c2', Config: { Image: 'x', Env: Array(200).fill('A=b') } }
  t.strictSame(endless(many), [], 'one that goes on and on ends')
  t.match(told, [{ container: 'c2', reason: /takes more than/ }], 'and names the container')
  endless(many)
  t.equal(told.length, 1, 'once')
  t.strictSame(endless(container), [], 'another container is not harmed')
})

t.test('the program refuses before it does anything', async (t) => {
  const run = (...args: string[]) =>
    new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
      const program = join(import.meta.dirname, '../../cli/registrator.sh')
      execFile(program, args, { env: { PATH: process.env.PATH } }, (error, stdout, stderr) =>
        resolve({ code: error ? error.code : 0, stdout, stderr }),
      )
    })
  t.match(await run('-ttl', '5', 'etcd://127.0.0.1:1'), {
    code: 2,
    stderr: /^registrator: -ttl and -ttl-refresh.*\n\(registrator -help tells more\)\n$/,
  })
  t.match(await run('-tags', '{{nope}}', 'etcd://h'), {
    code: 2,
    stderr: /-tags: template, column 3: .*nope/,
  })
  t.match(await run('-help'), { code: 0, stdout: /-useIpFromLabel <label>/ })
  t.match(await run('-version'), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
  t.match(await run('redis://h'), { code: 2, stderr: /expected one of etcd:/ })
})
