/** The jobs that `serve` knows and the tasks that its worker does, put together for one home. */
import { join } from 'node:path'
import { type Clock, type Random, randomUuid, WRITER } from '#base'
import type { ChangeSource } from '#catalog'
import {
  BACKUP_TASK,
  backupJob,
  backupTask,
  deleteGroupJob,
  DEPLOYMENT_QUEUE,
  deploymentJob,
  listRepositoryJob,
  RESOURCE_QUEUE,
  type RepositoryHost,
  type TaskHandler,
} from '#jobs'
import { type Logger, systemClock, systemRandom } from '#runtime'
import type { Home } from './home.ts'
import type { ServeParts } from './serve.ts'

export const BACKUP_QUEUE = 'backup'
/** Machines backed up at once: each reads and stores with as many threads as the host bears. */
const BACKUPS_AT_ONCE = 2
/** Operations on resources: most of them wait for a worker. */
const RESOURCE_JOBS_AT_ONCE = 32
/** Deployments that ask for something at once; while they wait for what they asked for they take no place. */
const DEPLOYMENTS_AT_ONCE = 8

const changeSource: ChangeSource = {
  nowMs: () => systemClock.nowMs(),
  newEtag: () => `W/"${randomUuid(systemRandom)}"`,
}

function repositoryHost(home: Home, clock: Clock, random: Random): RepositoryHost {
  return { clock, random, cacheFolder: join(home.folder, 'cache'), writer: WRITER }
}

/** Defines queues and jobs. Jobs with one key, such as a machine's name, run one after the other. */
export function defineJobs(home: Home, { engine, catalog, tasks, deployments }: ServeParts): void {
  engine.queue(BACKUP_QUEUE, { concurrency: BACKUPS_AT_ONCE, perKeyConcurrency: 1 })
  engine.define(backupJob({ catalog, tasks, nowMs: () => systemClock.nowMs() }))
  engine.queue(RESOURCE_QUEUE, { concurrency: RESOURCE_JOBS_AT_ONCE, perKeyConcurrency: 1 })
  engine.define(deleteGroupJob({ catalog, source: changeSource, deleteJobs: new Map() }))
  engine.queue(DEPLOYMENT_QUEUE, { concurrency: DEPLOYMENTS_AT_ONCE })
  engine.define(deploymentJob(deployments))
  engine.define(listRepositoryJob(catalog, repositoryHost(home, systemClock, systemRandom)))
}

export function workerTasks(home: Home, logger: Logger): ReadonlyMap<string, TaskHandler> {
  const host = repositoryHost(home, systemClock, systemRandom)
  const warn = (facts: Record<string, unknown>, message: string): void => logger.warn(facts, message)
  return new Map([[BACKUP_TASK, backupTask({ ...host, stateFolder: home.folder, warn })]])
}
