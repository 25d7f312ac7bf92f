import { explain, isFailure } from '../process/failure.ts'
import type { DoctorMode, HostFinding } from '../registry/finding.ts'
import type { Finding } from './diagnosis.ts'

/** Has the plugin of a host look after its volumes. Rejects with a Failure where it does not answer. */
export type AskHost = (host: string, mode: DoctorMode) => Promise<readonly HostFinding[]>

/** What is to be done beside looking. */
export interface Orders {
  readonly fix?: boolean
  readonly adopt?: boolean
}

/** What the plugins of these hosts found, and did. A host that does not answer is a finding. */
export const askHosts = async (hosts: readonly string[], orders: Orders, ask: AskHost): Promise<Finding[]> =>
  (await Promise.all(hosts.map((host) => askHost(host, orders, ask)))).flat()

const askHost = async (host: string, { fix, adopt }: Orders, ask: AskHost): Promise<Finding[]> => {
  try {
    // a registry is adopted first: what nobody has a record of is not to be judged by one that lacks them
    const adopted = adopt ? await ask(host, 'adopt') : []
    const found = fix || !adopt ? await ask(host, fix ? 'fix' : 'look') : adopted
    const before = fix ? adopted.filter(({ outcome }) => outcome !== undefined) : []
    const all = [...before, ...found.filter(({ id }) => before.every((one) => one.id !== id))]
    if (all.length === 0)
      return [{ check: 'plugin', subject: host, state: 'ok', text: 'finds nothing wrong with its volumes' }]
    return all.map((one) => shown(host, one))
  } catch (error) {
    if (!isFailure(error)) throw error
    return [
      {
        check: 'plugin',
        subject: host,
        state: 'wrong',
        text: explain(error),
        todo: `see the plugin's lines in the daemon's log on ${host}`,
      },
    ]
  }
}

/** A plugin's finding as a line of the doctor's. */
const shown = (host: string, { check, subject, state, text, action, by, outcome }: HostFinding): Finding => {
  const finding = { check, subject: subject === '-' ? `of ${host}` : `${subject} on ${host}`, text }
  if (outcome?.done) return { ...finding, state: 'mended', todo: `done: ${action}` }
  if (outcome) return { ...finding, state, todo: `not done (${action}): ${outcome.reason}` }
  if (action === undefined) return { ...finding, state }
  return { ...finding, state, todo: by === 'person' ? action : `--${by}: ${action}` }
}
