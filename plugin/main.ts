import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { connectDockerAnew } from '../docker/client.ts'
import { parseEndpoint } from '../docker/endpoint.ts'
import { pause } from '../process/backoff.ts'
import { explain } from '../process/failure.ts'
import { KeyedLock } from '../process/keyed-lock.ts'
import { aborted, runProcess } from '../process/lifecycle.ts'
import { createLog, type Log } from '../process/log.ts'
import { readSettings } from '../process/settings.ts'
import { version } from '../process/version.ts'
import { openEtcd } from '../registry/stores/etcd.ts'
import { createApp } from './app.ts'
import { AuditTrail } from './audit/trail.ts'
import { Authz } from './authz.ts'
import { withAuthz } from './authz-listener.ts'
import { Convergence } from './convergence.ts'
import { Doctor } from './doctor/doctor.ts'
import { gather } from './doctor/gather.ts'
import { doctorHandler } from './doctor/request.ts'
import { Engine } from './engine.ts'
import { growHandler } from './growth.ts'
import { Guard } from './guard/guard.ts'
import { ownSecret } from './guard/own-secret.ts'
import type { World } from './guard/world.ts'
import { GuardPolicy } from './guard-policy.ts'
import { followNames, storageWorld } from './guard-world.ts'
import { type HostFacts, type HostPlace, learnHost, refreshHost } from './host.ts'
import { Initiators } from './initiators.ts'
import { Iscsid } from './iscsid.ts'
import { isRegistered, KnownRegistry } from './known-registry.ts'
import { LocalCopy } from './local-copy.ts'
import { Observer } from './observer.ts'
import { Reconciler } from './reconciler.ts'
import { registerHost } from './registration.ts'
import { Requests } from './requests.ts'
import { reviveConsumers } from './revival.ts'
import { Secrets } from './secrets.ts'
import { Serving } from './serving.ts'
import { type Settings, settings } from './settings.ts'
import { answerBy, listening } from './socket.ts'
import { standStill } from './stand-still.ts'
import { StorageContainers } from './storage-containers.ts'
import { Targets } from './targets.ts'
import { VolumeDriver } from './volume-driver.ts'
import { VolumeRecords } from './volume-records.ts'
import { type VolumeParts, VolumeSteps } from './volume-steps.ts'
import { Volumes } from './volumes.ts'
import { VsmImage } from './vsm-image.ts'

const propagatedMount = '/data'
const vsmTar = '/usr/share/openebs/vsm.tar.gz'
/** ms, less than the two seconds after which the Engine's users would take it for a hang. */
const decideWithin = 1_800
/** ms that the first Gets of a new local copy wait for the store. */
const firstLookMs = 5_000

await runProcess(createLog('openebs-plugin', 'info'), async (stack, stop) => {
  const own = readSettings(settings, process.env)
  const log = createLog('openebs-plugin', own.OPENEBS_LOG_LEVEL)
  const secret = ownSecret()
  const docker = connectDockerAnew(parseEndpoint(own), secret.headers)
  const engine = new Engine(docker)
  const local = new LocalCopy(join(propagatedMount, 'volumes'), log)
  const containers = new StorageContainers(local)
  const driver = Promise.withResolvers<VolumeDriver>()
  const trail = new AuditTrail({ folder: join(propagatedMount, 'audit'), log })
  const policy = new GuardPolicy({
    file: join(propagatedMount, 'policy.json'),
    settings: {
      mode: own.OPENEBS_GUARD,
      reach: own.OPENEBS_GUARD_REACH,
      operators: own.OPENEBS_OPERATORS,
      exceptions: [],
    },
    log,
  })
  let world: World | undefined
  const authz = new Authz({
    guard: new Guard({ isOwn: secret.isOwn, policy: policy.current, within: decideWithin }, () => world),
    policy: policy.current,
    guarded: () => containers.all(),
    record: (entry) => trail.record(entry),
  })

  // Answers come first: an Engine that gets none for some seconds disables the plugin.
  stack.use(await listening)
  // a small file: the first call is judged by it
  await policy.load()
  answerBy(withAuthz(authz, log, createApp({ driver: () => driver.promise, log })))

  await local.load()
  const place = { folder: propagatedMount, propagatedMount, name: own.OPENEBS_HOST }
  const facts = await learnHost(engine, place, stop)
  world = storageWorld({
    host: facts.host,
    data: facts.data,
    root: own.OPENEBS_ROOT,
    image: own.OPENEBS_VSM_IMAGE,
    policy: policy.current,
    local,
    containers,
    engine,
    docker,
  })
  const store = await openEtcd({ uri: own.OPENEBS_STORE, writer: `plugin/${facts.host}` })
  stack.defer(() => store.close())
  trail.start(store, facts.host)
  stack.defer(() => trail.stop())
  const records = new VolumeRecords(store, facts.host)
  const registry = new KnownRegistry(join(propagatedMount, 'registry'), store, () =>
    isRegistered(local, records, facts.host),
  )
  await registry.load()

  const { volumes, reconciler, observer, doctor, steps, lock } = wireVolumes({
    own,
    engine,
    local,
    authz,
    containers,
    records,
    registry,
    facts,
    log,
    stop,
  })
  const firstLook =
    local.all().length > 0 ? Promise.resolve() : Promise.race([reconciler.first, pause(firstLookMs)])
  driver.resolve(new VolumeDriver(volumes, observer, () => firstLook))
  log.info({ version, host: facts.host, store: store.description }, 'serving volumes')

  const ending = new AbortController()
  const until = AbortSignal.any([stop, ending.signal])
  const requests = new Requests({
    store,
    host: facts.host,
    run: randomUUID(),
    handlers: { doctor: doctorHandler(doctor), grow: growHandler(steps, lock) },
    log,
  })
  const running = Promise.all([
    reconciler.run(until),
    observer.run(until),
    requests.run(until),
    followNames(docker, containers, log, until),
    authz.run(until),
    policy.run(store, () => registry.look(), until),
    keepFacts(engine, place, facts, log, until),
  ])
  stack.defer(async () => {
    ending.abort()
    // what it may have failed of has been thrown already, below
    await Promise.allSettled([running])
  })
  await registerHost(stack, { store, facts, guard: policy, log })
  await Promise.race([aborted(stop), running])
})

