import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { pause, until } from '../../process/backoff.ts'
import { Random } from '../support/random.ts'
import { Load } from './load.ts'
import { Stage, type StageOptions, seconds } from './stage.ts'

/** Something that goes wrong, as a user of a real host may see it. */
export interface Fault {
  readonly name: string
  /** Settings of the engine (daemon.json). */
  readonly daemon?: object
  /** Makes ready what it needs. */
  prepare?(stage: Stage): Promise<void>
  /** Does the harm. */
  strike(stage: Stage): Promise<void>
  /** A sentence that shows that it bit, or undefined where that does not show yet: it is asked again for 15 s. */
  proof(stage: Stage): Promise<string | undefined> | string | undefined
  /** What goes on under it; a mix of operations unless given. What it returns is called and awaited when the fault is over. */
  under?(stage: Stage): Promise<(() => Promise<unknown>) | undefined>
  /** How long it lasts at least, in ms, from `strike` on. */
  lasts?(random: Random): number
  /** The registry is to equal the host while it lasts, too. */
  readonly survived?: boolean
  /** Ends it. Without: it is over as soon as it has struck, and 1 s is allowed instead of 5. */
  mend?(stage: Stage): Promise<void>
  /** Looks at more, when all is over. */
  after?(stage: Stage, t: Test): Promise<void>
}

/** ms within which the registry equals the host: from the end of a fault, and from the last event without one. */
const promised = { afterFault: 5000, afterEvent: 1000 }

/** SEEDS=4,7 names them, FAULT_SEEDS=5 is 1 to 5; three by default. */
export const seeds = (): number[] => {
  if (process.env.SEEDS) return process.env.SEEDS.split(',').map(Number)
  return Array.from({ length: Number(process.env.FAULT_SEEDS || 3) }, (_, index) => index + 1)
}

/** Runs each fault with each seed, on one stage. */
export const testFaults = async (faults: readonly Fault[], options: StageOptions = {}): Promise<void> => {
  if (process.getuid?.() !== 0) {
    t.plan(0, 'an engine of its own needs root')
    return
  }
  const stage = await Stage.set(t, options)
  const wanted = faults.filter(({ name }) => name.includes(process.env.FAULT ?? ''))
  for (const fault of wanted)
    for (const seed of seeds())
      await t.test(`${fault.name}, seed ${seed}`, (t) => testFault(t, stage, fault, seed))
}

const testFault = async (t: Test, stage: Stage, fault: Fault, seed: number): Promise<void> => {
  const began = performance.now()
  t.on('end', () => {
    if (!t.passing()) t.comment(again(fault, seed))
  })
  stage.random = new Random(mix(`${fault.name} ${seed}`))
  stage.load = new Load(stage.engine, stage.random, `s${seed}`)
  await stage.daemon(fault.daemon ?? {})
  await stage.load.clear()
  await stage.load.some(stage.random.int(2, 4))
  await fault.prepare?.(stage)
  await stage.agrees(t, promised.afterFault, 'before')
  await stage.watch()

  const struck = performance.now()
  await fault.strike(stage)
  if (!fault.mend) await stage.agrees(t, promised.afterEvent, 'after')
  const proof = await until(() => fault.proof(stage), { ms: 15_000, every: 50 })
  t.ok(proof, `the fault bit: ${proof ?? 'nothing shows it'}`)
  if (fault.mend) {
    const finish = await (fault.under ?? operate)(stage)
    if (fault.survived) await stage.agrees(t, promised.afterFault, 'meanwhile')
    await pause(Math.max(0, (fault.lasts?.(stage.random) ?? 0) - (performance.now() - struck)))
    await fault.mend(stage)
    await finish?.()
    await stage.agrees(t, promised.afterFault, 'after')
  }
  await fault.after?.(stage, t)

  const fileDifferences = () => stage.fileDifferences().catch((error: unknown) => [String(error)])
  await stage.load.one()
  await stage.agrees(t, promised.afterEvent, 'and it goes on')
  const inFile = until(async () => ((await fileDifferences()).length === 0 ? [] : undefined), { ms: 10_000 })
  t.strictSame((await inFile) ?? (await fileDifferences()), [], 'the file for Prometheus equals the host')
  if (!stage.target) {
    t.strictSame(await stage.monitor?.finish(), [], 'no value went backward')
    t.ok((stage.monitor?.count ?? 0) > 0, `of ${stage.monitor?.count} changes`)
  }
  const journal = until(async () => ((await stage.journal()).length === 0 ? [] : undefined), { ms: 3000 })
  t.strictSame((await journal) ?? (await stage.journal()), [], 'the journal has all')
  t.comment(`${seconds(performance.now() - began)}; ${stage.load.done.join(', ')}`)
}

const operate = async ({ load }: Stage): Promise<undefined> => {
  await load.some()
}

/** Each fault has its own sequence of each seed. */
const mix = (text: string): number => createHash('sha256').update(text).digest().readUInt32BE()

const again = ({ name }: Fault, seed: number): string =>
  `to see it again: ${process.env.FAULT_TARGET ? `FAULT_TARGET=${process.env.FAULT_TARGET} ` : ''}SEEDS=${seed} FAULT="${name}" sh deploy/test-faults.sh`
