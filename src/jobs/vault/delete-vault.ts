/**
 * The job `delete-vault`, and what becomes of a vault that is deleted:
 *
 *   it protects machines, or is immutable and holds data    refused, in Azure's words
 *   it holds soft-deleted items only                        it becomes a deleted vault with another id: its data is kept until
 *                                                           `purgeAtMs`, it may come back, and its name may be given again
 *   it holds nothing                                        its repository, its key and its records go
 *
 * The decision and its record are one transaction, so an item that is protected at the same time is either seen or finds a vault that
 * is being deleted. Then the repository goes object by object (an object that the store locks is refused, and the vault stays), then
 * the key, then the records: a crash in between leaves a record from which the next run goes on.
 *
 * `purge-vaults` does the last of the three to deleted vaults whose time is over.
 */
import {
  type CatalogTransaction,
  type ChangeSource,
  countProtectedItems,
  deleteResource,
  deleteVaultRecords,
  findResource,
  forgetRepository,
  listProtectedItems,
  moveVault,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { isHoldfastError } from '#base'
import { DAY_MS, isImmutable, softDeleteDaysOf } from '#domain'
import { rm } from 'node:fs/promises'
import { JobsError } from '../errors.ts'
import type { JobContext, JobDefinition } from '../port.ts'
import { readVaultId, type VaultJobParts } from './create-vault.ts'
import { REMOVE_REPOSITORY_TASK } from './remove-repository.ts'
import { vaultKeyPath } from './vault-repository.ts'
import { DELETED_VAULT_TYPE, listDeletedVaults, type VaultBacking, vaultBackingOf } from './vault-rows.ts'

export const DELETE_VAULT_JOB = 'delete-vault'
export const PURGE_VAULTS_JOB = 'purge-vaults'

const WORKER_RETRY = { attemptsMax: 12, delayMs: 300, delayMsMax: 10_000 }

/** `kept`: as a deleted vault. */
export type VaultEnd = 'kept' | 'gone'

function notEmpty(message: string): JobsError {
  return new JobsError('vault_not_empty', message, { retry: 'never' })
}

/** What deleting the vault now would do. @throws JobsError `vault_not_empty` */
export async function endOfVault(trx: CatalogTransaction, vault: ResourceRecord): Promise<VaultEnd> {
  const vaultKey = vault.key
  const [alive] = (await listProtectedItems(trx, { vaultKey })).filter(
    ({ softDeletedMs }) => softDeletedMs === undefined,
  )
  if (alive !== undefined)
    throw notEmpty(
      `Vault cannot be deleted as there are existing resources within the vault: ${alive.friendlyName}. Please ensure there are ` +
        'no backup items, protected servers, backup management servers or replicated items associated with this vault.',
    )
  if ((await countProtectedItems(trx, { vaultKey })) === 0) return 'gone'
  const { settings } = vaultBackingOf(vault)
  if (isImmutable(settings))
    throw notEmpty(
      'Vault cannot be deleted as there are existing resources within the vault: it is immutable, and its soft-deleted items are kept ' +
        'until they are purged.',
    )
  return 'kept'
}

export function deletedVaultId(subscription: string, region: string, uid: string): string {
  return `/subscriptions/${subscription}/providers/Microsoft.RecoveryServices/locations/${region}/deletedVaults/${uid}`
}

async function keep(trx: CatalogTransaction, vault: ResourceRecord, source: ChangeSource): Promise<void> {
  const backing = vaultBackingOf(vault)
  const nowMs = source.nowMs()
  const items = await listProtectedItems(trx, { vaultKey: vault.key })
  const days = softDeleteDaysOf(backing.settings)
  const purgeAtMs = Math.max(nowMs + days * DAY_MS, ...items.map((item) => item.purgeAtMs ?? 0))
  const deleted = { vaultId: vault.id, name: vault.name, atMs: nowMs, purgeAtMs }
  const id = deletedVaultId(vault.subscription, backing.region, backing.uid)
  await moveVault(trx, vault.id, { id, type: DELETED_VAULT_TYPE, name: backing.uid, group: undefined })
  await updateResource(trx, id, { state: 'Succeeded', backing: { ...backing, deleted } satisfies VaultBacking }, source)
}

/** Announces what is decided; the row says Deleting, or is a deleted vault's. */
async function decide(trx: CatalogTransaction, id: string, source: ChangeSource): Promise<VaultEnd | 'absent'> {
  const vault = await findResource(trx, id)
  if (vault === undefined) return 'absent'
  const end = await endOfVault(trx, vault)
  if (end === 'kept') await keep(trx, vault, source)
  else await updateResource(trx, id, { state: 'Deleting' }, source)
  return end
}

/** Removes repository, mirror, key and records. */
async function removeAll(job: JobContext, parts: VaultJobParts, id: string): Promise<void> {
  const { repositories, tasks } = parts
  const { catalog, keysFolder } = repositories
  const row = await findResource(catalog, id)
  const backing = row === undefined ? undefined : vaultBackingOf(row)
  const places = await job.step(`places of ${id}`, () =>
    backing === undefined ? [] : [backing.mirror?.location, backing.location].filter((one) => one !== undefined),
  )
  for (const [index, store] of places.entries())
    await job.step(
      `remove ${index} of ${id}`,
      (step) => tasks.run(step, REMOVE_REPOSITORY_TASK, { store, repositoryId: backing?.repositoryId ?? null }),
      { retry: WORKER_RETRY },
    )
  await job.step(`forget ${id}`, async () => {
    if (backing === undefined) return
    await rm(vaultKeyPath(keysFolder, backing.uid), { force: true })
    if (backing.repositoryId !== undefined) await forgetRepository(catalog, backing.repositoryId)
    await catalog.write(async (trx) => {
      await deleteVaultRecords(trx, id)
      await deleteResource(trx, id)
    })
  })
}

export function deleteVaultJob(parts: VaultJobParts): JobDefinition<Readonly<{ id: string }>, VaultEnd | 'absent'> {
  const { source } = parts
  const { catalog } = parts.repositories
  return {
    name: DELETE_VAULT_JOB,
    version: 1,
    parse: readVaultId,
    run: async (job, { id }) => {
      let isTouched = false
      job.cleanup('keep', async () => {
        // What was removed in part holds nothing any more and takes nothing in: it can be deleted again, and that is all.
        const state = isTouched ? 'Failed' : 'Succeeded'
        await catalog.write(async (trx) => {
          if ((await findResource(trx, id))?.state === 'Deleting') await updateResource(trx, id, { state }, source)
        })
      })
      const end = await job.step('decide', () => catalog.write((trx) => decide(trx, id, source)))
      isTouched = end === 'gone'
      if (isTouched) await removeAll(job, parts, id)
      return end
    },
  }
}

/** Whether its time is over now, too: it may have been brought back, and deleted again, since it was looked at. */
function isOver(row: ResourceRecord, source: ChangeSource): boolean {
  return (vaultBackingOf(row).deleted?.purgeAtMs ?? Number.POSITIVE_INFINITY) <= source.nowMs()
}

export async function takeOver(trx: CatalogTransaction, id: string, source: ChangeSource): Promise<boolean> {
  const row = await findResource(trx, id)
  if (row === undefined || !isOver(row, source)) return false
  await updateResource(trx, id, { state: 'Deleting' }, source)
  return true
}

export function purgeVaultsJob(parts: VaultJobParts): JobDefinition<null, readonly string[]> {
  const { source } = parts
  const { catalog } = parts.repositories
  return {
    name: PURGE_VAULTS_JOB,
    version: 1,
    parse: () => null,
    run: async (job) => {
      const over = await job.step('over', async () => {
        const vaults = await listDeletedVaults(catalog)
        return vaults.filter((row) => isOver(row, source)).map(({ id }) => id)
      })
      const gone: string[] = []
      for (const id of over) {
        // One that cannot be removed, because its store locks something, keeps no other from it.
        try {
          const isOurs = await job.step(`take ${id}`, () => catalog.write((trx) => takeOver(trx, id, source)))
          if (isOurs) await removeAll(job, parts, id)
          gone.push(id)
        } catch (error) {
          if (!isHoldfastError(error) || error.code === 'cancelled') throw error
        }
      }
      return gone
    },
  }
}

/** Brings a deleted vault back. @throws JobsError `vault_not_there`, `vault_name_taken` */
export async function undeleteVault(
  trx: CatalogTransaction,
  deletedId: string,
  group: string | undefined,
  source: ChangeSource,
): Promise<ResourceRecord> {
  const row = await findResource(trx, deletedId)
  const { deleted, ...backing } = row === undefined ? { deleted: undefined } : vaultBackingOf(row)
  if (row === undefined || deleted === undefined || row.state === 'Deleting')
    throw new JobsError('vault_not_there', `There is no deleted vault ${deletedId}.`, { retry: 'never' })
  const [, was = ''] = /^(.*)\/providers\//.exec(deleted.vaultId) ?? []
  const home = group ?? was
  const id = `${home}/providers/Microsoft.RecoveryServices/vaults/${deleted.name}`
  if ((await findResource(trx, id)) !== undefined)
    throw new JobsError('vault_name_taken', `Another vault has the name ${id} now.`, {
      retry: 'never',
      hint: 'Delete it, or bring the deleted one back into another resource group.',
    })
  await moveVault(trx, deletedId, { id, type: 'Microsoft.RecoveryServices/vaults', name: deleted.name, group: home })
  const back = await updateResource(trx, id, { state: 'Succeeded', backing }, source)
  if (back === undefined) throw new JobsError('vault_not_there', `There is no deleted vault ${deletedId}.`)
  return back
}
