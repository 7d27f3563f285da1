/**
 * The control process, put together: catalog, job engine, worker and watchdog, and a socket that says how it is.
 *
 * One `serve` per home, held by a lock that dies with it. The worker and the watchdog are processes of their own: they
 * outlive it, and the next `serve` finds them. (Under systemd that takes KillMode=process.)
 * Crash story: kill -9 at any moment leaves a catalog that is whole, jobs that the next `serve` takes over at once, and a
 * worker that goes on with its tasks; their results wait there until they are asked for again and recorded.
 */
import type { Clock, Random } from '#base'
import { messageOf, must, PROGRAM_VERSION } from '#base'
import { Catalog } from '#catalog'
import type { LinkView } from '#api'
import { isFinal } from '#domain'
import {
  ApiDesk,
  ByteClient,
  DeploymentDesk,
  EmbeddedEngine,
  type EngineTiming,
  type JobEngine,
  type TaskRunner,
} from '#jobs'
import { keepWatchdog } from '#engine/hypervisor'
import { dial, identityOf, type Logger, type ProcessIdentity, type RpcMethods, RpcServer } from '#runtime'
import type { AdminParts } from './access/admin-call.ts'
import { certificateMethods } from './access/certificate-methods.ts'
import { principalMethods } from './access/principal-methods.ts'
import { roleMethods } from './access/role-methods.ts'
import { applyConfig } from './config/apply-config.ts'
import { CONFIG_DEFAULTS } from './config/read-config.ts'
import type { Config } from './config/schema.ts'
import { controlMethods } from './control-methods.ts'
import { ServerError } from './errors.ts'
import { type Face, type FaceOptions, type FaceParts, openFace } from './face/open-face.ts'
import { figuresOf } from './figures.ts'
import type { Home } from './home.ts'
import { HostTasks } from './hosts/host-tasks.ts'
import { Hosts } from './hosts/hosts.ts'
import { lockHome } from './init-home.ts'
import { BackupClock } from './backup-clock.ts'
import { childrenOf, journalsFolder } from './children.ts'
import { MachineWatch } from './machine-watch.ts'
import { DAY_MS, Maintenance } from './maintenance.ts'
import { hostMethods } from './places/host-methods.ts'
import { linkMethods } from './places/link-methods.ts'
import { LinkWatch } from './places/link-watch.ts'
import { regionMethods } from './places/region-methods.ts'
import { spaceMethods } from './places/space-methods.ts'
import { vaultMethods } from './places/vault-methods.ts'
import { type Alarm, SpaceWatch } from './space-watch.ts'
import type { ProcessEntry } from './start-process.ts'
import type { Supervised, SupervisedState, SupervisionTiming } from './supervisor.ts'
import { VaultWatch } from './vault-watch.ts'
import { WorkerClient } from './worker/worker-client.ts'

/** Jobs wait for workers most of their time; queues say how many of each kind may be at work. */
const JOBS_AT_ONCE = 192

export type ServeParts = Readonly<{
  engine: JobEngine
  catalog: Catalog
  tasks: TaskRunner
  /** Default: as when nothing is said. */
  config?: Config
  /** Where jobs meet the API. */
  deployments: DeploymentDesk
  /** Where jobs meet the API. */
  apiDesk: ApiDesk
}>

export type ServeOptions = Readonly<{
  home: Home
  clock: Clock
  random: Random
  logger: Logger
  workerEntry: ProcessEntry
  supervision?: Partial<SupervisionTiming>
  /** Defines queues and jobs, and puts schedules, before the engine runs. */
  prepare: (parts: ServeParts) => Promise<void> | void
  timing?: Partial<EngineTiming>
  /** Where the Azure face listens; without it there is none. */
  face?: FaceOptions
  /** Default: as when nothing is said. */
  config?: Config
}>

export type Health = Readonly<{
  version: string
  pid: number
  home: string
  jobs: Readonly<Record<string, number>>
  processes: readonly SupervisedState[]
  /** Pools and stores that are short of space or cannot be read. */
  alarms: readonly Alarm[]
  /** Servers of other regions, as they were when they were last asked. */
  links: readonly LinkView[]
}>

export type Served = ServeParts &
  Readonly<{ face: Face | undefined; health: () => Promise<Health>; stop: () => Promise<void> }>

