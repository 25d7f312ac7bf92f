import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Doctor, type DoctorParts } from '../../plugin/doctor/doctor.ts'
import { examine, sparesYoung } from '../../plugin/doctor/examine.ts'
import type { Facts, FoundContainer, Registered } from '../../plugin/doctor/facts.ts'
import { parseSurvey } from '../../plugin/doctor/folders.ts'
import { readLoops } from '../../plugin/doctor/loops.ts'
import { printed } from '../../plugin/engine-answers.ts'
import { KnownRegistry } from '../../plugin/known-registry.ts'
import type { LocalVolume } from '../../plugin/local-copy.ts'
import { VolumeRecords } from '../../plugin/volume-records.ts'
import { Failure } from '../../process/failure.ts'
import { KeyedLock } from '../../process/keyed-lock.ts'
import { createLog } from '../../process/log.ts'
import type { Volume } from '../../registry/records.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { targetRecord, volumeRecord } from '../support/records.ts'

const uuid = '0b0c5d2e-7a55-4f3c-9a0e-0d5b7f0c8e11'
const other = '1b0c5d2e-7a55-4f3c-9a0e-0d5b7f0c8e11'
const volume = (name: string, id = uuid, host = 'h1'): Volume =>
  volumeRecord(name, { uuid: id, placement: { host } })
const target = (name: string) => targetRecord(name, { uuid })
const known = (name: string, references: Record<string, number> = {}): LocalVolume => ({
  volume: volume(name),
  target: target(name),
  references,
})
const container = (name: string, of: string, id: string, state = 'running'): FoundContainer => ({
  id: name,
  name,
  labels: {
    'openebs.uuid': id,
    'openebs.volume': of,
    ...(name.startsWith('vsm-') && { 'openebs.role': 'target' }),
    ...(name.startsWith('initiator-') && { 'openebs.role': 'initiator' }),
  },
  state,
  created: 0,
})
const registered = (volumes: Volume[], more: Partial<Registered> = {}): Registered => ({
  isOther: false,
  volumes,
  unreadable: [],
  ...more,
})
/** A host with one volume, "data", of which everything is there. */
const well: Facts = {
  host: 'h1',
  root: '/var/lib/openebs',
  now: 1_000_000,
  volumes: [known('data')],
  damaged: [],
  registered: registered([volume('data')]),
  containers: [container('vsm-data', 'data', uuid)],
  mounts: [],
  loops: [],
  folders: [{ name: 'data', marker: 'volume', uuid, volume: 'data', used: 0, changed: 0 }],
  users: new Map(),
  guard: { listed: undefined, asked: false },
}
/** What is found, as "by check subject: text". */
const said = (facts: Partial<Facts>) =>
  examine({ ...well, ...facts }).map(
    ({ by = '-', check, subject, text, state }) =>
      `${state === 'note' ? 'note' : by} ${check} ${subject}: ${text}`,
  )

t.test('where all is well nothing is found', async (t) => {
  t.strictSame(said({}), [])
  t.strictSame(said({ guard: { listed: 'openebs:latest', asked: true } }), [])
})

t.test('a container without a record is removed only if name, labels and all records agree', async (t) => {
  const stray = container('vsm-gone', 'gone', other)
  const containers = [...well.containers, stray]
  t.strictSame(said({ containers }), [
    'fix container vsm-gone: it is of a volume that nobody has a record of',
  ])
  const spared: [string, Partial<Facts>][] = [
    ['its name is another', { containers: [...well.containers, { ...stray, name: 'web' }] }],
    [
      'its labels name another volume',
      { containers: [...well.containers, container('vsm-gone', 'x1', other)] },
    ],
    ['it has no role', { containers: [...well.containers, { ...stray, labels: { 'openebs.uuid': other } }] }],
    ['the store has its name', { registered: registered([volume('data'), volume('gone', uuid, 'h2')]) }],
    ['the store has its uuid', { registered: registered([volume('data'), volume('else', other, 'h2')]) }],
    ['a record cannot be read', { registered: registered([volume('data')], { unreadable: ['volumes/x'] }) }],
  ]
  for (const [why, facts] of spared) t.strictSame(said({ containers, ...facts }), [], why)
  t.match(said({ containers, registered: 'etcd is away' }), [
    /^note registry -: cannot be read.*etcd is away/,
  ])
  t.match(said({ containers, damaged: ['gone'] }), [/^person volume gone: its local record is damaged/])
  t.match(said({ containers, registered: registered([volume('data')], { isOther: true }) }), [
    /^adopt registry -: is not the one/,
  ])
  t.strictSame(said({ containers, users: new Map([['gone', ['web']]]) }), [
    'person container vsm-gone: it is of a volume that nobody has a record of; web use it',
  ])
})

