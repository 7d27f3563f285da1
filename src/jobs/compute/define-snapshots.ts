/** The jobs and tasks of snapshots, restore points, usage and adopted machines, as `serve` and the worker take them. */
import { join } from 'node:path'
import type { BackupTaskHost } from '../backup.ts'
import type { JobEngine } from '../port.ts'
import type { TaskHandler } from '../tasks.ts'
import { adoptMachineJob, DESCRIBE_MACHINE_TASK, describeMachineTask } from './adopt-machine.ts'
import type { ComputeParts } from './create-disk.ts'
import { copyLinkedSnapshotJob } from './copy-linked-snapshot.ts'
import { copySnapshotJob, createSnapshotsJob, SNAPSHOT_QUEUE } from './create-snapshots.ts'
import { DELETE_SNAPSHOT_JOB, deleteSnapshotJob, PRUNE_REGIONS_JOB, pruneRegionsJob } from './delete-snapshot.ts'
import { copyRestorePointJob } from './restore-point/copy-restore-point.ts'
import {
  DELETE_COLLECTION_JOB,
  deleteCollectionJob,
  deleteRestorePointJob,
} from './restore-point/delete-restore-point.ts'
import { COLLECTION_TYPE } from './restore-point/restore-point-rows.ts'
import { SNAPSHOT_TYPE } from './snapshot-rows.ts'
import { TAKE_SNAPSHOTS_TASK, takeSnapshotsTask } from './take-snapshots.ts'
import { MEASURE_USAGE_TASK, measureShareJob, measureUsageJob, measureUsageTask } from './usage.ts'
import {
  COPY_VERSION_TASK,
  copyVersionTask,
  FORGET_VERSIONS_TASK,
  forgetVersionsTask,
  PRUNE_TASK,
  pruneTask,
} from './version-tasks.ts'

/** Prune frees what deleted snapshots alone needed; at night, and when somebody asks for it. */
const PRUNE_CRON = '41 3 * * *'

/** For `delete-group`. */
export const snapshotDeleteJobs: readonly (readonly [type: string, job: string])[] = [
  [SNAPSHOT_TYPE.toLowerCase(), DELETE_SNAPSHOT_JOB],
  [COLLECTION_TYPE.toLowerCase(), DELETE_COLLECTION_JOB],
]

/** Requests wait for their instants, so none of them waits for the bytes of another. */
const SNAPSHOTS_AT_ONCE = 128

export function defineSnapshotJobs(engine: JobEngine, parts: ComputeParts): void {
  engine.queue(SNAPSHOT_QUEUE, { concurrency: SNAPSHOTS_AT_ONCE })
  const { catalog, host, folder } = parts
  const all = { ...parts, repositories: { catalog, keysFolder: join(folder, 'keys'), host } }
  engine.define(createSnapshotsJob(all))
  engine.define(copySnapshotJob(all))
  engine.define(copyLinkedSnapshotJob(all))
  engine.define(deleteSnapshotJob(all))
  engine.define(pruneRegionsJob(all))
  engine.define(copyRestorePointJob(all))
  engine.define(deleteRestorePointJob(all))
  engine.define(deleteCollectionJob(all))
  const usage = { ...all, nowMs: () => host.clock.nowMs() }
  engine.define(measureUsageJob(usage))
  engine.define(measureShareJob(usage))
  engine.define(adoptMachineJob({ ...parts, random: host.random }))
}

export function schedulePrune(engine: JobEngine, queue: string): Promise<void> {
  const nightly = { cron: PRUNE_CRON, timeZone: 'UTC', input: {}, queue }
  return engine.schedule({ name: PRUNE_REGIONS_JOB, job: PRUNE_REGIONS_JOB, ...nightly })
}

export function snapshotTasks(host: BackupTaskHost): readonly (readonly [name: string, task: TaskHandler])[] {
  return [
    [TAKE_SNAPSHOTS_TASK, takeSnapshotsTask(host)],
    [COPY_VERSION_TASK, copyVersionTask(host)],
    [FORGET_VERSIONS_TASK, forgetVersionsTask(host)],
    [PRUNE_TASK, pruneTask(host)],
    [MEASURE_USAGE_TASK, measureUsageTask(host)],
    [DESCRIBE_MACHINE_TASK, describeMachineTask(host.clock)],
  ]
}
