/** The jobs and tasks of protection, as `serve` and the worker take them. */
import { join } from 'node:path'
import type { BackupTaskHost } from '../backup.ts'
import type { ComputeParts } from '../compute/create-disk.ts'
import type { JobEngine } from '../port.ts'
import type { TaskHandler } from '../tasks.ts'
import { BACK_UP_GROUP_TASK, backUpGroupTask } from './back-up-group-task.ts'
import { BACK_UP_TO_VAULT_TASK, backUpToVaultTask } from './back-up-task.ts'
import { FORGET_POINTS_TASK, forgetPointsTask } from './forget-points.ts'
import { keepPointsJob, pruneVaultsJob, purgePointsJob } from './keep-points.ts'
import { type ProtectionParts, VAULT_BACKUP_QUEUE } from './take-machine.ts'
import { vaultBackupJob } from './vault-backup.ts'

export function defineProtectionJobs(engine: JobEngine, parts: ComputeParts, backupsAtOnce: number): void {
  const { catalog, host, folder, tasks } = parts
  const repositories = { catalog, keysFolder: join(folder, 'keys'), host }
  const all: ProtectionParts = { catalog, clock: host.clock, tasks, repositories }
  engine.queue(VAULT_BACKUP_QUEUE, { concurrency: backupsAtOnce, perKeyConcurrency: 1 })
  engine.define(vaultBackupJob(all))
  engine.define(keepPointsJob(all))
  engine.define(purgePointsJob(all))
  engine.define(pruneVaultsJob(all))
}

export function protectionTasks(host: BackupTaskHost): readonly (readonly [name: string, task: TaskHandler])[] {
  return [
    [BACK_UP_TO_VAULT_TASK, backUpToVaultTask(host)],
    [BACK_UP_GROUP_TASK, backUpGroupTask(host)],
    [FORGET_POINTS_TASK, forgetPointsTask(host)],
  ]
}
