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
import { isFinal } from '#domain'
import { ByteClient, DeploymentDesk, EmbeddedEngine, type EngineTiming, type JobEngine, type TaskRunner } from '#jobs'
import { keepWatchdog } from '#engine/hypervisor'
import { identityOf, type Logger, type RpcMethods, RpcServer } from '#runtime'
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
import { lockHome } from './init-home.ts'
import { childrenOf, journalsFolder } from './children.ts'
import { bytesSocketPath } from './jobs-of-serve.ts'
import { MachineWatch } from './machine-watch.ts'
import { DAY_MS, Maintenance } from './maintenance.ts'
import { regionMethods } from './places/region-methods.ts'
import { spaceMethods } from './places/space-methods.ts'
import { type Alarm, SpaceWatch } from './space-watch.ts'
import type { ProcessEntry } from './start-process.ts'
import type { Supervised, SupervisedState, SupervisionTiming } from './supervisor.ts'
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
}>

export type Served = ServeParts &
  Readonly<{ face: Face | undefined; health: () => Promise<Health>; stop: () => Promise<void> }>

async function healthOf(
  home: Home,
  catalog: Catalog,
  processes: readonly Supervised[],
  alarms: readonly Alarm[],
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

type OpenedParts = Omit<FaceParts, 'health' | 'figures'> & Readonly<{ health: () => Promise<Health>; config: Config }>

function openFaceOf({ face }: ServeOptions, parts: OpenedParts): Promise<Face> | undefined {
  if (face === undefined) return undefined
  const { catalog, clock, config } = parts
  const figures = (): ReturnType<typeof figuresOf> => figuresOf(catalog, clock, parts.health)
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

function adminMethods(parts: AdminParts, face: () => Face | undefined): RpcMethods {
  return {
    ...principalMethods(parts),
    ...certificateMethods(parts),
    ...roleMethods(parts),
    ...regionMethods(parts),
    ...spaceMethods(parts),
    face: () => {
      const record = face()?.record
      if (record !== undefined) return record
      throw new ServerError('face_not_open', 'The server does not listen for the API.', {
        retry: 'later',
        hint: 'It may be starting: ask again. Else see its log.',
      })
    },
  }
}

/** Everything started and ready. @throws ServerError, CatalogError; then nothing of ours runs on but found processes */
export async function serve(options: ServeOptions): Promise<Served> {
  const { home, clock, random, logger, config = CONFIG_DEFAULTS } = options
  const timing = { historyMs: (config.retention.jobDays + 1) * DAY_MS, ...options.timing }
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
    const engine = new EmbeddedEngine({
      catalog,
      clock,
      random,
      logger,
      process: self,
      slots: JOBS_AT_ONCE,
      timing,
    })
    const tasks = new WorkerClient(home.socket('worker'), logger, clock)
    const deployments = new DeploymentDesk()
    await applyConfig(catalog, home, config)
    await options.prepare({ engine, catalog, tasks, deployments, config })
    let face: Face | undefined
    const maintenance = new Maintenance({
      home,
      catalog,
      engine,
      clock,
      logger,
      retention: config.retention,
      renewCertificate: () => face?.renewCertificate(),
    })
    await maintenance.sweep()
    await keepWatchdog(journalsFolder(home), self)
    const children = childrenOf({ ...options, tasks })
    const begun = await Promise.allSettled(children.map((child) => child.begin()))
    for (const child of children) undo.push(() => child.leave())
    for (const one of begun) if (one.status === 'rejected') throw one.reason
    await reconcile(engine, tasks, logger)
    engine.run()
    undo.push(() => engine.stop())
    maintenance.begin()
    undo.push(() => maintenance.leave())
    const space = new SpaceWatch({ catalog, clock, random, logger, reserve: config.reserve })
    space.begin()
    undo.push(() => space.leave())
    const machines = new ByteClient(bytesSocketPath(home))
    const watch = new MachineWatch({ catalog, engine, machines, clock, random, logger })
    watch.begin()
    undo.push(() => watch.leave())
    const health = (): Promise<Health> => healthOf(home, catalog, children, space.alarms)
    const admin = adminMethods({ home, catalog, clock, random, config }, () => face)
    const rpc = await RpcServer.open({
      address: home.socket('serve'),
      role: 'control',
      version: PROGRAM_VERSION,
      facts: { identity: self, home: home.folder },
      methods: { ...controlMethods({ engine, catalog, clock }), ...admin, health },
    })
    undo.push(() => rpc.close())
    face = await openFaceOf(options, { home, catalog, engine, deployments, clock, random, logger, health, config })
    const opened = face
    if (opened !== undefined) undo.push(() => opened.close())
    return { engine, catalog, tasks, deployments, face, health, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
