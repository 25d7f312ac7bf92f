import t, { type Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import type { OnExit, OpenBackend, Wanted } from '../../registry/backend.ts'
import { consulAgentSite, consulKvSite } from '../support/consul-sites.ts'
import { etcdSite } from '../support/etcd-site.ts'
import { memorySite } from '../support/memory-site.ts'
import { zookeeperSiteOf } from '../support/zookeeper-site.ts'
import type { Started } from './site.ts'

/** What holds for every kind of backend, on its real server. A new kind is a line here. */
const sites = [
  memorySite,
  etcdSite,
  consulAgentSite,
  consulKvSite,
  zookeeperSiteOf('bookworm'),
  zookeeperSiteOf('trixie'),
]

type Entry = readonly [key: string, value: string]

/** One run of a host at a backend, as a process would have it. */
class Run {
  readonly #open: OpenBackend
  readonly #stop = new AbortController()
  readonly #running: Promise<void>

  readonly #onExit: OnExit

  private constructor(open: OpenBackend, onExit: OnExit) {
    this.#open = open
    this.#onExit = onExit
    this.#running = open.backend.run(this.#stop.signal, onExit)
  }

  static async begin(t: Test, site: Started, host: string, onExit: OnExit = 'withdraw'): Promise<Run> {
    const run = new Run(await site.open(host), onExit)
    t.teardown(() => run.end())
    return run
  }

  get backend() {
    return this.#open.backend
  }

  publish(entries: readonly Entry[], about?: Wanted): void {
    this.backend.publish(new Map(entries), about)
  }

  #ended: Promise<void> | undefined
  end(): Promise<void> {
    this.#ended ??= (async () => {
      this.#stop.abort()
      await this.#running
      await this.#open.close(this.#onExit)
    })()
    return this.#ended
  }
}

