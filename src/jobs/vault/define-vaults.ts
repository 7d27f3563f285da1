/** The jobs and tasks of vaults, as `serve` and the worker take them. */
import { join } from 'node:path'
import type { ComputeParts } from '../compute/create-disk.ts'
import type { JobEngine } from '../port.ts'
import type { TaskHandler } from '../tasks.ts'
import { createVaultJob } from './create-vault.ts'
import { DELETE_VAULT_JOB, deleteVaultJob, PURGE_VAULTS_JOB, purgeVaultsJob } from './delete-vault.ts'
import { REMOVE_REPOSITORY_TASK, removeRepositoryTask } from './remove-repository.ts'
import { VAULT_TYPE } from './vault-rows.ts'

/** For `delete-group`. */
export const vaultDeleteJobs: readonly (readonly [type: string, job: string])[] = [
  [VAULT_TYPE.toLowerCase(), DELETE_VAULT_JOB],
]

export function defineVaultJobs(engine: JobEngine, parts: ComputeParts): void {
  const { catalog, host, folder, tasks, source } = parts
  const all = { repositories: { catalog, keysFolder: join(folder, 'keys'), host }, tasks, source }
  engine.define(createVaultJob(all))
  engine.define(deleteVaultJob(all))
  engine.define(purgeVaultsJob(all))
}

export function scheduleVaultPurge(engine: JobEngine, queue: string): Promise<void> {
  const hourly = { cron: '41 * * * *', timeZone: 'UTC', input: null, queue }
  return engine.schedule({ name: PURGE_VAULTS_JOB, job: PURGE_VAULTS_JOB, ...hourly })
}

export const vaultTasks: readonly (readonly [name: string, task: TaskHandler])[] = [
  [REMOVE_REPOSITORY_TASK, removeRepositoryTask()],
]
