/** Restores of recovery points, as `serve` and the worker take them. */
import type { JobEngine } from '../../port.ts'
import type { RepositoryHost } from '../../repository-access.ts'
import type { TaskHandler } from '../../tasks.ts'
import { HYDRATE_QUEUE, hydrateRestoredDisksJob } from '../instant/instant-restore.ts'
import { READ_VAULT_POINT_TASK, readVaultPointTask } from './read-point.ts'
import { replaceMachineDisksJob, type ReplaceDisksParts } from './replace-disks.ts'
import { type RestoreParts, restorePointJob } from './restore-point.ts'

/** Restores that run at once; those that wait for what they asked for take no place. */
const RESTORES_AT_ONCE = 4
/** One that runs asks its worker to wait; QEMU does the work. */
const HYDRATIONS_AT_ONCE = 64
export const RESTORE_QUEUE = 'restore'

export function defineRestoreJobs(engine: JobEngine, parts: RestoreParts & ReplaceDisksParts): void {
  engine.queue(RESTORE_QUEUE, { concurrency: RESTORES_AT_ONCE })
  engine.define(restorePointJob(parts))
  engine.define(replaceMachineDisksJob(parts))
  engine.queue(HYDRATE_QUEUE, { concurrency: HYDRATIONS_AT_ONCE })
  engine.define(hydrateRestoredDisksJob(parts))
}

export function restoreTasks(host: RepositoryHost): readonly (readonly [name: string, task: TaskHandler])[] {
  return [[READ_VAULT_POINT_TASK, readVaultPointTask(host)]]
}