/** Volumes of this host and the loop that keeps them in line. */
function wireVolumes(parts: {
  own: Settings
  engine: Engine
  local: LocalCopy
  authz: Authz
  containers: StorageContainers
  records: VolumeRecords
  registry: KnownRegistry
  facts: HostFacts
  log: Log
  stop: AbortSignal
}) {
  const { own, engine, local, authz, containers, records, registry, facts, log, stop } = parts
  const { host, portalAddress, security } = facts
  const image = own.OPENEBS_VSM_IMAGE
  const secrets = new Secrets(join(propagatedMount, 'secrets'), {
    stored: (volume, epoch) => records.readPassword(volume, epoch),
    served: (target) => targets.password(target),
  })
  const targets: Targets = new Targets(engine, {
    host,
    portalAddress,
    publicAddress: own.OPENEBS_ADDRESS,
    password: (volume, epoch) => secrets.make(volume, epoch),
    ports: own.OPENEBS_PORTS,
    root: own.OPENEBS_ROOT,
    image,
    security,
  })
  const iscsid = new Iscsid(
    engine,
    {
      choice: own.OPENEBS_ATTACH,
      host,
      image,
      security,
    },
    log,
  )
  const initiators = new Initiators(engine, {
    host,
    mounts: join(propagatedMount, 'mounts'),
    hostMounts: join(facts.data, 'mounts'),
    hostSecrets: join(facts.data, 'secrets'),
    iscsid,
    secret: (volume, target) => secrets.recover(volume, target),
    image,
    security,
    learned: (volume, id) => containers.learnInitiator(volume, id),
    cutOff: (volume) => {
      log.error(
        { volume },
        "ends to be started anew: its folder is no longer the host's, where this volume is mounted",
      )
      // as a crash does, which the Engine answers by a start; calls that wait for this volume would hold a stop up
      process.exit(1)
    },
  })
  const serving = new Serving(engine, stop)
  const vsmImage = new VsmImage(engine, image, vsmTar, log)
  // loaded before the first volume asks for it
  void serving.once
    .then(() => vsmImage.ensure())
    .catch((error: unknown) => log.warn({ reason: explain(error) }, 'no VSM image yet'))
  const volumeParts: VolumeParts = {
    host,
    local,
    records,
    registry,
    targets,
    initiators,
    secrets,
    engine,
    log,
    images: (spec) => vsmImage.ensure(spec.image),
    changed: () => reconciler.wake(),
    reached: (step) => standStill(propagatedMount, step),
  }
  const lock = new KeyedLock()
  const steps = new VolumeSteps(volumeParts)
  const convergence = new Convergence(volumeParts, steps, lock)
  if (own.OPENEBS_REVIVE === 'yes')
    void serving.once.then(() => reviveConsumers(engine, convergence.here(), log, stop))
  const volumes = new Volumes(volumeParts, steps, lock, {
    restoring: () => !serving.yet,
    onMount: (name, id) => convergence.seen(name, id),
  })
  const reconciler = new Reconciler({ convergence, records, registry, engine, host, log })
  const observer = new Observer(
    {
      attached: () => local.all().flatMap(({ volume, attachment }) => (attachment ? [volume.name] : [])),
      served: (volume) => initiators.now(volume),
      used: (volume) => initiators.used(volume),
      holders: (volume) => engine.holders(volume),
    },
    log,
  )
  const hostMounts = join(facts.data, 'mounts')
  const doctorPlace = { root: own.OPENEBS_ROOT, hostMounts, image, security }
  const doctor = new Doctor({
    parts: volumeParts,
    steps,
    place: doctorPlace,
    lock,
    gather: (what) =>
      gather(
        {
          ...volumeParts,
          propagatedMount,
          place: doctorPlace,
          authz,
          images: () => vsmImage.ensure(),
        },
        what && { folders: what.folders },
      ),
  })
  return { volumes, reconciler, observer, doctor, steps, lock }
}

/** What the Engine says of the host may have changed since it was kept: it counts from the next start on. */
async function keepFacts(
  engine: Engine,
  place: HostPlace,
  facts: HostFacts,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  try {
    const fresh = await refreshHost(engine, place, signal)
    if (!isDeepStrictEqual(fresh, facts))
      log.warn({ facts, fresh }, 'the host has changed: restart the plugin to follow')
  } catch (error) {
    // a full disk, say: volumes are served all the same
    if (!signal.aborted)
      log.warn({ reason: explain(error) }, 'what the Engine says of this host could not be kept')
  }
  await aborted(signal)
}