async function healthOf(
  home: Home,
  catalog: Catalog,
  processes: readonly Supervised[],
  alarms: readonly Alarm[],
  links: readonly LinkView[],
): Promise<Health> {
  const rows = await catalog.db
    .selectFrom('job')
    .select(['status', (select) => select.fn.countAll<number>().as('count')])
    .groupBy('status')
    .execute()
  return {
    version: PROGRAM_VERSION,
    pid: process.pid,
    home: home.folder,
    jobs: Object.fromEntries(rows.map(({ status, count }) => [status, count])),
    processes: processes.map(({ state }) => state),
    alarms,
    links,
  }
}

/** Results whose steps are recorded, or whose jobs are over, are let go of: a crash may have kept us from saying so. */
async function reconcile(engine: JobEngine, client: WorkerClient, logger: Logger): Promise<void> {
  try {
    for (const { key, status } of await client.list()) {
      if (status === 'running') continue
      const job = await engine.get(key.job)
      const step = (await engine.steps(key.job)).find(({ name }) => name === key.step)
      const over = job === undefined || isFinal(job.status) || step?.status === 'succeeded' || step?.status === 'failed'
      if (over) await client.acknowledge(key)
    }
  } catch (error) {
    // The worker keeps its results; the next start reconciles again.
    logger.warn({ error: messageOf(error) }, 'the worker’s results were not reconciled')
  }
}

type OpenedParts = Omit<FaceParts, 'health' | 'figures'> &
  Readonly<{ health: () => Promise<Health>; config: Config; hosts: Hosts }>

function openFaceOf({ face }: ServeOptions, parts: OpenedParts): Promise<Face> | undefined {
  if (face === undefined) return undefined
  const { catalog, clock, config } = parts
  const figures = (): ReturnType<typeof figuresOf> => figuresOf({ catalog, clock, hosts: parts.hosts }, parts.health)
  return openFace(face, {
    ...parts,
    health: () => healthReply(parts.health),
    ...(config.metrics.open === 'yes' && { figures }),
  })
}

/** For `/healthz`: the catalog answers, the worker and the watchdog run and answer. Tells no path and no name. */
async function healthReply(health: () => Promise<Health>): ReturnType<FaceParts['health']> {
  try {
    const { version, processes } = await health()
    const states = Object.fromEntries(processes.map(({ name, health }) => [name, health]))
    return {
      healthy: processes.every(({ health }) => health === 'well'),
      facts: { version, catalog: 'well', ...states },
    }
  } catch {
    return { healthy: false, facts: { version: PROGRAM_VERSION, catalog: 'does not answer' } } // That is the answer.
  }
}

/** Looks after machines that run. @returns what ends that */
function watchMachines({ home, clock, random, logger }: ServeOptions, parts: Pick<ServeParts, 'catalog' | 'engine'>) {
  const machines = new ByteClient(() => dial(home.socket('bytes')))
  const watch = new MachineWatch({ ...parts, machines, clock, random, logger })
  watch.begin()
  return (): Promise<void> => watch.leave()
}

/** Looks after vaults: mirrors, copies of the catalog, immutability, alerts. @returns what ends that */
function watchVaults(
  { clock, random, logger, config = CONFIG_DEFAULTS }: ServeOptions,
  parts: Pick<ServeParts, 'catalog' | 'engine'>,
) {
  const watch = new VaultWatch({ ...parts, clock, random, logger, config })
  watch.begin()
  return (): Promise<void> => watch.leave()
}

/** Starts backups that are due. @returns what ends that */
function startBackups({ clock, random, logger }: ServeOptions, parts: Pick<ServeParts, 'catalog' | 'engine'>) {
  const backups = new BackupClock({ ...parts, clock, random, logger })
  backups.begin()
  return (): Promise<void> => backups.leave()
}

/** Looks after linked servers. @returns what ends that */
function watchLinks({ links }: Face, clock: Clock, logger: Logger): () => Promise<void> {
  const watch = new LinkWatch({ links, clock, logger })
  watch.begin()
  return () => watch.leave()
}