t.test('an initiator without a record goes before its target', async (t) => {
  const containers = [
    container('vsm-gone', 'gone', other),
    container('initiator-gone', 'gone', other),
    container('openebs-erase-gone', 'gone', other),
    ...well.containers,
  ]
  t.match(said({ containers }), [/initiator-gone/, /openebs-erase-gone/, /vsm-gone/])
})

t.test('a living volume', async (t) => {
  t.strictSame(said({ containers: [] }), ['fix volume data: its target vsm-data is gone'])
  t.strictSame(said({ containers: [container('vsm-data', 'data', uuid, 'exited')] }), [
    'fix volume data: its target vsm-data does not run',
  ])
  t.strictSame(said({ containers: [container('vsm-data', 'data', other)] }), [
    'person container vsm-data: it is in the way: volume data did not make it, and needs its name',
  ])
  const mount = { volume: 'data', type: 'ext4', source: '/dev/loop3', served: false }
  t.strictSame(
    said({ volumes: [known('data', { id: 1 })], mounts: [mount], users: new Map([['data', ['web']]]) }),
    ['fix volume data: it is in use, and its initiator initiator-data is gone'],
    'which unmounts by itself what is left',
  )
  t.strictSame(
    said({ volumes: [{ ...known('data'), target: undefined }], containers: [], folders: [] }),
    [],
    'being made',
  )
  t.strictSame(
    said({
      volumes: [{ ...known('data'), volume: { ...volume('data'), wanted: 'absent' } }],
      containers: [],
      folders: [],
    }),
    [],
    'being removed',
  )
})

t.test('mounts and loop devices that nobody serves', async (t) => {
  const mount = { volume: 'data', type: 'ext4', source: '/dev/loop3', served: false }
  t.strictSame(said({ mounts: [mount] }), ['fix mount data: a mount (ext4) that no initiator serves'])
  t.strictSame(said({ mounts: [{ ...mount, served: true }] }), [])
  const containers = [...well.containers, container('initiator-data', 'data', uuid)]
  t.strictSame(said({ mounts: [mount], containers }), [], 'its initiator is at it')
  const loop = { name: 'loop3', file: '/', autoclear: false, busy: false }
  t.match(said({ loops: [loop] }), [/^fix loop device loop3: the file behind it is gone/])
  t.match(said({ loops: [{ ...loop, busy: true }] }), [/^person loop device loop3: .* requests hang in it/])
  t.strictSame(said({ loops: [{ ...loop, autoclear: true }] }), [])
  t.strictSame(said({ loops: [{ ...loop, file: '/srv/image (deleted)' }] }), [], "it may be anybody's")
})

t.test('a folder is data: nothing is ever done about it', async (t) => {
  const folder = {
    name: 'old',
    marker: 'volume' as const,
    uuid: other,
    volume: 'old',
    used: 5 << 20,
    changed: 0,
  }
  const folders = [...(well.folders as []), folder]
  t.strictSame(said({ folders }), [
    `person folder /var/lib/openebs/old: data of volume old (${other}, 5 MiB on the disk), which nobody has a record of: it is left alone`,
  ])
  t.match(
    examine({ ...well, folders }).map(({ action, remedy }) => ({ action, remedy })),
    [{ action: 'copy what you need of it; then: rm -r /var/lib/openebs/old', remedy: undefined }],
  )
  const unreadable = examine({ ...well, folders: [...(well.folders as []), { ...folder, uuid: undefined }] })
  t.match(unreadable, [{ by: 'person', text: /volume\.json in it cannot be read.* it is left alone/ }])
  t.notMatch(unreadable[0]?.action, /rm/, 'nothing is said of removing what may be anything')
  t.strictSame(said({ folders: [...(well.folders as []), { ...folder, marker: 'none' }] }), [], 'not of ours')
  t.strictSame(said({ folders, registered: registered([volume('data'), volume('x', other, 'h2')]) }), [])
  t.strictSame(said({ folders, registered: registered([volume('data')], { unreadable: ['volumes/y'] }) }), [])

  t.comment('data that are gone')
  t.match(said({ folders: [] }), [
    /^person volume data: its data are not there: there is no \/var\/lib\/openebs\/data/,
  ])
  t.match(said({ folders: [{ ...folder, name: 'data', uuid: other }] }), [
    /^person volume data: its data are not there: \/var\/lib\/openebs\/data does not hold them/,
  ])
})

