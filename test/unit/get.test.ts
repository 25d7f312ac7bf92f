import { once } from 'node:events'
import { mkdtemp, rm, unlink } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { connectDocker, connectDockerAnew } from '../../docker/client.ts'
import { getJson, getText } from '../../docker/get.ts'
import { inspectContainer } from '../../docker/queries.ts'

/** An engine that answers like this. */
const engine = async (t: Test, answer: RequestListener) => {
  const folder = await mkdtemp(join(tmpdir(), 'get-'))
  const socket = join(folder, 'docker.sock')
  const server = createServer(answer).listen(socket)
  await once(server, 'listening')
  t.teardown(async () => {
    server.close()
    server.closeAllConnections()
    await rm(folder, { recursive: true, force: true })
  })
  return connectDocker({ kind: 'unix', socket })
}

t.test('an answer comes as text and as JSON, in however many parts', async (t) => {
  const docker = await engine(t, (request, response) => {
    const bytes = Buffer.from(`{"path":"${request.url}","a":"ä"}`)
    response.write(bytes.subarray(0, -3)) // in the middle of the ä
    setTimeout(() => response.end(bytes.subarray(-3)), 20)
  })
  t.equal(await getText(docker, 'ask', '/x', 5000), '{"path":"/x","a":"ä"}')
  t.strictSame(await getJson(docker, 'ask', '/y?z=1', 5000), { path: '/y?z=1', a: 'ä' })
})

t.test('a refusal is told with its kind and in the words of the engine', async (t) => {
  const docker = await engine(t, ({ url = '' }, response) => {
    response.writeHead(Number(url.slice(1)))
    response.end(url === '/502' ? 'plain words' : '{"message":"no such thing"}')
  })
  const ask = (status: number) => getJson(docker, 'ask for it', `/${status}`, 5000)
  await t.rejects(ask(404), { kind: 'not-found', message: 'ask for it', cause: { message: 'no such thing' } })
  await t.rejects(ask(403), { kind: 'denied', message: 'ask for it' })
  await t.rejects(ask(409), { kind: 'conflict', message: 'ask for it' })
  await t.rejects(ask(500), { kind: 'unavailable', cause: { message: 'no such thing', statusCode: 500 } })
  await t.rejects(ask(502), { kind: 'unavailable', cause: { message: 'plain words' } })
})

t.test('no answer, half an answer and a wrong one are failures', async (t) => {
  const docker = await engine(t, ({ url }, response) => {
    if (url === '/half') response.write('{"a":', () => setTimeout(() => response.destroy(), 20))
    if (url === '/wrong') response.end('{"a":')
    if (url?.startsWith('/containers/')) response.end(JSON.stringify({ asked: url }))
  })
  await t.rejects(getJson(docker, 'ask', '/never', 50), {
    kind: 'unavailable',
    message: 'ask: the Docker Engine did not answer within 0.05 s',
  })
  await t.rejects(getJson(docker, 'ask', '/half', 5000), { kind: 'unavailable', message: 'ask' })
  await t.rejects(getJson(docker, 'ask', '/wrong', 5000), { kind: 'invalid', message: /is no JSON/ })
  await t.rejects(inspectContainer(docker, 'no id /?'), { kind: 'invalid', message: /cannot be read/ })
  const nobody = connectDocker({ kind: 'unix', socket: '/nowhere.sock' })
  await t.rejects(getText(nobody, 'ask', '/x', 5000), { kind: 'unavailable', cause: { code: 'ENOENT' } })
})

t.test(
  'an Engine that ends serves on connections that it has: who changes something does not get there',
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'get-'))
    const socket = join(folder, 'docker.sock')
    const started: string[] = []
    const server = createServer(({ url = '' }, response) => {
      if (url.includes('/start')) started.push(url)
      response.setHeader('content-type', 'application/json').end('{}')
    }).listen(socket)
    await once(server, 'listening')
    t.teardown(async () => {
      server.close()
      server.closeAllConnections()
      await rm(folder, { recursive: true, force: true })
    })
    const endpoint = { kind: 'unix', socket } as const
    const [pooled, anew] = [connectDocker(endpoint), connectDockerAnew(endpoint)]
    for (const docker of [pooled, anew]) await docker.info()
    await unlink(socket)
    await pooled.getContainer('by-a-connection-of-before').start()
    t.match(started, [/by-a-connection-of-before/], 'so it is with a pool')
    await t.rejects(anew.getContainer('anew').start(), { code: 'ENOENT' })
    t.equal(started.length, 1)
  },
)
