/** The jobs that `serve` knows and the tasks that its worker does, put together for one home. */
import { join } from 'node:path'
import { type Clock, type Random, randomUuid, WRITER } from '#base'
import type { ChangeSource } from '#catalog'
import {
  BACKUP_TASK,
  backupJob,
  backupTask,
  ByteServer,
  computeTasks,
  defineComputeJobs,
  defineImageJobs,
  defineSnapshotJobs,
  deleteGroupJob,
  DEPLOYMENT_QUEUE,
  deploymentJob,
  diskDeleteJobs,
  imageDeleteJobs,
  imageTasks,
  listRepositoryJob,
  RESOURCE_QUEUE,
  type RepositoryHost,
  schedulePrune,
  scheduleBaseSweep,
  scheduleSweep,
  snapshotDeleteJobs,
  snapshotTasks,
  type TaskHandler,
} from '#jobs'
import { type Logger, systemClock, systemRandom } from '#runtime'
import { CONFIG_DEFAULTS } from './config/read-config.ts'
import type { Home } from './home.ts'
import type { ServeParts } from './serve.ts'

export const BACKUP_QUEUE = 'backup'
/** Deployments that ask for something at once; while they wait for what they asked for they take no place. */
const DEPLOYMENTS_AT_ONCE = 8

const changeSource: ChangeSource = {
  nowMs: () => systemClock.nowMs(),
  newEtag: () => `W/"${randomUuid(systemRandom)}"`,
}

export function repositoryHost(home: Home, clock: Clock, random: Random): RepositoryHost {
  return { clock, random, cacheFolder: join(home.folder, 'cache'), writer: WRITER }
}

/** Defines queues and jobs. Jobs with one key, such as a machine's name, run one after the other. */
export function defineJobs(
  home: Home,
  { engine, catalog, tasks, deployments, config = CONFIG_DEFAULTS }: ServeParts,
): void {
  const { backupsAtOnce, operationsAtOnce } = config.limits
  engine.queue(BACKUP_QUEUE, { concurrency: backupsAtOnce, perKeyConcurrency: 1 })
  engine.define(backupJob({ catalog, tasks, nowMs: () => systemClock.nowMs() }))
  engine.queue(RESOURCE_QUEUE, { concurrency: operationsAtOnce, perKeyConcurrency: 1 })
  const deleteJobs = new Map([...diskDeleteJobs, ...snapshotDeleteJobs, ...imageDeleteJobs])
  engine.define(deleteGroupJob({ catalog, source: changeSource, deleteJobs }))
  engine.queue(DEPLOYMENT_QUEUE, { concurrency: DEPLOYMENTS_AT_ONCE })
  engine.define(deploymentJob(deployments))
  const host = repositoryHost(home, systemClock, systemRandom)
  engine.define(listRepositoryJob(catalog, host))
  const compute = { catalog, tasks, source: changeSource, folder: home.folder, host }
  defineComputeJobs(engine, compute)
  defineSnapshotJobs(engine, compute)
  defineImageJobs(engine, compute)
}

export function workerTasks(home: Home, logger: Logger): ReadonlyMap<string, TaskHandler> {
  const host = repositoryHost(home, systemClock, systemRandom)
  const warn = (facts: Record<string, unknown>, message: string): void => logger.warn(facts, message)
  const running = { ...host, stateFolder: home.folder, warn }
  return new Map([
    [BACKUP_TASK, backupTask(running)],
    ...computeTasks(host),
    ...imageTasks(host),
    ...snapshotTasks(running),
  ])
}

/** Where the worker moves bytes for signed URLs. */
export function bytesSocketPath(home: Home): string {
  const address = home.socket('bytes')
  if (address.kind !== 'unix') throw new TypeError('The sockets of a home are unix sockets')
  return address.path
}

export function openByteServer(home: Home, logger: Logger): Promise<ByteServer> {
  const host = repositoryHost(home, systemClock, systemRandom)
  return ByteServer.open({ socketPath: bytesSocketPath(home), host, logger })
}

/** Schedules of the server's own. */
export async function scheduleJobs({ engine }: ServeParts): Promise<void> {
  await scheduleSweep(engine, RESOURCE_QUEUE)
  await scheduleBaseSweep(engine, RESOURCE_QUEUE)
  await schedulePrune(engine, RESOURCE_QUEUE)
}
