import fc from 'fast-check'
import t from 'tap'
import { readCall } from '../../plugin/guard/api-call.ts'
import { endpoints, findEndpoint } from '../../plugin/guard/endpoints.ts'
import { readQuery } from '../../plugin/guard/query.ts'
import recorded from '../data/engine-api.json' with { type: 'json' }

/** "POST /containers/{id:.*}/stop", whatever its parameters are called and match. */
const shape = (call: string): string => call.replace(/\{[^}]*\}/g, '{}')
/** As above, but telling "{id}" and "{id:.*}" apart. */
const exactShape = (call: string): string => call.replace(/\{\w+/g, '{')
const inTable = endpoints.map(({ method, path }) => `${method} ${path}`)
const read = (call: string) => {
  const [method = '', uri = ''] = call.split(/ (.*)/s)
  return readCall({ method, uri })
}

t.test('every call of the recorded APIs is classified', async (t) => {
  for (const call of Object.keys(recorded.described)) {
    const [method = '', path = ''] = call.split(' ')
    const segments = path
      .slice(1)
      .replace(/\{.*?\}/g, 'x')
      .split('/')
    const found = findEndpoint(method, segments)?.endpoint
    t.equal(shape(`${found?.method} ${found?.path}`), shape(call), `${call} is in the table of endpoints`)
  }
  const shapes = new Set(inTable.map(exactShape))
  for (const route of Object.keys(recorded.routed))
    t.ok(shapes.has(exactShape(route)), `${route} is in the table of endpoints, matched as the Engine does`)
})

t.test('the table has nothing twice, and nothing that no Engine has', async (t) => {
  const shapes = inTable.map(shape)
  t.strictSame(
    shapes.filter((each, at) => shapes.indexOf(each) !== at),
    [],
  )
  const known = new Set([...Object.keys(recorded.described), ...Object.keys(recorded.routed)].map(shape))
  t.strictSame(
    shapes.filter((each) => !known.has(each)),
    [],
  )
})

t.test('what can harm storage is guarded, what only reads is not', async (t) => {
  const table: [string, string | undefined][] = [
    ['POST /containers/x/stop', 'container'],
    ['POST /containers/x/exec', 'container'],
    ['GET /containers/x/attach/ws', 'container'],
    ['PUT /containers/x/archive?path=/', 'container'],
    ['DELETE /containers/x/checkpoints/y', 'checkpoint'],
    ['DELETE /containers/x', 'container'],
    ['POST /exec/x/start', 'exec'],
    ['POST /containers/create', 'container-create'],
    ['POST /volumes/create', 'volume-create'],
    ['DELETE /plugins/openebs/registrator:1', 'plugin'],
    ['POST /services/x/update', 'service'],
    ['POST /containers/x/start', undefined],
    ['POST /containers/x/resize', undefined],
    ['GET /containers/x/archive?path=/', undefined],
    ['HEAD /containers/x/archive?path=/', undefined],
    ['POST /exec/x/resize', undefined],
    ['POST /images/create?fromImage=x', undefined],
  ]
  for (const [call, guard] of table) t.match(read(call), { kind: 'call', endpoint: { guard } }, call)
  for (const { method, path, guard } of endpoints)
    if (['GET', 'HEAD', 'OPTIONS'].includes(method) && !path.endsWith('/attach/ws'))
      t.equal(guard, undefined, `${method} ${path}`)
})

t.test('the Engine is read as it reads', async (t) => {
  const table: [string, object][] = [
    ['POST /v1.41/containers/x/stop?t=1', { version: '1.41', parameters: { id: 'x' } }],
    ['POST /containers/x/stop', { version: undefined, segments: ['containers', 'x', 'stop'] }],
    // versions that no Engine has are looked at after the guard, and some of them pass
    ['POST /v1.41.2/containers/x/stop', { version: '1.41.2', parameters: { id: 'x' } }],
    ['POST /v999/containers/x/stop', { version: '999', parameters: { id: 'x' } }],
    // decoded once and before the routes are asked
    ['POST /v1%2E41/containers/%78/st%6fp', { version: '1.41', parameters: { id: 'x' } }],
    ['POST /containers%2fx%2Fstop', { parameters: { id: 'x' } }],
    ['DELETE /images/ghcr.io%2Fa%2Fb%3A1?force=1', { parameters: { name: 'ghcr.io/a/b:1' } }],
    ['DELETE /images/ghcr.io/a/b@sha256:0', { parameters: { name: 'ghcr.io/a/b@sha256:0' } }],
    ['DELETE /volumes/b%20c', { parameters: { name: 'b c' } }],
    // a parameter takes what it can
    ['POST /containers/a/stop/stop', { endpoint: { action: 'stop' }, parameters: { id: 'a/stop' } }],
    ['POST /containers/a/stop/start', { endpoint: { action: 'start' }, parameters: { id: 'a/stop' } }],
    // through a proxy
    ['POST http://host:1/v1.41/containers/x/stop', { version: '1.41', parameters: { id: 'x' } }],
    ['GET /networks/', { endpoint: { action: 'list' } }],
    ['GET /containers/a//json', { endpoint: undefined, segments: [] }],
    ['GET /containers/a/./json', { endpoint: undefined, segments: [] }],
    ['GET //host/images/json', { endpoint: undefined, segments: [] }],
    ['DELETE /images/a%E2%80%A8b', { endpoint: { action: 'remove' } }],
    ['GET /images/create', { endpoint: undefined }],
    ['POST /services/a/b/update', { endpoint: undefined }],
    ['BREW /containers/x/stop', { endpoint: undefined }],
  ]
  for (const [call, expected] of table) t.match(read(call), { kind: 'call', ...expected }, call)
})

t.test('what can be read in two ways is refused where one of them is guarded', async (t) => {
  const refused = [
    'POST //containers/x/stop',
    'POST /v1.41//containers/x/stop',
    'POST /containers//x/stop',
    'POST /./containers/x/stop',
    'POST /containers/y/../x/stop',
    'POST /containers/y/%2e%2E/x/stop',
    'POST /containers/x/stop/',
    'DELETE /containers/x/',
    'POST /containers/x/stop%00',
    'POST /containers/x%00/stop',
    'POST /containers/x/stop%00/start',
    'POST /containers/x/sto%0ap',
    'POST /containers/x/sto\tp',
    'POST /containers/x/stop\n',
    'POST /containers/x/stop%20',
    'POST /containers/%zz/stop',
    'POST /containers/x/%2573top',
    'POST /containers/x%c0%afstop',
    'POST /containers\\x\\stop',
    'POST /containers/x/stop;a=b',
    'POST /containers/x/stop#',
    'POST /containers/x/stop%23a/start',
    'POST /containers/x/stop%3fa/start',
    'POST /Containers/x/STOP',
    'POST /V1.41/containers/x/stop',
    'post /containers/x/stop',
    'HEAD /containers/x/attach/ws',
    'POST http:/containers/x/stop',
    'POST http:/host/containers/x/stop',
    'POST http:host/containers/x/stop',
    'POST x://host/containers/x/stop',
    'POST http://host\\/containers/x/stop',
    'POST //host/containers/x/stop',
    'POST containers/x/stop',
    'POST /containers/x/stop?\0',
  ]
  for (const call of refused)
    t.match(read(call), { kind: 'refused', reason: /^".*" can be read in .* "\w+" of containers: / }, call)
  const harmless = [
    'GET //images/json',
    'GET /images/%zz/json',
    'GET /IMAGES/json',
    'POST /images/create#',
    'GET *',
    'GET http://host',
    'GET /containers/json?all=0;all=1',
    'GET /containers/json?all=0&All=1',
  ]
  for (const call of harmless) t.equal(read(call).kind, 'call', call)
  t.match(read('POST '), { kind: 'refused', reason: /without its method or path: repeat it/ })
  t.match(readCall({ method: '', uri: '/x' }), { kind: 'refused' })
  t.match(read(`GET /${'x'.repeat(5_000)}`), { kind: 'refused', reason: /more than 4096 characters/ })
  const many = `GET /${'%25'.repeat(9)}${'25'.repeat(90)}${';\\'.repeat(9)}//x`
  t.match(read(many), { kind: 'refused', reason: /too many ways: write it plainly/ })
})

t.test('an API in which a start could change a container is refused', async (t) => {
  const old = ['1.23', '1.9', '1', '.', '1.023', '1.23.99', '0.99']
  for (const version of old)
    for (const call of ['start', 'stop'])
      t.match(read(`POST /v${version}/containers/x/${call}`), { reason: /too old to be guarded: use 1.24/ })
  for (const version of ['1.24', '1.024', '1.24.0', '2', '1.100'])
    t.match(read(`POST /v${version}/containers/x/start`), { kind: 'call', version })
  t.match(read('POST /v1.12/images/create'), { kind: 'call' })
})

t.test('queries are read as the Engine does, or refused where it matters', async (t) => {
  const odd: [string, RegExp][] = [
    ['force=0&force=1', /gives "force" more than once: give it once/],
    ['force=0&FORCE=1', /gives "FORCE" more than once/],
    ['force=0&forc%65=1', /gives "force" more than once/],
    ['force=0;force=1', /a bare ";": write %3B/],
    ['force=%', /a "%" that escapes nothing: write %25/],
    ['force=1#', /a bare "#": write %23/],
  ]
  for (const [query, reason] of odd) {
    t.match(read(`DELETE /containers/x?${query}`), { kind: 'refused', reason }, query)
    t.equal(read(`GET /containers/x/json?${query}`).kind, 'call', query)
  }
  t.match(read('DELETE /images/x?platforms=a&platforms=b'), { kind: 'call' }, 'a list')
  const body = 'name=x&Env=A%3D1&Env=B%3D2&Cmd=sh&Cmd=-c'
  t.match(read(`POST /containers/create?${body}`), { kind: 'call' }, 'a create body that a client repeats')
  const { parameters } = readQuery('a=1&a=2&?b=3&c;d=4&e=%zz&f+g=%2B+&h&=i&&j=k=l')
  t.strictSame([...parameters].slice(1), [
    ['a', '2'],
    ['?b', '3'],
    ['f g', '+ '],
    ['h', ''],
    ['', 'i'],
    ['j', 'k=l'],
  ])
  t.equal(parameters.get('a'), '1', 'the first')
  const text = fc.string({ unit: 'grapheme' })
  fc.assert(
    fc.property(fc.array(fc.tuple(text, text)), (pairs) => {
      const written = new URLSearchParams(pairs)
      return String(readQuery(String(written)).parameters) === String(written)
    }),
  )
})
