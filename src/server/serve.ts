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
import { DeploymentDesk, EmbeddedEngine, type EngineTiming, type JobEngine, type TaskRunner } from '#jobs'
import { keepWatchdog } from '#engine/hypervisor'
import { identityOf, type Logger, RpcServer, tryProcessLock } from '#runtime'
import { controlMethods } from './control-methods.ts'
import { ServerError } from './errors.ts'
import { type Face, type FaceOptions, type FaceParts, openFace } from './face/open-face.ts'
import type { Home } from './home.ts'
import { childrenOf, journalsFolder } from './children.ts'
import type { ProcessEntry } from './start-process.ts'
import type { Supervised, SupervisedState, SupervisionTiming } from './supervisor.ts'
import { WorkerClient } from './worker/worker-client.ts'

export type ServeParts = Readonly<{
  engine: JobEngine
  catalog: Catalog
  tasks: TaskRunner
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
}>

export type Health = Readonly<{
  version: string
  pid: number
  home: string
  jobs: Readonly<Record<string, number>>
  processes: readonly SupervisedState[]
}>

export type Served = ServeParts &
  Readonly<{ face: Face | undefined; health: () => Promise<Health>; stop: () => Promise<void> }>

function lockHome(home: Home) {
  const lock = tryProcessLock(home.lock('serve'))
  if (lock !== undefined) return lock
  throw new ServerError('home_in_use', `Another Holdfast serves the home ${home.folder} already.`, {
    facts: { home: home.folder },
    hint: 'Stop it first, or give this one a home of its own (HOLDFAST_HOME).',
  })
}

async function healthOf(home: Home, catalog: Catalog, processes: readonly Supervised[]): Promise<Health> {
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

function openFaceOf(
  { face }: ServeOptions,
  parts: Omit<FaceParts, 'health'> & Readonly<{ health: () => Promise<Health> }>,
): Promise<Face> | undefined {
  if (face === undefined) return undefined
  const health: FaceParts['health'] = async () => {
    const { version, processes } = await parts.health()
    return { healthy: true, facts: { version, processes: processes.length } }
  }
  return openFace(face, { ...parts, health })
}

/** Everything started and ready. @throws ServerError, CatalogError; then nothing of ours runs on but found processes */
export async function serve(options: ServeOptions): Promise<Served> {
  const { home, clock, random, logger, timing } = options
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
    const engine = new EmbeddedEngine({ catalog, clock, random, logger, process: self, ...(timing && { timing }) })
    const tasks = new WorkerClient(home.socket('worker'), logger, clock)
    const deployments = new DeploymentDesk()
    await options.prepare({ engine, catalog, tasks, deployments })
    await keepWatchdog(journalsFolder(home), self)
    const children = childrenOf({ ...options, tasks })
    const begun = await Promise.allSettled(children.map((child) => child.begin()))
    for (const child of children) undo.push(() => child.leave())
    for (const one of begun) if (one.status === 'rejected') throw one.reason
    await reconcile(engine, tasks, logger)
    engine.run()
    undo.push(() => engine.stop())
    const health = (): Promise<Health> => healthOf(home, catalog, children)
    const rpc = await RpcServer.open({
      address: home.socket('serve'),
      role: 'control',
      version: PROGRAM_VERSION,
      facts: { identity: self, home: home.folder },
      methods: { ...controlMethods({ engine, catalog, clock }), health },
    })
    undo.push(() => rpc.close())
    const face = await openFaceOf(options, { home, catalog, engine, deployments, clock, random, logger, health })
    if (face !== undefined) undo.push(() => face.close())
    return { engine, catalog, tasks, deployments, face, health, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