t.test('a registry that was wiped, and one that lost a record', async (t) => {
  t.match(said({ registered: registered([], { isOther: true }) }), [
    /^adopt registry -: is not the one that this host's volumes were registered in/,
    /^adopt volume data: the registry has no record of it; it is served on/,
  ])
  t.match(said({ registered: registered([]) }), [/^adopt volume data: the registry has no record of it/])
  t.match(said({ registered: registered([volume('data', other, 'h2')]) }), [
    /^person volume data: the registry has another volume of this name, on host h2/,
  ])
})

t.test('a guard that is half on is said, and never changed', async (t) => {
  t.match(said({ guard: { listed: 'openebs', asked: false } }), [
    /^person guard openebs: the Engine was started with it .* but does not ask it/,
  ])
  t.match(said({ guard: { listed: undefined, asked: true } }), [/^note guard openebs: on since a reload/])
})

t.test('what is young is left alone', async (t) => {
  const facts = { ...well, containers: [...well.containers, container('vsm-gone', 'gone', other)] }
  const found = examine(facts)
  t.match(sparesYoung(found, 60_000, 60_000), [{ state: 'wrong', by: 'fix' }])
  const [young] = sparesYoung(found, 59_999, 60_000)
  t.match(young, { state: 'note', text: /it is only 60 s old, and left alone so far/ })
  t.notOk(young?.remedy)
})

t.test('what the survey prints, and what a log is', async (t) => {
  t.strictSame(parseSurvey(`data volume ${uuid} data 12 100\nodd none - - 0 7\n`), [
    { name: 'data', marker: 'volume', uuid, volume: 'data', used: 12_288, changed: 100_000 },
    { name: 'odd', marker: 'none', used: 0, changed: 7_000 },
  ])
  t.throws(() => parseSurvey('data folder x y 1 2'))
  const frame = (stream: number, text: string) => {
    const head = Buffer.alloc(8)
    head[0] = stream
    head.writeUInt32BE(text.length, 4)
    return Buffer.concat([head, Buffer.from(text)])
  }
  t.equal(printed(Buffer.concat([frame(1, 'one\n'), frame(2, 'error\n'), frame(1, 'two\n')])), 'one\ntwo\n')
})

