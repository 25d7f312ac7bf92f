import { request } from 'node:http'
import { pause } from '../process/backoff.ts'
import { explain, isFailure } from '../process/failure.ts'
import { type Address, parseAddress } from '../process/listener.ts'
import { readCollection } from '../registry/collections.ts'
import type { Store } from '../registry/store.ts'
import { diagnose, type Finding } from './diagnosis.ts'
import { readFacts } from './facts.ts'
import { count } from './format.ts'
import { type AskHost, askHosts, type Orders } from './host-doctor.ts'
import { json, type Output, type Style } from './output.ts'

export interface DoctorOptions extends Orders {
  readonly json?: boolean
  /** Only this host's plugin is asked; else that of every host where one lives. */
  readonly host?: string
  /** Where this host's sidecar listens; without it the default is tried, and need not answer. */
  readonly listen?: string | undefined
}

/** A member of the store, asked alone. */
export interface MemberStore {
  readonly address: string
  readonly store: Store
}

/** ms between two looks at what may only just be changing. */
const settling = 1500

/**
 * `doctor`: a line a check, with what to do where it is wrong, and where it was told to what was done. Returns whether nothing
 * is wrong, or left so.
 */
export const doctor = async (
  store: Store,
  members: readonly MemberStore[],
  options: DoctorOptions,
  output: Output,
  ask?: AskHost,
): Promise<boolean> => {
  const around = [...(await ofStore(store, members)), ...(await ofSidecar(options.listen))]
  const reachable = around.every(({ check, state }) => check !== 'store' || state !== 'wrong')
  const findings = [...around, ...(reachable ? await ofHostsAndRecords(store, options, ask) : [])]
  const healthy = findings.every(({ state }) => state !== 'wrong')
  output.print(options.json ? json({ healthy, findings }) : report(findings, output.style).join('\n'))
  return healthy
}

/** Both take some seconds; what plugins mend, records tell of afterwards. */
const ofHostsAndRecords = async (
  store: Store,
  options: DoctorOptions,
  ask: AskHost | undefined,
): Promise<Finding[]> => {
  const hosts = ask ? askHosts(await hostsToAsk(store, options), options, ask) : Promise.resolve([])
  if (options.fix || options.adopt) await hosts
  return (await Promise.all([hosts, ofRecords(store)])).flat()
}

const hostsToAsk = async (store: Store, { host }: DoctorOptions): Promise<string[]> =>
  host === undefined
    ? (await readCollection(store, 'alive')).records.map(({ record }) => record.host)
    : [host]

/** Collections are read one after another, and containers come and go: only what is wrong twice is wrong. */
const ofRecords = async (store: Store): Promise<Finding[]> => {
  const first = diagnose(await readFacts(store))
  const name = ({ check, subject, text }: Finding) => `${check} ${subject} ${text}`
  const before = new Set(first.filter(({ state }) => state === 'wrong').map(name))
  if (before.size === 0) return first
  await pause(settling)
  return diagnose(await readFacts(store)).filter(
    (finding) => finding.state !== 'wrong' || before.has(name(finding)),
  )
}

const ofStore = async (store: Store, members: readonly MemberStore[]): Promise<Finding[]> => {
  const whole = await timed('store', store.description, () => store.readKeys(['policy']), [
    'see that etcd runs, and that --store (OPENEBS_STORE) and the credentials are right',
  ])
  const single =
    members.length < 2
      ? []
      : await Promise.all(
          members.map(({ address, store: member }) =>
            timed('member', address, () => member.readKeys(['policy']), [
              'see that etcd runs there, or take it out of the cluster and of OPENEBS_STORE',
            ]),
          ),
        )
  if (whole.state === 'wrong') return [whole, ...single]
  // a lease holds no data, and an etcd that is out of space grants none
  const write = await timed('writes', store.description, async () => (await store.grant(5)).revoke(), [
    'etcdctl alarm list; with NOSPACE: compact, defragment, then etcdctl alarm disarm',
  ])
  return [whole, ...single, { ...write, subject: 'leases' }]
}

const timed = async (
  check: string,
  subject: string,
  work: () => Promise<unknown>,
  [todo]: [string],
): Promise<Finding> => {
  const began = performance.now()
  try {
    await work()
    const ms = Math.round(performance.now() - began)
    const slow = ms > 500
    return { check, subject, state: slow ? 'note' : 'ok', text: `answers in ${ms} ms${slow ? ': slow' : ''}` }
  } catch (error) {
    if (!isFailure(error)) throw error
    // gRPC ends its reasons with the head of a note that it does not have
    const text = explain(error).replace(/\. Resolution note: $/, '')
    return { check, subject, state: 'wrong', text, todo }
  }
}

const usual = '127.0.0.1:9190'

const ofSidecar = async (given: string | undefined): Promise<Finding[]> => {
  const listen = given ?? usual
  const finding = { check: 'sidecar', subject: listen }
  const address = parseAddress(listen)
  if (!address) return [{ ...finding, state: 'wrong', text: 'expected address:port or unix:///path' }]
  const answer = await readyz(address)
  if (typeof answer === 'string') {
    const text = `does not answer: ${answer}`
    if (given === undefined)
      return [{ ...finding, state: 'note', text: `${text} (none on this host, or elsewhere: --listen)` }]
    return [{ ...finding, state: 'wrong', text, todo: 'start it: docker start openebs-registrator' }]
  }
  if (answer.length === 0) return [{ ...finding, state: 'ok', text: 'ready' }]
  return answer.map((missing) => ({
    ...finding,
    state: 'wrong',
    text: missing,
    todo: 'docker logs openebs-registrator',
  }))
}

/** What the sidecar says it misses, or why it cannot be asked. */
const readyz = (address: Address): Promise<readonly string[] | string> =>
  new Promise((resolve) => {
    const where =
      'socket' in address
        ? { socketPath: address.socket }
        : { host: wildcard[address.host] ?? address.host, port: address.port }
    const asking = request({ ...where, path: '/readyz', timeout: 4000 }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (text: string) => (body += text))
      response.on('end', () => resolve(missingOf(body)))
      response.on('error', (error) => resolve(error.message))
    })
    asking.on('timeout', () => asking.destroy(new Error('no answer within 4 s')))
    asking.on('error', (error) => resolve(error.message)).end()
  })

const wildcard: Record<string, string> = { '0.0.0.0': '127.0.0.1', '::': '::1' }

const missingOf = (body: string): readonly string[] | string => {
  try {
    const { missing } = JSON.parse(body) as { missing?: unknown }
    if (Array.isArray(missing)) return missing.map(String)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
  }
  return 'what listens there is no sidecar'
}

const report = (findings: readonly Finding[], style: Style): string[] => {
  const name = ({ check, subject }: Finding) => (subject === '-' ? check : `${check} ${subject}`)
  const marks = {
    ok: style.good('ok   '),
    note: style.odd('note '),
    wrong: style.bad('wrong'),
    mended: style.good('mended'),
  }
  const lines = findings.flatMap((finding) => [
    `${marks[finding.state]}  ${name(finding)}: ${finding.text}`,
    ...(finding.todo ? [`       -> ${finding.todo}`] : []),
  ])
  const wrong = findings.filter(({ state }) => state === 'wrong').length
  const end =
    wrong === 0 ? 'nothing is wrong' : `${count(wrong, 'thing')} ${wrong === 1 ? 'is' : 'are'} wrong`
  return [...lines, style.heading(end)]
}
