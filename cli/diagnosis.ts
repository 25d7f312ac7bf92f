import { hostOf } from '../registry/collections.ts'
import type { Facts } from './facts.ts'
import { age, count } from './format.ts'

/** One line of the doctor's: what was looked at, how it stands, and what to do. */
export interface Finding {
  readonly check: string
  readonly subject: string
  /** `note`: nothing is wrong, but worth knowing. `mended`: it was wrong until just now. */
  readonly state: 'ok' | 'note' | 'wrong' | 'mended'
  readonly text: string
  readonly todo?: string
}

const some = (number: number, noun: string, how: string): string =>
  number === 0 ? 'none' : `${count(number, noun)}, ${how}`

/** Seconds that a clock may be ahead of ours before it is worth a word. */
const skew = 5

/** What the records themselves say about the state of things. Pure. */
export const diagnose = (facts: Facts): Finding[] => [
  ...hosts(facts),
  ...guards(facts),
  ...policies(facts),
  ...clocks(facts),
  ...records(facts),
  ...services(facts),
  ...volumes(facts),
  ...vsms(facts),
]

const hosts = ({ now, records: all, unleased }: Facts): Finding[] => {
  const registered = all.hosts.map((host): Finding => {
    const finding = { check: 'host', subject: host.host }
    if (unleased.some((key) => hostOf(key) === host.host))
      return {
        ...finding,
        state: 'wrong',
        text: 'its record is held by no lease: no sidecar wrote it, and it would stay for ever',
        todo: `delete hosts/${host.host} in the store; a running sidecar writes it anew`,
      }
    if (host.left)
      return {
        ...finding,
        state: 'note',
        text: 'its sidecar has ended and left the records to a successor, until their lease ends',
        todo: `start the sidecar of ${host.host} again`,
      }
    const up = age(host.since, now)
    return {
      ...finding,
      state: 'ok',
      text: `${host.address}, Docker ${host.engine.version}, sidecar ${host.versions.sidecar} for ${up}`,
    }
  })
  if (all.hosts.length === 0)
    registered.push({
      check: 'host',
      subject: '-',
      state: 'wrong',
      text: 'no host is registered',
      todo: 'start a sidecar: make up, or registrator run',
    })
  return [...registered, ...strangers(all)]
}

/** Hosts that records name, and that are not registered. */
const strangers = (all: Facts['records']): Finding[] => {
  const known = new Set(all.hosts.map(({ host }) => host))
  const named = new Map<string, Map<string, number>>()
  const name = (host: string, noun: string) => {
    if (known.has(host)) return
    const by = named.get(host) ?? new Map<string, number>()
    named.set(host, by.set(noun, (by.get(noun) ?? 0) + 1))
  }
  for (const { host } of all.alive) name(host, 'running plugin')
  for (const { host } of all.inventory) name(host, 'inventory record')
  for (const { host } of all.services) name(host, 'service instance')
  for (const { host } of all.vsms) name(host, 'VSM')
  for (const { placement } of all.volumes) name(placement.host, 'volume')
  for (const { host } of all.attachments) name(host, 'attachment')
  return [...named].sort().map(([host, by]) => ({
    check: 'host',
    subject: host,
    state: 'wrong',
    text: `not registered, but named by ${[...by].map(([noun, number]) => count(number, noun)).join(', ')}`,
    todo: `start the sidecar on ${host}; look at its /readyz if it runs`,
  }))
}

/** Plugins that are to be asked about each call, and are disabled: nothing is asked, and a daemon does not start with them. */
const guards = ({ records: all }: Facts): Finding[] => {
  const withoutTag = (name: string) => name.replace(/:latest$/, '')
  const disabled = new Set(
    all.inventory.flatMap((one) =>
      one.kind === 'plugin' && !one.enabled ? [`${one.host} ${withoutTag(one.name)}`] : [],
    ),
  )
  return all.hosts.flatMap(({ host, authorization = [] }) =>
    authorization
      .filter((name) => disabled.has(`${host} ${withoutTag(name)}`))
      .map((name) => ({
        check: 'guard',
        subject: `${name} on ${host}`,
        state: 'wrong',
        text: 'the Engine was started with it as authorization plugin, and it is disabled: a reload now ends dockerd, a start of it fails',
        todo: `docker plugin enable ${name}, then systemctl reload docker; or take it out of daemon.json first`,
      })),
  )
}

/** Guards that do not go by the policy in the registry, as they cannot take it. */
const policies = ({ records: all }: Facts): Finding[] =>
  all.alive.flatMap(({ host, guard }): Finding[] =>
    guard?.policy === 'refused'
      ? [
          {
            check: 'policy',
            subject: host,
            state: 'wrong',
            text: `its guard refuses the policy in the registry and goes on by what it had (${guard.mode}, ${guard.reach}): ${guard.reason ?? 'it does not say why'}`,
            todo: 'registrator policy check says what is wrong with a file; policy set puts a good one in its place',
          },
        ]
      : [],
  )

/** Times that lie ahead of our clock; one that is behind cannot be told from an old record. */
const clocks = ({ now, records: all }: Facts): Finding[] => {
  const newest = new Map<string, number>()
  const saw = (host: string, iso: string) =>
    newest.set(host, Math.max(newest.get(host) ?? 0, Date.parse(iso)))
  for (const { host, since } of [...all.hosts, ...all.alive]) saw(host, since)
  for (const { host, time } of [...all.events, ...all.audit]) saw(host, time)
  const ahead = [...newest].filter(([, time]) => time - now > skew * 1000)
  if (ahead.length === 0) return []
  return ahead.map(([host, time]) => ({
    check: 'clock',
    subject: host,
    state: 'wrong',
    text: `its clock is at least ${Math.round((time - now) / 1000)} s ahead of this machine's`,
    todo: 'have both machines follow a time server (chrony, systemd-timesyncd)',
  }))
}

