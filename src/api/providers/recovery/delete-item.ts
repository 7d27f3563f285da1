/**
 * Stop protection and delete the data. The item and its points stay, marked, for the days of the vault's soft delete; where that is
 * disabled they go at once. What goes is removed by the job `purge-points`, which looks by itself every hour: a crash between the mark
 * and the start of that job only makes it later.
 */
import {
  changeProtectedItem,
  findProtectedItem,
  listBackupJobs,
  type ProtectedItem,
  raiseAlert,
  type ResourceRecord,
} from '#catalog'
import { ArmError } from '#contract'
import { isImmutable, softDeleteDaysOf } from '#domain'
import { ALERTS, PURGE_POINTS_JOB, RESOURCE_QUEUE, vaultSettingsOf } from '#jobs'
import type { ArmCall, ArmReply } from '../../arm/call.ts'
import { ITEM_ACTION } from './find-vault.ts'
import { beginVaultOperation } from './vault-operations.ts'

const DAY_MS = 24 * 3_600_000

async function cancelBackups(call: ArmCall, { vaultKey, key }: ProtectedItem): Promise<void> {
  const { catalog, jobs } = call.host
  for (const job of await listBackupJobs(catalog, {
    vaultKey,
    itemKey: key,
    status: 'InProgress',
    operation: 'Backup',
  }))
    await jobs.cancel(job.id, 'the backup data was deleted').catch(() => false) // It ended meanwhile.
}

/** @throws ArmError for an immutable vault */
export async function deleteItem(call: ArmCall, vault: ResourceRecord, item: ProtectedItem): Promise<ArmReply> {
  const { clock, jobs } = call.host
  const nowMs = clock.nowMs()
  const settings = vaultSettingsOf(vault)
  if (isImmutable(settings))
    throw new ArmError(
      'OperationNotAllowed',
      `The vault '${vault.name}' is immutable: protection can be stopped, but its backup data cannot be deleted before its time.`,
    )
  const days = softDeleteDaysOf(settings)
  const reply = await beginVaultOperation(call, vault, {
    at: item.id,
    itemKey: item.key,
    entityName: item.friendlyName,
    operation: 'DeleteBackupData',
    action: `${ITEM_ACTION}/delete`,
    properties: days === 0 ? {} : { 'Soft delete retention (days)': String(days) },
    announce: async (trx, id) => {
      const now = await findProtectedItem(trx, item.key)
      if (now === undefined || now.softDeletedMs !== undefined) return
      const change = {
        state: 'ProtectionStopped' as const,
        softDeletedMs: nowMs,
        purgeAtMs: nowMs + days * DAY_MS,
        nextDueMs: undefined,
        slotMs: undefined,
      }
      await changeProtectedItem(trx, item.key, change, nowMs)
      await raiseAlert(trx, {
        id: `${ALERTS.dataDeleted}-${id}`,
        vaultKey: vault.key,
        kind: ALERTS.dataDeleted,
        severity: 'Critical',
        itemKey: item.key,
        message:
          `The backup data of ${item.friendlyName} was deleted by ${call.caller.principal.name}. ` +
          (days === 0 ? 'Soft delete is disabled: it is gone.' : `It can be brought back for ${days} days.`),
        facts: { operation: id, days, principal: call.caller.principal.id },
        raisedMs: nowMs,
        resolvedMs: nowMs,
      })
    },
  })
  await cancelBackups(call, item)
  if (days === 0) await jobs.start(PURGE_POINTS_JOB, { vaultKey: vault.key }, { queue: RESOURCE_QUEUE, key: 'vaults' })
  return reply
}