/** SITE=words runs those alone whose name has them. */
for (const { name, start } of sites.filter((site) => site.name.includes(process.env.SITE ?? '')))
  t.test(name, { timeout: 300_000 }, async (t) => {
    const site = await start(t)
    const shown = (entries: readonly Entry[]) =>
      Object.fromEntries(entries.map(([key, value]) => [key, site.shows(value)]))
    /** Waits until exactly these stand there, and shows what stood last if they never do. */
    const stands = async (t: Test, entries: readonly Entry[], what: string, ms = 10_000) => {
      const wanted = shown(entries)
      let last: unknown
      await until(
        async () => {
          last = await site.look()
          return sameText(last, wanted) ? true : undefined
        },
        { ms },
      )
      t.strictSame(last, wanted, what)
    }
    const settled = async (t: Test, { backend }: Run, ms = 10_000) => {
      const done = async () => (backend.lag() === 0 && backend.trouble === undefined ? true : undefined)
      if (!(await until(done, { ms }))) t.fail(`not settled: ${backend.trouble}, ${backend.lag()} ms behind`)
    }

    await t.test('what is published stands, and only the newest', async (t) => {
      const run = await Run.begin(t, site, 'h1')
      const [a, b] = [site.entry('h1', 'a'), site.entry('h1', 'b')]
      run.publish([a, b])
      await stands(t, [a, b], 'both')
      for (let variant = 2; variant < 200; variant++) run.publish([site.entry('h1', 'a', variant)])
      await stands(t, [site.entry('h1', 'a', 199)], 'the last of two hundred states, and b is gone')
      await settled(t, run)
      run.publish([])
      await stands(t, [], 'nothing')
      run.publish([a])
      await stands(t, [a], 'and again')
      await run.end()
      t.strictSame(await site.look(), {}, 'a stop withdraws it')
    })

    await t.test('names of all kinds', async (t) => {
      const run = await Run.begin(t, site, 'h1')
      const names = ['with space', 'ünïcödé', '100%', 'a+b', 'x'.repeat(200), "quo'te", 'q?a=b&c', '日本']
      const entries = names.map((name) => site.entry('h1', name))
      run.publish(entries)
      await stands(t, entries, 'each as it is')
      run.publish(entries.slice(1))
      await stands(t, entries.slice(1), 'and one less')
      await run.end()
      t.strictSame(await site.look(), {})
    })

    await t.test("another hand, and others' entries", async (t) => {
      const foreign = site.entry('h2', 'theirs')
      await site.write(...foreign)
      const run = await Run.begin(t, site, 'h1')
      const [a, b, c] = ['a', 'b', 'c'].map((name) => site.entry('h1', name)) as [Entry, Entry, Entry]
      run.publish([a, b, c])
      await stands(t, [a, b, c, foreign], 'side by side')
      await settled(t, run)
      await site.remove(a[0])
      await site.write(b[0], site.entry('h1', 'b', 9)[1])
      run.backend.resync()
      await stands(t, [a, b, c, foreign], 'what was deleted or changed is put right')
      await run.end()
      await stands(t, [foreign], "and a stop leaves others' alone")
      await site.remove(foreign[0])
    })

    await t.test('a resync without a difference writes nothing', async (t) => {
      const run = await Run.begin(t, site, 'h1')
      const entries = Array.from({ length: 20 }, (_, at) => site.entry('h1', `s${at}`))
      run.publish(entries)
      await stands(t, entries, 'there')
      await settled(t, run)
      /** What it takes to write one entry more. */
      const cost = async (more: Entry) => {
        const before = await site.writes()
        entries.push(more)
        run.publish(entries)
        await stands(t, entries, 'one more')
        await settled(t, run)
        return (await site.writes()) - before
      }
      const plain = await cost(site.entry('h1', 'plain'))
      run.backend.resync()
      t.equal(await cost(site.entry('h1', 'resynced')), plain, 'no more writes with a resync than without')
      await run.end()
    })

    await t.test('a successor takes over without a gap', async (t) => {
      const first = await Run.begin(t, site, 'h1', 'keep')
      // one that tells no host by its form, too: it is known by standing just as it is wanted
      const strange = site.strangeEntry ? [site.strangeEntry('adopted')] : []
      const entries = [...['a', 'b'].map((name) => site.entry('h1', name)), ...strange]
      const stale = site.entry('h1', 'stale')
      first.publish([...entries, stale])
      await stands(t, [...entries, stale], 'there')
      await settled(t, first)
      await first.end()
      const missing: string[] = []
      let watching = true
      const watched = (async () => {
        for (; watching; await pause(20)) {
          const now = await site.look()
          for (const [key] of entries) if (!(key in now)) missing.push(key)
        }
      })()
      const second = await Run.begin(t, site, 'h1')
      second.publish([entries[0] as Entry], { partial: true })
      await settled(t, second)
      t.equal(Object.keys(await site.look()).length, entries.length + 1, 'what is not known yet stays')
      second.publish(entries)
      await stands(t, entries, 'what is gone meanwhile is removed')
      // beyond the first one's time
      if (site.ttl !== undefined) await pause((site.ttl + 2) * 1000)
      watching = false
      await watched
      t.strictSame(missing, [], 'and all the time they stood')
      await stands(t, entries, 'they stand on')
      await second.end()
      t.strictSame(await site.look(), {})
    })

    await t.test('what nobody renews goes', async (t) => {
      const { ttl } = site
      if (ttl === undefined) {
        t.pass('has no time of its own: the next run removes it, as above')
        return
      }
      const run = await Run.begin(t, site, 'h1', 'keep')
      run.publish([site.entry('h1', 'a')])
      await stands(t, [site.entry('h1', 'a')], 'there')
      await settled(t, run)
      await run.end()
      t.equal(Object.keys(await site.look()).length, 1, 'kept')
      await stands(t, [], 'gone', (ttl * 3 + 10) * 1000)
    })

    await t.test('two hosts', async (t) => {
      const one = await Run.begin(t, site, 'h1')
      const two = await Run.begin(t, site, 'h10')
      const ofOne = [site.entry('h1', 'a'), site.entry('h1', 'b')]
      const ofTwo = [site.entry('h10', 'a', 2)]
      one.publish(ofOne)
      two.publish(ofTwo)
      await stands(t, [...ofOne, ...ofTwo], 'side by side')
      one.backend.resync()
      two.backend.resync()
      await settled(t, one)
      await settled(t, two)
      await one.end()
      await stands(t, ofTwo, "one host's end is no other's")
      await two.end()
    })

    await t.test('a key that two hosts want', async (t) => {
      if (!site.strangeEntry) {
        t.pass('every key tells its host')
        return
      }
      const first = await Run.begin(t, site, 'h1')
      const [theirs, ours] = [site.strangeEntry('x', 1), site.strangeEntry('x', 2)]
      const own = site.entry('h2', 'own')
      first.publish([theirs])
      await stands(t, [theirs], 'the first one has it')
      const second = await Run.begin(t, site, 'h2')
      second.publish([ours, own])
      await stands(t, [theirs, own], 'and keeps it; the rest is written')
      const told = async () => (second.backend.held.includes(ours[0]) ? true : undefined)
      t.ok(await until(told, { ms: 5000 }), 'the second one says so')
      second.publish([own])
      await settled(t, second)
      second.backend.resync()
      await settled(t, second)
      await stands(t, [theirs, own], 'it does not remove what it could not have')
      second.publish([ours, own])
      // one that came to be wanted after the last look is no less another's
      const [late, lateOurs] = [site.strangeEntry('late', 1), site.strangeEntry('late', 2)]
      await site.write(...late)
      second.publish([ours, own, lateOurs])
      const toldLate = async () => (second.backend.held.includes(late[0]) ? true : undefined)
      t.ok(await until(toldLate, { ms: 5000 }), 'nor is one that another wrote meanwhile taken')
      await stands(t, [theirs, own, late], 'it stands as it was')
      t.ok(second.backend.waits, 'and is waited for')
      second.publish([ours, own])
      await site.remove(late[0])
      await first.end()
      second.backend.resync()
      await stands(t, [ours, own], 'and has it when it is free')
      t.strictSame(second.backend.held, [])
      await second.end()
    })

    await t.test('a key that two hosts want with the same value', async (t) => {
      if (!site.strangeEntry) {
        t.pass('every key tells its host')
        return
      }
      const same = site.strangeEntry('same')
      const [one, two] = [await Run.begin(t, site, 'h1'), await Run.begin(t, site, 'h2')]
      one.publish([same, site.entry('h1', 'a')])
      await stands(t, [same, site.entry('h1', 'a')], 'there')
      two.publish([same, site.entry('h2', 'b')])
      await stands(t, [same, site.entry('h1', 'a'), site.entry('h2', 'b')], 'both are content')
      await settled(t, one)
      await settled(t, two)
      const before = await site.writes()
      for (const run of [one, two, one, two]) {
        run.backend.resync()
        await pause(100)
        await settled(t, run)
      }
      t.equal(await site.writes(), before, 'they do not take it from one another')
      t.strictSame([...one.backend.held, ...two.backend.held], [], 'and nobody complains')
      await one.end()
      two.backend.resync()
      await stands(t, [same, site.entry('h2', 'b')], 'who is left has it')
      await two.end()
      t.strictSame(await site.look(), {})
    })

    await t.test('a server that hangs', async (t) => {
      const run = await Run.begin(t, site, 'h1')
      const [a, b] = [site.entry('h1', 'a'), site.entry('h1', 'b')]
      run.publish([a])
      await stands(t, [a], 'there')
      await settled(t, run)
      await site.pause()
      try {
        run.publish([b])
        const trouble = await until(async () => run.backend.trouble, { ms: 15_000 })
        t.type(trouble, 'string', 'it says so')
        t.ok(run.backend.lag() > 0, 'and is behind')
      } finally {
        await site.resume()
      }
      await stands(t, [b], 'it goes on where it was', 15_000)
      await settled(t, run)
      await run.end()
      t.strictSame(await site.look(), {})
    })

    await t.test('a server that dies and comes back', async (t) => {
      const run = await Run.begin(t, site, 'h1')
      const [a, b] = [site.entry('h1', 'a'), site.entry('h1', 'b')]
      run.publish([a, b])
      await stands(t, [a, b], 'there')
      await settled(t, run)
      await site.kill()
      run.publish([b, site.entry('h1', 'c')])
      await until(async () => run.backend.trouble, { ms: 15_000 })
      const late = await Run.begin(t, site, 'h2')
      late.publish([site.entry('h2', 'late')])
      await until(async () => late.backend.trouble, { ms: 15_000 })
      t.type(late.backend.trouble, 'string', 'one that begins meanwhile waits')
      await site.restart()
      const wanted = [b, site.entry('h1', 'c'), site.entry('h2', 'late')]
      await stands(t, wanted, 'both converge, and nothing stale is left', 30_000)
      await run.end()
      await late.end()
      await stands(t, [], 'nothing is left')
    })

    await t.test('a thousand entries, and a stop in the midst of them', async (t) => {
      const run = await Run.begin(t, site, 'h1')
      const entries = Array.from({ length: 1000 }, (_, at) => site.entry('h1', `s${at}`))
      run.publish(entries)
      await stands(t, entries, 'all', 60_000)
      await settled(t, run)
      run.publish(entries.slice(500))
      await stands(t, entries.slice(500), 'half of them', 60_000)
      run.publish(entries)
      await run.end()
      await stands(t, [], 'none')
    })
  })

const sameText = (a: unknown, b: unknown): boolean => sorted(a) === sorted(b)
const sorted = (of: unknown): string =>
  JSON.stringify(Object.entries(of as object).sort(([a], [b]) => Number(a > b) - Number(a < b)))
