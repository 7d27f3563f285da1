/** The jobs and tasks of disks, as `serve` and the worker take them. */
import type { JobEngine } from '../port.ts'
import type { RepositoryHost } from '../repository-access.ts'
import type { TaskHandler } from '../tasks.ts'
import {
  adoptDiskJob,
  DELETE_DISK_JOB,
  deleteDiskJob,
  growDiskJob,
  SWEEP_POOLS_JOB,
  sweepPoolsJob,
} from './change-disk.ts'
import { type ComputeParts, createDiskJob } from './create-disk.ts'
import { beginAccessJob, endAccessJob, finishUploadJob } from './disk-access.ts'
import { DELETE_STORAGE_JOB, deleteStorageJob } from './delete-storage.ts'
import { DISK_TYPE } from './disk-records.ts'
import {
  GROW_DISK_TASK,
  growDiskTask,
  INSPECT_DISK_TASK,
  inspectDiskTask,
  REMOVE_DISK_TASK,
  removeDiskTask,
  SWEEP_POOL_TASK,
  sweepPoolTask,
} from './disk-tasks.ts'
import { MAKE_DISK_TASK, makeDiskTask } from './make-disk.ts'
import { MAKE_UPLOAD_TASK, makeUploadTask } from './upload.ts'

/** For `delete-group`. */
export const diskDeleteJobs: readonly (readonly [type: string, job: string])[] = [
  [DISK_TYPE.toLowerCase(), DELETE_DISK_JOB],
  ['microsoft.storage/storageaccounts', DELETE_STORAGE_JOB],
]

export function defineComputeJobs(engine: JobEngine, parts: ComputeParts): void {
  engine.define(createDiskJob(parts))
  engine.define(growDiskJob(parts))
  engine.define(adoptDiskJob(parts))
  engine.define(deleteDiskJob(parts))
  engine.define(beginAccessJob(parts))
  engine.define(endAccessJob(parts))
  engine.define(finishUploadJob(parts))
  engine.define(sweepPoolsJob(parts))
  engine.define(deleteStorageJob(parts))
}

/** Sweeps nightly; a name of its own, so that a restart changes nothing. */
export function scheduleSweep(engine: JobEngine, queue: string): Promise<void> {
  return engine.schedule({
    name: SWEEP_POOLS_JOB,
    cron: '17 3 * * *',
    timeZone: 'UTC',
    job: SWEEP_POOLS_JOB,
    input: null,
    queue,
  })
}

export function computeTasks(host: RepositoryHost): readonly (readonly [name: string, task: TaskHandler])[] {
  return [
    [MAKE_DISK_TASK, makeDiskTask(host)],
    [MAKE_UPLOAD_TASK, makeUploadTask()],
    [GROW_DISK_TASK, growDiskTask(host.clock)],
    [REMOVE_DISK_TASK, removeDiskTask()],
    [INSPECT_DISK_TASK, inspectDiskTask(host.clock)],
    [SWEEP_POOL_TASK, sweepPoolTask(host.clock)],
  ]
}
