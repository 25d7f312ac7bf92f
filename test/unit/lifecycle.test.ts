import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'

const url = (file: string) => JSON.stringify(pathToFileURL(`${import.meta.dirname}/../../${file}`).href)

/** A process that says when it runs, and what happens to it; `close` is how its last step ends. */
const start = async (t: Test, close: string) => {
  const script = `
    import { aborted, runProcess } from ${url('process/lifecycle.ts')}
    import { createLog } from ${url('process/log.ts')}
    await runProcess(createLog('test', 'info'), async (stack, stop) => {
      const timer = setInterval(() => {}, 1000)
      stack.defer(() => { console.log('closing'); return ${close} })
      console.log('runs')
      await aborted(stop)
    })`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const exit = once(child, 'exit')
  let said = ''
  child.stdout.setEncoding('utf8')
  const says = async (what: string) => {
    while (!said.includes(what)) said += String((await once(child.stdout, 'data'))[0])
  }
  await says('runs')
  return { child, exit, says }
}

t.test('a signal ends a process in order', async (t) => {
  const { child, exit } = await start(t, 'undefined')
  child.kill('SIGTERM')
  t.strictSame(await exit, [0, null])
})

t.test('a second one ends it at once, whatever it waits for', async (t) => {
  const { child, exit, says } = await start(t, 'new Promise(() => {})')
  child.kill('SIGTERM')
  await says('closing')
  child.kill('SIGTERM')
  t.strictSame(await exit, [1, null])
})