function adminMethods(parts: AdminParts, face: () => Face | undefined): RpcMethods {
  const opened = (): Face => {
    const open = face()
    if (open !== undefined) return open
    throw new ServerError('face_not_open', 'The server does not listen for the API.', {
      retry: 'later',
      hint: 'It may be starting: ask again. Else see its log.',
    })
  }
  return {
    ...principalMethods(parts),
    ...certificateMethods(parts),
    ...roleMethods(parts),
    ...regionMethods(parts, () => face()?.links),
    ...hostMethods(parts),
    ...linkMethods(parts, () => opened().links),
    ...spaceMethods(parts),
    ...vaultMethods(parts),
    face: () => opened().record,
  }
}

/** The engine, and the ways to the workers that do its steps: the one of this host, and those elsewhere. */
function workersOf(options: ServeOptions, catalog: Catalog, self: ProcessIdentity) {
  const { home, clock, random, logger, config = CONFIG_DEFAULTS } = options
  const timing = { historyMs: (config.retention.jobDays + 1) * DAY_MS, ...options.timing }
  const engine = new EmbeddedEngine({ catalog, clock, random, logger, process: self, slots: JOBS_AT_ONCE, timing })
  const local = new WorkerClient(home.socket('worker'), logger, clock)
  const letGo = (worker: WorkerClient): Promise<void> => reconcile(engine, worker, logger)
  const hosts = new Hosts({ home, catalog, clock, random, logger, config, local, reconcile: letGo })
  const tasks = new HostTasks(catalog, local, (host) => hosts.worker(host))
  return { engine, local, hosts, tasks }
}

/** @throws ServerError of the first that did not begin, when all have come to an end */
async function beginAll(children: readonly Supervised[]): Promise<void> {
  const begun = await Promise.allSettled(children.map((child) => child.begin()))
  for (const one of begun) if (one.status === 'rejected') throw one.reason
}

/** Everything started and ready. @throws ServerError, CatalogError; then nothing of ours runs on but found processes */
export async function serve(options: ServeOptions): Promise<Served> {
  const { home, clock, random, logger, config = CONFIG_DEFAULTS } = options
  const undo: (() => Promise<void> | void)[] = []
  const stop = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step()
  }
  try {
    const lock = lockHome(home)
    undo.push(() => lock.release())
    const catalog = await Catalog.open(home.catalog, clock)
    undo.push(() => catalog.close())
    const self = must(identityOf(), 'This process has an identity')
    const { engine, local, hosts, tasks } = workersOf(options, catalog, self)
    const deployments = new DeploymentDesk()
    const apiDesk = new ApiDesk()
    await applyConfig(catalog, home, config)
    await options.prepare({ engine, catalog, tasks, deployments, apiDesk, config })
    let face: Face | undefined
    const maintenance = new Maintenance({
      home,
      catalog,
      engine,
      clock,
      logger,
      retention: config.retention,
      renewCertificate: async () => {
        await face?.renewCertificate()
        await hosts.renewCertificate()
      },
    })
    await maintenance.sweep()
    await keepWatchdog(journalsFolder(home), self)
    const children = childrenOf({ ...options, tasks: local })
    for (const child of children) undo.push(() => child.leave())
    await beginAll(children)
    await reconcile(engine, local, logger)
    await hosts.begin()
    undo.push(() => hosts.close())
    engine.run()
    undo.push(() => engine.stop())
    maintenance.begin()
    undo.push(() => maintenance.leave())
    const space = new SpaceWatch({ catalog, clock, random, logger, reserve: config.reserve, hosts })
    space.begin()
    undo.push(() => space.leave())
    const watched = { catalog, engine }
    undo.push(watchMachines(options, watched), watchVaults(options, watched), startBackups(options, watched))
    const health = async (): Promise<Health> =>
      healthOf(home, catalog, children, space.alarms, (await face?.links.list()) ?? [])
    const admin = adminMethods({ home, catalog, clock, random, config, hosts }, () => face)
    const rpc = await RpcServer.open({
      address: home.socket('serve'),
      role: 'control',
      version: PROGRAM_VERSION,
      facts: { identity: self, home: home.folder },
      methods: { ...controlMethods({ engine, catalog, clock }), ...admin, health },
    })
    undo.push(() => rpc.close())
    const opening = { home, catalog, engine, deployments, apiDesk, clock, random, logger, health, config, hosts }
    face = await openFaceOf(options, opening)
    const opened = face
    if (opened !== undefined) undo.push(() => opened.close(), watchLinks(opened, clock, logger))
    return { engine, catalog, tasks, deployments, apiDesk, face, health, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