const folder = async (t: Test) => {
  const path = await mkdtemp(join(tmpdir(), 'oe-doctor-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

t.test('loop devices as the kernel shows them', async (t) => {
  const path = await folder(t)
  for (const [name, file, autoclear, inflight] of [
    ['loop0', '/\n', '0\n', '       0        0\n'],
    ['loop1', '/srv/x (deleted)\n', '1\n', '       0        3\n'],
  ] as const) {
    await mkdir(join(path, name, 'loop'), { recursive: true })
    await writeFile(join(path, name, 'loop/backing_file'), file)
    await writeFile(join(path, name, 'loop/autoclear'), autoclear)
    await writeFile(join(path, name, 'inflight'), inflight)
  }
  await mkdir(join(path, 'loop2'))
  await mkdir(join(path, 'sda'))
  t.strictSame(await readLoops(path), [
    { name: 'loop0', file: '/', autoclear: false, busy: false },
    { name: 'loop1', file: '/srv/x (deleted)', autoclear: true, busy: true },
  ])
})

t.test('the known registry', async (t) => {
  const file = join(await folder(t), 'registry')
  const store = new MemoryStore()
  const open = async (of = store, registered = true) => {
    const registry = new KnownRegistry(file, of, async () => registered)
    await registry.load()
    return registry
  }
  t.equal(await (await open(store, false)).look(), false, 'unknown, and it lacks what is here')
  await t.rejects((await open(store, false)).permitClaim(), {
    kind: 'denied',
    message: /is not the registry that this host's volumes are in.*registrator doctor --adopt/s,
  })
  t.equal(await (await open()).look(), true, 'the first one that is met')
  t.equal(await (await open(store, false)).look(), true, 'is known from then on')
  const [mark] = (await store.readKeys(['origin'])).entries
  t.match(JSON.parse(mark?.value ?? '{}'), { id: /^[0-9a-f-]{36}$/ })

  await store.apply([{ kind: 'delete', key: 'origin', guard: 'any' }])
  const wiped = await open()
  t.equal(await wiped.look(), false, 'a store of the same name without its mark was wiped')
  t.equal(wiped.isOther, true)
  await wiped.adopt()
  t.equal(await wiped.look(), true)
  t.equal(await (await open()).look(), true, 'also for the next start')
  const restored = new MemoryStore()
  for (const { key, value } of (await store.readKeys(['origin'])).entries)
    await restored.apply([{ kind: 'put', key, value, guard: 'absent' }])
  t.equal(
    await (await open(restored)).look(),
    false,
    'a store of another name, with the same mark: of a backup',
  )
  await writeFile(file, 'damaged')
  t.equal(await (await open(store, false)).look(), false)
  t.equal(await (await open()).look(), true)
})

t.test('records of a volume are written anew, unless its name is claimed', async (t) => {
  const store = new MemoryStore()
  const records = new VolumeRecords(store, 'h1')
  const data = { ...known('data'), target: target('data') }
  await records.register(data, 'p'.repeat(32))
  t.strictSame(
    (await store.read('')).entries.map(({ key }) => key),
    ['secrets/data', 'targets/h1/data', 'volumes/data'],
  )
  const { revision } = await store.read('')
  await records.register(data, 'p'.repeat(32))
  t.equal((await store.read('')).revision, revision, 'what is registered is left alone')
  await t.rejects(records.register({ ...data, volume: volume('data', other) }, undefined), {
    kind: 'conflict',
    message: /host h1 has claimed this name meanwhile/,
  })
})

/** A doctor who sees these facts one after another, the last of them for ever. */
const doctorOf = (looks: Facts[], mend: (step: string) => Promise<void>) => {
  const done: string[] = []
  const step = (name: string) => async () => {
    await mend(name)
    done.push(name)
  }
  const parts = {
    parts: {
      log: createLog('test', 'silent'),
      engine: { remove: ({ name }: { name: string }) => step(`remove ${name}`)() },
      registry: { adopt: step('adopt') },
      changed: () => {},
    },
    steps: {},
    place: {},
    lock: new KeyedLock(),
    gather: async () => (looks.length > 1 ? looks.shift() : looks[0]) as Facts,
  } as unknown as DoctorParts
  return { doctor: new Doctor(parts), done }
}
const nothing = async () => {}

t.test('only what two looks see the same is found; a fix tells what came of it', async (t) => {
  const bad = { ...well, containers: [...well.containers, container('vsm-gone', 'gone', other)] }
  t.strictSame(await doctorOf([bad, well], nothing).doctor.run('look', { grace: 0, settle: 0 }), [])
  t.strictSame(await doctorOf([well, bad], nothing).doctor.run('look', { grace: 0, settle: 0 }), [])
  const looking = doctorOf([bad], nothing)
  const [found] = await looking.doctor.run('look', { grace: 0, settle: 0 })
  t.match(found, { check: 'container', subject: 'vsm-gone', by: 'fix', action: /stop and remove it/ })
  t.notOk(found && ('remedy' in found || 'since' in found))
  t.strictSame(looking.done, [], 'a look changes nothing')

  const fixing = doctorOf([bad, bad, bad, well], nothing)
  t.match(await fixing.doctor.run('fix', { grace: 0, settle: 0 }), [{ outcome: { done: true } }])
  t.strictSame(fixing.done, ['remove vsm-gone'])
  const quicker = doctorOf([bad, bad, well], nothing)
  t.match(await quicker.doctor.run('fix', { grace: 0, settle: 0 }), [{ outcome: { done: true } }])
  t.strictSame(quicker.done, [], 'what is gone when its turn comes is not touched')
  t.match(await doctorOf([bad], nothing).doctor.run('fix', { grace: 0, settle: 0 }), [
    { outcome: { done: false, reason: /it stands as before/ } },
  ])
  const failing = doctorOf([bad], async () => {
    throw new Failure('unavailable', 'the Engine hangs')
  })
  t.match(await failing.doctor.run('fix', { grace: 0, settle: 0 }), [
    { outcome: { done: false, reason: 'the Engine hangs' } },
  ])
  const young = doctorOf([bad], nothing)
  t.match(await young.doctor.run('fix', { grace: 2_000_000, settle: 0 }), [
    { state: 'note', outcome: undefined },
  ])
  t.strictSame(young.done, [])
  const adopting = doctorOf(
    [{ ...bad, registered: registered([volume('data')], { isOther: true }) }],
    nothing,
  )
  await adopting.doctor.run('fix', { grace: 0, settle: 0 })
  t.strictSame(adopting.done, [], 'a fix adopts nothing')
  await adopting.doctor.run('adopt', { grace: 0, settle: 0 })
  t.strictSame(adopting.done, ['adopt'])
})
