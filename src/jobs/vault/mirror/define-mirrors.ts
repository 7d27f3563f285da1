/** Jobs and tasks that keep vaults safe: their mirrors, their immutability, and the catalog's copies in them. */
import { join } from 'node:path'
import type { ComputeParts } from '../../compute/create-disk.ts'
import type { JobEngine } from '../../port.ts'
import type { RepositoryHost } from '../../repository-access.ts'
import type { TaskHandler } from '../../tasks.ts'
import { copyCatalogJob, KEEP_CATALOG_TASK, keepCatalogTask } from '../catalog-copy.ts'
import { SET_IMMUTABILITY_TASK, setImmutabilityJob, setImmutabilityTask } from '../immutability.ts'
import { tellAlertJob, type Webhook } from '../tell-alert.ts'
import { CHECK_MIRROR_TASK, checkMirrorTask, MIRROR_TASK, mirrorTask } from './mirror-tasks.ts'
import { MIRROR_QUEUE, mirrorVaultJob, MIRRORS_AT_ONCE } from './mirror-vault.ts'

export const ALERT_QUEUE = 'alerts'
const ALERTS_AT_ONCE = 4

export function defineVaultCareJobs(engine: JobEngine, parts: ComputeParts, webhook: Webhook | undefined): void {
  const { catalog, host, folder, tasks } = parts
  const repositories = { catalog, keysFolder: join(folder, 'keys'), host }
  const all = { repositories, tasks, folder, alerts: { clock: host.clock, random: host.random } }
  engine.queue(MIRROR_QUEUE, { concurrency: MIRRORS_AT_ONCE, perKeyConcurrency: 1 })
  engine.define(mirrorVaultJob(all))
  engine.define(copyCatalogJob(all))
  engine.define(setImmutabilityJob(all))
  engine.queue(ALERT_QUEUE, { concurrency: ALERTS_AT_ONCE })
  engine.define(tellAlertJob({ catalog, clock: host.clock, webhook }))
}

export function vaultCareTasks(host: RepositoryHost): readonly (readonly [name: string, task: TaskHandler])[] {
  return [
    [MIRROR_TASK, mirrorTask(host)],
    [CHECK_MIRROR_TASK, checkMirrorTask(host)],
    [KEEP_CATALOG_TASK, keepCatalogTask(host)],
    [SET_IMMUTABILITY_TASK, setImmutabilityTask(host)],
  ]
}
