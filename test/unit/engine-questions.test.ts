import { once } from 'node:events'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { connectDockerAnew } from '../../docker/client.ts'
import { EngineQuestions } from '../../plugin/engine-questions.ts'

/** What the guard makes of answers of the Engine, and of none. */
t.test('what a volume is made of', async (t) => {
  const socket = join(t.testdir({}), 'docker.sock')
  const answers: Record<string, [number, string]> = {
    '/volumes/bound': [200, '{"Name":"bound","Driver":"local","Options":{"o":"bind","device":"/srv"}}'],
    '/volumes/plain': [200, '{"Name":"plain","Driver":"local","Options":null}'],
    '/volumes/none': [404, '{"message":"get none: no such volume"}'],
    '/volumes/a%2Fb': [400, '{"message":"bad name"}'],
  }
  const server = createServer(({ url = '' }, response) => {
    const [status, text] = answers[url.replace(/^\/v[\d.]+/, '')] ?? []
    if (status === undefined) return // its driver hangs
    response.writeHead(status, { 'content-type': 'application/json' }).end(text)
  }).listen(socket)
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const ask = new EngineQuestions(connectDockerAnew({ kind: 'unix', socket }))
  t.strictSame(await ask.volumeOf('bound'), { driver: 'local', options: { o: 'bind', device: '/srv' } })
  t.strictSame(await ask.volumeOf('plain'), { driver: 'local', options: null })
  t.equal(await ask.volumeOf('none'), undefined)
  t.equal(await ask.volumeOf('hangs'), undefined, 'of a driver that does not answer')
  await t.rejects(ask.volumeOf('a/b'), { kind: 'invalid', message: /inspect volume/ })
})
