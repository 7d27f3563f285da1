/** The jobs that `serve` knows and the tasks that its worker does, put together for one home. */
import { join } from 'node:path'
import { type Clock, type Random, randomUuid, WRITER } from '#base'
import type { ChangeSource } from '#catalog'
import {
  adoptMachineJob,
  BACKUP_TASK,
  backupJob,
  backupTask,
  COPY_VERSION_TASK,
  copySnapshotJob,
  copyVersionTask,
  createSnapshotsJob,
  DELETE_SNAPSHOT_JOB,
  deleteGroupJob,
  deleteSnapshotJob,
  DESCRIBE_MACHINE_TASK,
  describeMachineTask,
  FORGET_VERSIONS_TASK,
  forgetVersionsTask,
  listRepositoryJob,
  MEASURE_USAGE_TASK,
  measureShareJob,
  measureUsageJob,
  measureUsageTask,
  PRUNE_REGIONS_JOB,
  PRUNE_TASK,
  pruneRegionsJob,
  pruneTask,
  RESOURCE_QUEUE,
  type RepositoryHost,
  SNAPSHOT_TYPE,
  TAKE_SNAPSHOTS_TASK,
  takeSnapshotsTask,
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

const changeSource: ChangeSource = {
  nowMs: () => systemClock.nowMs(),
  newEtag: () => `W/"${randomUuid(systemRandom)}"`,
}

function repositoryHost(home: Home, clock: Clock, random: Random): RepositoryHost {
  return { clock, random, cacheFolder: join(home.folder, 'cache'), writer: WRITER }
}

/** Defines queues and jobs. Jobs with one key, such as a machine's name, run one after the other. */
export function defineJobs(home: Home, { engine, catalog, tasks }: ServeParts): void {
  engine.queue(BACKUP_QUEUE, { concurrency: BACKUPS_AT_ONCE, perKeyConcurrency: 1 })
  engine.define(backupJob({ catalog, tasks, nowMs: () => systemClock.nowMs() }))
  const deleteJobs = new Map([[SNAPSHOT_TYPE.toLowerCase(), DELETE_SNAPSHOT_JOB]])
  engine.queue(RESOURCE_QUEUE, { concurrency: RESOURCE_JOBS_AT_ONCE, perKeyConcurrency: 1 })
  engine.define(deleteGroupJob({ catalog, source: changeSource, deleteJobs }))
  const repositories = { catalog, keysFolder: join(home.folder, 'keys'), host: repositoryHost(home, systemClock, systemRandom) }
  const snapshots = { catalog, tasks, source: changeSource, repositories }
  engine.define(createSnapshotsJob(snapshots))
  engine.define(copySnapshotJob(snapshots))
  engine.define(deleteSnapshotJob(snapshots))
  engine.define(pruneRegionsJob(snapshots))
  const usage = { ...snapshots, nowMs: () => systemClock.nowMs() }
  engine.define(measureUsageJob(usage))
  engine.define(measureShareJob(usage))
  engine.define(adoptMachineJob({ catalog, tasks, source: changeSource, random: systemRandom }))
  engine.define(listRepositoryJob(catalog, repositoryHost(home, systemClock, systemRandom)))
}

/** Prune frees what deleted snapshots alone needed; at night, and when somebody asks for it. */
const PRUNE_CRON = '41 3 * * *'

/** What runs by the clock. */
export async function scheduleJobs({ engine }: Pick<ServeParts, 'engine'>): Promise<void> {
  const nightly = { cron: PRUNE_CRON, timeZone: 'UTC', input: {}, queue: RESOURCE_QUEUE }
  await engine.schedule({ name: PRUNE_REGIONS_JOB, job: PRUNE_REGIONS_JOB, ...nightly })
}

export function workerTasks(home: Home, logger: Logger): ReadonlyMap<string, TaskHandler> {
  const host = repositoryHost(home, systemClock, systemRandom)
  const warn = (facts: Record<string, unknown>, message: string): void => logger.warn(facts, message)
  const running = { ...host, stateFolder: home.folder, warn }
  return new Map([
    [BACKUP_TASK, backupTask(running)],
    [TAKE_SNAPSHOTS_TASK, takeSnapshotsTask(running)],
    [COPY_VERSION_TASK, copyVersionTask(host)],
    [FORGET_VERSIONS_TASK, forgetVersionsTask(host)],
    [PRUNE_TASK, pruneTask(host)],
    [MEASURE_USAGE_TASK, measureUsageTask(host)],
    [DESCRIBE_MACHINE_TASK, describeMachineTask(systemClock)],
  ])
}
