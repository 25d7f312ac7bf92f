import { chmod, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Secrets } from '../../plugin/secrets.ts'
import { addressFor } from '../../plugin/targets.ts'
import type { Target } from '../../registry/records.ts'
import { decodeSecret, encodeSecret } from '../../registry/secrets.ts'
import { chapLine, newPassword, parseChapLine } from '../../vsm/chap.ts'

/** Passwords of volumes, as the plugin keeps them. */
const uuid = '0b6f3b5e-2f0e-4f0a-9a53-6f1c0d9f7a11'
const volume = { name: 'v', uuid, spec: { size: 2 ** 30, fs: 'ext4' as const, chap: true } }
const open = { ...volume, spec: { ...volume.spec, chap: false } }
const target = { volume: 'v', epoch: 1, container: 'vsm-v' } as Target

const secrets = async (t: Test, found: { stored?: string; served?: string } = {}) => {
  const folder = await mkdtemp(join(tmpdir(), 'secrets-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const sources = { stored: async () => found.stored, served: async () => found.served }
  return { folder, kept: new Secrets(folder, sources) }
}

t.test('a password is made once for an epoch, and read by root alone', async (t) => {
  const { folder, kept } = await secrets(t)
  const password = await kept.make(volume, 1)
  t.match(password, /^[\w-]{32}$/)
  t.equal(await kept.make(volume, 1), password, 'after a crash it is the same')
  t.not(await kept.make(volume, 2), password, 'another epoch, another password')
  t.not(
    await kept.make({ ...volume, uuid: uuid.replace('0', '1') }, 1),
    password,
    'another volume of that name',
  )
  const file = join(folder, uuid, '1')
  t.equal(await readFile(file, 'utf8'), password, 'no end of line: qemu takes the file as it is')
  t.equal((await stat(file)).mode & 0o777, 0o600)
  t.equal((await stat(join(folder, uuid))).mode & 0o777, 0o700)
  await kept.forget(volume)
  t.notOk((await readdir(folder)).includes(uuid))
  t.equal(await kept.make(open, 1), undefined, 'a volume without CHAP has none')
  t.equal(await kept.recover(open, target), undefined)
})

t.test('a lost password is the one that the target asks for, else that of the store', async (t) => {
  const lost = await secrets(t, { stored: 'of-the-store-1', served: 'of-the-target' })
  t.equal(await lost.kept.recover(volume, target), 'of-the-target')
  t.equal(await lost.kept.make(volume, 1), 'of-the-target', 'and kept from then on')
  const elsewhere = await secrets(t, { stored: 'of-the-store-1' })
  t.equal(await elsewhere.kept.recover(volume, target), 'of-the-store-1')
  const nowhere = await secrets(t)
  await t.rejects(nowhere.kept.recover(volume, target), {
    kind: 'unavailable',
    message: /the CHAP password of volume v \(epoch 1\) is neither here, nor on its disk, nor in the store/,
  })
  await nowhere.kept.make(volume, 1)
  await chmod(join(nowhere.folder, uuid), 0o700)
  t.ok(await nowhere.kept.recover(volume, target), 'what is here is asked for first')
})

t.test('how it is written', async (t) => {
  const password = newPassword()
  t.strictSame(parseChapLine(chapLine(3, password)), { epoch: 3, password })
  for (const text of ['', '1', '1 short', `x ${password}`, `1 ${password} more`])
    t.equal(parseChapLine(text), undefined, JSON.stringify(text))
  const secret = { volume: 'v', uuid, epoch: 1, password }
  t.strictSame(decodeSecret('secrets/v', encodeSecret(secret)), secret)
  for (const text of ['', `{"password":"${password}"}`])
    try {
      decodeSecret('secrets/v', text)
      t.fail('it was read')
    } catch (error) {
      t.match(error, { kind: 'invalid', message: 'secrets/v cannot be read' })
      t.notMatch(String(error), password)
    }
})

t.test('only volumes with CHAP are published beyond the host', async (t) => {
  const at = { portalAddress: '172.17.0.1', publicAddress: '192.0.2.7' }
  t.equal(addressFor(volume, at), '192.0.2.7')
  t.equal(addressFor(open, at), '172.17.0.1')
  t.equal(addressFor({ spec: { size: 1, fs: 'xfs' } }, at), '172.17.0.1', 'one of an older version')
  t.equal(addressFor(volume, { portalAddress: '172.17.0.1', publicAddress: undefined }), '172.17.0.1')
})