const records = ({ unreadable, records: all }: Facts): Finding[] => {
  if (unreadable.length === 0) {
    const number = Object.values(all).reduce((sum, list) => sum + list.length, 0)
    return [{ check: 'records', subject: '-', state: 'ok', text: some(number, 'record', 'all can be read') }]
  }
  return unreadable.map(({ key, reason }) => ({
    check: 'record',
    subject: key,
    state: 'wrong',
    text: `this version cannot read it: ${reason.replaceAll(/\s+/g, ' ').replace(`${key} `, 'it ')}`,
    todo: 'upgrade this program if a newer one wrote it; else delete the key in the store',
  }))
}

const services = ({ records: all }: Facts): Finding[] => {
  const live = new Set<string>()
  for (const record of all.inventory) {
    if (record.kind === 'container' && ['running', 'paused'].includes(record.state)) live.add(record.id)
    // of a swarm: their containers may be on hosts without a sidecar
    if (record.kind === 'task' && record.state === 'running')
      for (const id of [record.id, record.containerId]) if (id !== undefined) live.add(id)
  }
  const dead = all.services.filter(({ containerId }) => !live.has(containerId))
  const sick = all.services.filter(({ health }) => health === 'unhealthy')
  const findings = dead.map(
    (service): Finding => ({
      check: 'service',
      subject: `${service.service} on ${service.host}`,
      state: 'wrong',
      text: `points to container ${service.container}, which the inventory does not have running`,
      todo: `look at the sidecar of ${service.host}: its log and /readyz`,
    }),
  )
  if (sick.length > 0)
    findings.push({
      check: 'services',
      subject: '-',
      state: 'note',
      text: `unhealthy: ${sick.map(({ service, container }) => `${service} (${container})`).join(', ')}`,
    })
  if (dead.length === 0)
    findings.push({
      check: 'services',
      subject: '-',
      state: 'ok',
      text: some(all.services.length, 'instance', 'each of a container that runs'),
    })
  return findings
}

const volumes = ({ records: all }: Facts): Finding[] => {
  const plugins = new Set(all.alive.map(({ host }) => host))
  const names = new Set(all.volumes.map(({ name }) => name))
  const targets = new Set(all.targets.map(({ host, volume }) => `${host}/${volume}`))
  const attached = new Set(all.attachments.map(({ volume }) => volume))
  const inUse = new Set(
    all.inventory.flatMap((one) => (one.kind === 'container' && one.state === 'running' ? one.volumes : [])),
  )
  const wrong = (subject: string, text: string, todo: string): Finding => ({
    check: 'volume',
    subject,
    state: 'wrong',
    text,
    todo,
  })
  const findings = all.volumes.flatMap(({ name, placement: { host }, wanted }): Finding[] => {
    if (!plugins.has(host))
      return [
        wrong(
          name,
          `the plugin of ${host}, where it is, does not run`,
          `docker plugin enable openebs on ${host}`,
        ),
      ]
    if (wanted === 'absent')
      return [{ check: 'volume', subject: name, state: 'note', text: 'is being removed' }]
    if (!targets.has(`${host}/${name}`))
      return [
        wrong(name, 'it has no target', `look for "not in line yet" in the log of the daemon of ${host}`),
      ]
    if (inUse.has(name) && !attached.has(name))
      return [
        wrong(name, 'a running container uses it, but it is attached to no host', 'restart that container'),
      ]
    return []
  })
  for (const { volume, host } of all.attachments)
    if (!names.has(volume))
      findings.push(
        wrong(
          volume,
          `attached to ${host}, but there is no such volume`,
          `delete attachments/${volume} in the store`,
        ),
      )
  for (const { volume, host } of all.targets)
    if (!names.has(volume))
      findings.push(
        wrong(
          volume,
          `${host} serves it, but there is no such volume`,
          `delete targets/${host}/${volume} in the store, if ${host} has no container vsm-${volume}`,
        ),
      )
  if (findings.every(({ state }) => state !== 'wrong'))
    findings.push({
      check: 'volumes',
      subject: '-',
      state: 'ok',
      text: some(all.volumes.length, 'volume', 'each with its target'),
    })
  return findings
}

const vsms = ({ records: all }: Facts): Finding[] => {
  const findings = all.vsms.flatMap(({ vsm, host, health, reason, container }): Finding[] => {
    const finding = { check: 'VSM', subject: `${vsm} on ${host}` }
    if (health === 'unhealthy')
      return [
        {
          ...finding,
          state: 'wrong',
          text: `unhealthy${reason ? `: ${reason}` : ''}`,
          todo: `docker logs ${container} on ${host}`,
        },
      ]
    if (health === 'unknown')
      return [{ ...finding, state: 'note', text: `unknown${reason ? `: ${reason}` : ''}` }]
    return []
  })
  if (findings.every(({ state }) => state !== 'wrong'))
    findings.push({
      check: 'VSMs',
      subject: '-',
      state: 'ok',
      text: some(all.vsms.length, 'VSM', 'none unhealthy'),
    })
  return findings
}
