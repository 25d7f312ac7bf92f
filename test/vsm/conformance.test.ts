import t from 'tap'
import { StorageHost } from '../support/storage-host.ts'

/**
 * The target against libiscsi's conformance suite, all of its SCSI and iSCSI tests, each suite in a process of its own.
 * A test is skipped when it finds that the target does not offer what it is about.
 */
type Outcome = 'passed' | 'failed' | 'skipped'

const read = 'Simple BeyondEol ZeroBlocks ReadProtect DpoFua'
const write = 'Simple BeyondEol ZeroBlocks WriteProtect DpoFua'
const writeSame =
  'Simple BeyondEol ZeroBlocks WriteProtect Unmap UnmapUnaligned UnmapUntilEnd UnmapVPD Check InvalidDataOutSize'
const writeVerify = 'Simple BeyondEol ZeroBlocks WriteProtect Flags Dpo'
const verify = 'Simple BeyondEol ZeroBlocks VerifyProtect Flags Dpo Mismatch MismatchNoCmp'

/** These must pass. */
const supported: Record<string, string> = {
  'SCSI.GetLBAStatus': 'Simple',
  'SCSI.Inquiry': 'Standard AllocLength EVPD BlockLimits MandatoryVPDSBC SupportedVPD VersionDescriptors',
  'SCSI.Mandatory': 'MandatorySBC',
  'SCSI.ModeSense6': 'AllPages Control Control-D_SENSE Control-SWP Residuals',
  'SCSI.MultipathIO': 'Simple Reset',
  'SCSI.NoMedia': 'NoMediaSBC',
  'SCSI.OrWrite': 'Simple BeyondEol ZeroBlocks Protect DpoFua Verify',
  'SCSI.Prefetch10': 'Simple BeyondEol ZeroBlocks Flags',
  'SCSI.Prefetch16': 'Simple BeyondEol ZeroBlocks Flags',
  'SCSI.PrinReadKeys': 'Simple Truncate',
  'SCSI.PrinReportCapabilities': 'Simple',
  'SCSI.ProutClear': 'Simple',
  'SCSI.ProutPreempt': 'RemoveRegistration',
  'SCSI.ProutRegister': 'Simple',
  'SCSI.ProutReserve':
    'Simple AccessEA AccessWE AccessEARO AccessWERO AccessEAAR AccessWEAR OwnershipEAAR OwnershipWEAR',
  'SCSI.Read6': 'Simple BeyondEol',
  'SCSI.Read10': `${read} Async`,
  'SCSI.Read12': read,
  'SCSI.Read16': read,
  'SCSI.ReadCapacity10': 'Simple',
  'SCSI.ReadCapacity16': 'Simple Alloclen PI Support',
  'SCSI.ReportSupportedOpcodes': 'Simple RCTD SERVACTV',
  'SCSI.Reserve6': 'Simple Logout ITNexusLoss LUNReset',
  'SCSI.StartStopUnit': 'PwrCnd NoLoej',
  'SCSI.TestUnitReady': 'Simple',
  'SCSI.Unmap': 'Simple VPD',
  'SCSI.Verify10': verify,
  'SCSI.Verify12': verify,
  'SCSI.Verify16': verify,
  'SCSI.Write10': `${write} Async`,
  'SCSI.Write12': write,
  'SCSI.Write16': write,
  'SCSI.WriteSame10': writeSame,
  'SCSI.WriteSame16': writeSame,
  'SCSI.WriteVerify10': writeVerify,
  'SCSI.WriteVerify12': writeVerify,
  'SCSI.WriteVerify16': writeVerify,
  'iSCSI.iSCSIcmdsn': 'iSCSICmdSnTooHigh iSCSICmdSnTooLow',
  'iSCSI.iSCSIResiduals': [
    ...['Read10Invalid', 'Read10Residuals', 'Read12Residuals', 'Read16Residuals', 'Write10Residuals'],
    ...['Write12Residuals', 'Write16Residuals'],
    ...['WriteVerify10Residuals', 'WriteVerify12Residuals', 'WriteVerify16Residuals'],
  ].join(' '),
  'iSCSI.iSCSITMF': 'AbortTaskSimpleAsync LUNResetSimpleAsync',
}

