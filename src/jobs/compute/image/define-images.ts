/** The jobs and tasks of images, as `serve` and the worker take them. */
import type { JobEngine } from '../../port.ts'
import type { RepositoryHost } from '../../repository-access.ts'
import type { TaskHandler } from '../../tasks.ts'
import { join } from 'node:path'
import type { ComputeParts } from '../create-disk.ts'
import { Bases } from './bases.ts'
import { createImageJob } from './create-image.ts'
import { DELETE_IMAGE_JOB, deleteImageJob } from './delete-image.ts'
import { IMAGE_TYPE, PLATFORM_IMAGE_TYPE } from './image-rows.ts'
import { IMPORT_VERSION_TASK, importVersionTask } from './import-version.ts'
import { MAKE_DISK_FROM_IMAGE_TASK, makeDiskFromImageTask } from './make-disk-from-image.ts'
import { SWEEP_BASES_JOB, SWEEP_BASES_TASK, sweepBasesJob, sweepBasesTask } from './sweep-bases.ts'

/** After the sweep of the pools. */
const SWEEP_CRON = '27 3 * * *'

/** For `delete-group`. */
export const imageDeleteJobs: readonly (readonly [type: string, job: string])[] = [
  [IMAGE_TYPE.toLowerCase(), DELETE_IMAGE_JOB],
  [PLATFORM_IMAGE_TYPE.toLowerCase(), DELETE_IMAGE_JOB],
]

export function defineImageJobs(engine: JobEngine, parts: ComputeParts): void {
  const { catalog, host, folder } = parts
  const all = { ...parts, repositories: { catalog, keysFolder: join(folder, 'keys'), host } }
  engine.define(createImageJob(all))
  engine.define(deleteImageJob(all))
  engine.define(sweepBasesJob(parts))
}

export function scheduleBaseSweep(engine: JobEngine, queue: string): Promise<void> {
  const nightly = { cron: SWEEP_CRON, timeZone: 'UTC', input: null, queue }
  return engine.schedule({ name: SWEEP_BASES_JOB, job: SWEEP_BASES_JOB, ...nightly })
}

export function imageTasks(host: RepositoryHost): readonly (readonly [name: string, task: TaskHandler])[] {
  const bases = new Bases(host)
  return [
    [MAKE_DISK_FROM_IMAGE_TASK, makeDiskFromImageTask(bases)],
    [SWEEP_BASES_TASK, sweepBasesTask(bases, host.clock)],
    [IMPORT_VERSION_TASK, importVersionTask(host)],
  ]
}
