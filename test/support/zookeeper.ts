import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { until } from '../../process/backoff.ts'
import { freePorts, type Teardown } from './etcd.ts'
import { stopProcess } from './signals.ts'
import { ZookeeperReader } from './zookeeper-reader.ts'

/** bookworm: 3.8.0; trixie: 3.9.3. */
export type Suite = 'bookworm' | 'trixie'

/** Sessions of a real server here last from 1 to 10 s (2 to 20 ticks). */
const tick = 500

/** The folder with the programs, fetched once. Rejects where they cannot be had. */
export const fetchZookeeper = async (suite: Suite): Promise<string> => {
  const script = join(import.meta.dirname, 'zookeeper.sh')
  return (await promisify(execFile)('bash', [script, suite], { timeout: 300_000 })).stdout.trim()
}

/** A real ZooKeeper of a Debian suite that answers, alone; it ends with the test. Fetched at its first use. */
export const startZookeeper = async (t: Teardown, suite: Suite = 'bookworm'): Promise<Zookeeper> => {
  const tree = await fetchZookeeper(suite)
  const [port = 0] = await freePorts('127.0.0.1', 1)
  const folder = await mkdtemp(join(tmpdir(), 'zk-'))
  const server = new Zookeeper(tree, folder, port)
  t.teardown(async () => {
    await server.kill()
    await rm(folder, { recursive: true, force: true })
  })
  await server.start()
  return server
}

export class Zookeeper {
  /** <host>:<port> */
  readonly address: string
  readonly #tree: string
  readonly #folder: string
  readonly #port: number
  #process: ChildProcess | undefined

  constructor(tree: string, folder: string, port: number) {
    this.#tree = tree
    this.#folder = folder
    this.#port = port
    this.address = `127.0.0.1:${port}`
  }

  /** Also after `kill`, with the data it had. Resolves when it answers. */
  async start(): Promise<void> {
    const settings = join(this.#folder, 'zoo.cfg')
    await writeFile(
      settings,
      [
        `dataDir=${join(this.#folder, 'data')}`,
        `clientPort=${this.#port}`,
        'clientPortAddress=127.0.0.1',
        `tickTime=${tick}`,
        'admin.enableServer=false',
        '4lw.commands.whitelist=*',
        'maxClientCnxns=0',
        '',
      ].join('\n'),
    )
    const jars = (await readdir(join(this.#tree, 'java')))
      .map((jar) => join(this.#tree, 'java', jar))
      .join(':')
    const main = 'org.apache.zookeeper.server.quorum.QuorumPeerMain'
    // setpriv: it must not outlive a test process that is killed. Only C1: it starts in half the time
    this.#process = spawn(
      'setpriv',
      [
        ...[
          '--pdeathsig',
          'KILL',
          join(this.#tree, 'jre', 'bin', 'java'),
          '-Xmx256m',
          '-XX:TieredStopAtLevel=1',
        ],
        ...['-Dorg.slf4j.simpleLogger.defaultLogLevel=error', '-Dzookeeper.snapshot.trust.empty=true'],
        ...['-cp', jars, main, settings],
      ],
      { stdio: 'ignore', cwd: this.#folder },
    )
    const ended = once(this.#process, 'exit').then(([code]) => {
      throw new Error(`ZooKeeper ended with status ${code}`)
    })
    ended.catch(() => {})
    const answers = async () => ((await this.word('ruok').catch(() => '')) === 'imok' ? true : undefined)
    const serves = async () =>
      (await answers()) && (await this.word('srvr').catch(() => '')).includes('Zxid') ? true : undefined
    if (!(await Promise.race([until(serves, { ms: 30_000 }), ended])))
      throw new Error(`ZooKeeper at ${this.address} does not answer`)
  }

  /** What it says to a word of four letters. */
  async word(word: string): Promise<string> {
    const socket = connect(this.#port, '127.0.0.1').setTimeout(5000)
    socket.on('timeout', () => socket.destroy(new Error('ZooKeeper does not answer')))
    socket.end(word)
    const chunks: Buffer[] = []
    for await (const chunk of socket) chunks.push(chunk as Buffer)
    return Buffer.concat(chunks).toString()
  }

  /** Of the last transaction: it counts writes, sessions that begin or end, and requests that failed. */
  async zxid(): Promise<number> {
    return Number(/Zxid: (0x[0-9a-f]+)/.exec(await this.word('srvr'))?.[1])
  }

  /** An independent client, with a session of its own. */
  async reader(): Promise<ZookeeperReader> {
    return ZookeeperReader.open(this.#port)
  }

  /** Returns when all of its threads have stopped. */
  pause(): void {
    if (this.#process?.pid !== undefined) stopProcess(this.#process.pid)
  }

  resume(): void {
    this.#process?.kill('SIGCONT')
  }

  async kill(): Promise<void> {
    const child = this.#process
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  }
}