/** What tgt itself does not do, or not as the suite has it: nothing of ours can change that. */
const unsupported: readonly (readonly [tests: RegExp, outcome: Outcome, reason: string])[] = [
  [/^SCSI\.CompareAndWrite\./, 'skipped', 'no COMPARE AND WRITE'],
  [/^SCSI\.MultipathIO\.CompareAndWrite$/, 'skipped', 'no COMPARE AND WRITE'],
  [/^SCSI\.MultipathIO\.CompareAndWriteAsync$/, 'failed', 'no COMPARE AND WRITE'],
  [/^SCSI\.(ExtendedCopy|ReceiveCopyResults)\./, 'skipped', 'no third-party copy'],
  [/^SCSI\.GetLBAStatus\.BeyondEol$/, 'failed', 'takes an address behind the end'],
  [/^SCSI\.GetLBAStatus\.UnmapSingle$/, 'failed', 'answers with another address than the one asked for'],
  [/^SCSI\.PreventAllow\./, 'skipped', 'a fixed disk: its medium cannot be removed'],
  [/^SCSI\.StartStopUnit\.Simple$/, 'skipped', 'a fixed disk: its medium cannot be removed'],
  [/^SCSI\.ReadOnly\./, 'skipped', 'the LUN is writable'],
  [/^SCSI\.PrinServiceactionRange\.Range$/, 'failed', 'no READ FULL STATUS'],
  [
    /^SCSI\.ProutReserve\.Ownership(EA|WE)(RO)?$/,
    'failed',
    'tells also the initiator that gave a reservation up that it was released',
  ],
  [/^SCSI\.ReadDefectData1[02]\./, 'skipped', 'no READ DEFECT DATA'],
  [/^SCSI\.ReportSupportedOpcodes\.OneCommand$/, 'skipped', 'lists all commands only, not one'],
  [/^SCSI\.Reserve6\.2Initiators$/, 'failed', 'RESERVE(6) does not keep MODE SENSE from others'],
  [/^SCSI\.Reserve6\.Target(Cold|Warm)Reset$/, 'skipped', 'no reset of a whole target'],
  [/^SCSI\.Sanitize\./, 'skipped', 'no SANITIZE'],
  [/^SCSI\.Unmap\.ZeroBlocks$/, 'failed', 'refuses an UNMAP of 0 blocks that begins behind the last block'],
  [/^SCSI\.WriteAtomic16\./, 'skipped', 'no WRITE ATOMIC'],
  [/^iSCSI\.iSCSIdatasn\./, 'failed', 'takes data whose sequence number is wrong'],
]

const mustPass = Object.entries(supported).flatMap(([suite, names]) =>
  names.split(' ').map((name) => `${suite}.${name}`),
)

const outcomeOf = (said: string): Outcome => {
  const word = /(?:^|\.\.\.)(passed|FAILED)/m.exec(said)?.[1]
  if (word !== 'passed') return 'failed' // also one in which the program ended
  return said.includes('[SKIPPED]') ? 'skipped' : 'passed'
}

/** What each test of a suite came to, with what it said. */
const results = (suite: string, printed: string): [test: string, { outcome: Outcome; said: string }][] =>
  printed
    .split(/^ {2}Test: /m)
    .slice(1)
    .map((said) => [
      `${suite}.${said.slice(0, said.indexOf(' '))}`,
      { outcome: outcomeOf(said), said: said.split('Run Summary')[0] ?? '' },
    ])

t.test('the target does what libiscsi expects of one, but for what tgt is known not to do', async (t) => {
  const host = await StorageHost.start(t)
  const volume = host.volume('conformance')
  await volume.serve()
  t.equal((await volume.provision()).code, 0)
  const url = `iscsi://${volume.record.portal}/${volume.record.iqn}/1`
  const suites = (await host.engine.net('iscsi-test-cu', '--list'))
    .split('\n')
    .filter((line) => /^i?SCSI\.[^.]+$/.test(line))

  const found = new Map<string, { outcome: Outcome; said: string }>()
  for (const suite of suites) {
    // a test that fails makes it end with status 1: what counts is what it printed
    const paths = suite === 'SCSI.MultipathIO' ? [url, url] : [url]
    const options = ['--dataloss', '--allow-sanitize', '--test', suite]
    const printed = await host.engine
      .net('timeout', '60', 'iscsi-test-cu', ...options, ...paths)
      .catch(({ stdout = '', stderr = '' }: { stdout?: string; stderr?: string }) => `${stdout}${stderr}`)
    for (const [test, result] of results(suite, printed)) found.set(test, result)
  }

  for (const test of mustPass) {
    const { outcome, said } = found.get(test) ?? { outcome: 'not run', said: '' }
    t.equal(outcome, 'passed', outcome === 'passed' ? test : `${test}: ${said}`)
  }
  for (const [test, { outcome, said }] of found) {
    if (mustPass.includes(test)) continue
    const [, known, reason] = unsupported.find(([tests]) => tests.test(test)) ?? []
    if (outcome === 'passed')
      t.pass(test, {
        todo: `passes now: list it among those that must (${reason ?? 'it is new'})`,
      })
    else t.equal(outcome, known, known ? `${test}: ${reason}` : `${test} is in no list: ${said}`)
  }
  t.equal((await volume.inTarget('openebs-target-health')).code, 0, 'the target is healthy after all that')
})
