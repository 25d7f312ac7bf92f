import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { explain, Failure, isFailure } from '../../process/failure.ts'
import { MemoryStore } from '../../registry/stores/memory.ts'
import { etcdSettings, type StoreSettings } from '../../registry/stores/settings.ts'
import { timed } from '../../registry/timed-store.ts'
import { Authority } from '../support/certificates.ts'

t.test('credentials that cannot work are refused by the names of their settings', async (t) => {
  const authority = await Authority.make(t)
  const [one, two] = [await authority.issue('one'), await authority.issue('two')]
  const folder = await mkdtemp(join(tmpdir(), 'settings-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const file = async (name: string, text: string) => {
    await writeFile(join(folder, name), text)
    return join(folder, name)
  }
  const [password, empty, prose, lines] = [
    await file('password', 'sesame\n'),
    await file('empty', '\n'),
    await file('prose', 'not PEM at all'),
    await file('lines', 'sesame\nopen\n'),
  ]
  const store = 'etcds://h1'
  const refusal = (given: Partial<StoreSettings>): string => {
    try {
      etcdSettings({ OPENEBS_STORE: store, ...given })
      return 'accepted'
    } catch (error) {
      if (!isFailure(error, 'invalid')) throw error
      return explain(error)
    }
  }
  const whole = { OPENEBS_STORE_CA: one.ca, OPENEBS_STORE_CERT: one.cert, OPENEBS_STORE_KEY: one.key }
  const user = { OPENEBS_STORE_USER: 'u', OPENEBS_STORE_PASSWORD_FILE: password }
  t.match(etcdSettings({ OPENEBS_STORE: store, ...whole, ...user }, 'sidecar/h1'), {
    uri: store,
    ca: one.ca,
    cert: one.cert,
    key: one.key,
    user: 'u',
    password: 'sesame',
    writer: 'sidecar/h1',
  })
  const cases: [Partial<StoreSettings>, RegExp][] = [
    [{ OPENEBS_STORE_CA: '/nowhere' }, /^OPENEBS_STORE_CA: cannot read \/nowhere: ENOENT/],
    [{ OPENEBS_STORE_CA: folder }, /^OPENEBS_STORE_CA: cannot read .*EISDIR/],
    [{ OPENEBS_STORE_CA: prose }, /^OPENEBS_STORE_CA: expected a certificate \(PEM\) in .*prose/],
    [{ ...whole, OPENEBS_STORE_CERT: prose }, /^OPENEBS_STORE_CERT: expected a certificate/],
    [
      { ...whole, OPENEBS_STORE_KEY: one.cert },
      /^OPENEBS_STORE_KEY: expected a private key without a passphrase/,
    ],
    [{ ...whole, OPENEBS_STORE_KEY: two.key }, /^OPENEBS_STORE_KEY: .* is not the key of OPENEBS_STORE_CERT/],
    [{ OPENEBS_STORE_CERT: one.cert }, /OPENEBS_STORE_CERT and OPENEBS_STORE_KEY go together/],
    [{ OPENEBS_STORE_KEY: one.key }, /OPENEBS_STORE_CERT and OPENEBS_STORE_KEY go together/],
    [{ ...whole, OPENEBS_STORE: 'etcd://h1' }, /OPENEBS_STORE must begin with etcds:/],
    [{ OPENEBS_STORE_USER: 'u' }, /OPENEBS_STORE_USER and OPENEBS_STORE_PASSWORD_FILE go together/],
    [{ ...user, OPENEBS_STORE_PASSWORD_FILE: '/nowhere' }, /^OPENEBS_STORE_PASSWORD_FILE: cannot read/],
    [
      { ...user, OPENEBS_STORE_PASSWORD_FILE: empty },
      /^OPENEBS_STORE_PASSWORD_FILE: expected the password in one line/,
    ],
    [
      { ...user, OPENEBS_STORE_PASSWORD_FILE: lines },
      /^OPENEBS_STORE_PASSWORD_FILE: expected the password in one line/,
    ],
  ]
  for (const [given, expected] of cases) {
    t.match(refusal(given), expected)
    t.notMatch(refusal(given), /sesame/, 'no secret in it')
  }
})

t.test('calls of a store are timed, also those that fail', async (t) => {
  let away = false
  const calls: string[] = []
  const memory = new MemoryStore({
    before: () => {
      if (away) throw new Failure('unavailable', 'away')
    },
  })
  const store = timed(memory, (call, ms) => {
    t.ok(ms >= 0)
    calls.push(call)
  })
  const lease = await store.grant(10)
  await store.apply([{ kind: 'put', key: 'a', value: '1', guard: 'absent', lease }])
  await store.read('')
  t.equal((await store.readKeys(['a'])).entries[0]?.lease, lease.id)
  await lease.keepAlive()
  away = true
  await t.rejects(store.read(''), { message: 'away' })
  t.same(calls, ['grant', 'apply', 'read', 'read', 'keepalive', 'read'])
  away = false
  await lease.revoke()
  t.same((await store.read('')).entries, [])
  await store.close()
})
